// The console, every control of it: what is seen of all rooms and of one, and what may be done there.

import assert from 'node:assert/strict';

import { TALKER, TOKEN, figure, line, lists, opens, serves, traffic } from './console.mjs';
import { Person } from './person.mjs';
import { fits, focused, holds, picture, play, shows } from './stage.mjs';

play('the overview shows every room, sorted, searched, and how rooms ended', async (stage) => {
  const server = await serves(stage, `--console --passenv PATH ${TALKER}`);
  const people = [];
  for (const room of ['chess-7', 'chess-7', 'chess-7', 'checkers', 'go', 'lobby', 'lobby']) people.push(await Person.joins(server, room));
  const lost = await Person.joins(server, 'poker');
  lost.says('whisper the deck is empty');
  lost.says('exit 3');
  await lost.isClosed('1011 exit 3');
  const page = await opens(stage, server);
  await shows(page.locator('#count'), 'showing 1–4 of 4');

  // Sorted by what passes, then by a heading, either way, by mouse and by key.
  people[3].says('work 0.4');
  const head = (name) => page.locator('#rooms thead').getByRole('button', { name, exact: true });
  await head('Room').click();
  await lists(page, 'checkers', 'chess-7', 'go', 'lobby');
  assert.equal(await page.locator('#rooms th').first().getAttribute('aria-sort'), 'ascending');
  await head('Room').focus();
  await page.keyboard.press('Enter');
  await lists(page, 'lobby', 'go', 'chess-7', 'checkers');
  await head('Clients').click();
  await lists(page, 'chess-7', 'lobby', 'checkers', 'go');
  for (const name of ['State', 'Messages/s', 'Bytes/s', 'Lag', 'CPU', 'Memory', 'Age']) {
    await head(name).click();
    await holds(page, `by ${name}`, (text) => document.querySelector('#rooms th[aria-sort]').textContent === text, name);
  }
  await head('CPU').click();
  await head('CPU').click();

  // Figures: of programs, of rooms, of the server.
  const chess = page.locator('#rooms tbody tr').filter({ hasText: 'chess-7' });
  await shows(chess.locator('td').nth(6), /^[\d.]+ %$/);
  await shows(chess.locator('td').nth(7), /iB$/);
  await shows(chess.locator('td').nth(9), /^\d+$/);
  await shows(chess.locator('td').nth(1), 'running');
  await shows(figure(page, 'Clients'), '7');
  await shows(figure(page, 'Server memory'), 'MiB');
  await shows(figure(page, 'Server CPU'), '%');

  // Charts follow what passes: both ways, of the server and of the room.
  for (let n = 0; n < 40; n += 1) people[0].says(`move ${n}`);
  await people[0].hears('move 39');
  await holds(page, 'a chart with a peak', () => [...document.querySelectorAll('#rooms tbody tr')].find((row) => row.textContent.includes('chess-7'))
    .querySelector('polyline').getAttribute('points').split(' ').some((point) => Number(point.split(',')[1]) < 10));
  await holds(page, 'the server\'s', () => [...document.querySelectorAll('#server polyline')].some((one) => one.getAttribute('points').split(' ').length > 2));

  // How the one that failed ended.
  const end = page.locator('#ends tbody tr').first();
  for (const text of ['poker', 'exit 3', '1011', 'the deck is empty']) await shows(end, text);

  // By a part of the name, in any case.
  await page.keyboard.press('/');
  assert.equal(await focused(page), 'search');
  await page.keyboard.type('CHE');
  await shows(page.locator('#count'), 'of 2');
  await holds(page, 'no other room', () => !/go|lobby/.test(document.querySelector('#rooms tbody').textContent));
  await page.locator('#search').fill('nothing is called so');
  await shows(page.locator('#count'), 'none');
  await page.locator('#search').fill('');
  await shows(page.locator('#count'), 'of 4');
  await stage.accessible(page);
  await page.setViewportSize({ width: 1180, height: 560 });
  // Something to see: each room at a pace of its own, until the charts have a past.
  let said = 0;
  await head('Messages/s').click();
  await page.mouse.move(0, 0);
  const drawn = () => [...document.querySelectorAll('#rooms tbody tr')].every((row) => row.querySelector('polyline').getAttribute('points').split(' ').length > 9);
  while (!await page.evaluate(drawn)) {
    people.forEach((person, n) => { for (let more = said % (n + 2); more >= 0; more -= 1) person.says(`move ${said += 1}`); });
    await people.at(-1).hears(`move ${said}`);
    await page.evaluate(() => new Promise((done) => { requestAnimationFrame(done); }));
  }
  await page.evaluate(() => document.activeElement.blur());
  await picture(page, 'console', { docs: true });
  for (const person of people) person.leaves();
});

play('more rooms than a page holds have several', async (stage) => {
  const server = await serves(stage, '--console cat');
  const people = [];
  for (let n = 0; n < 103; n += 1) people.push(Person.joins(server, `room-${String(n).padStart(3, '0')}`));
  await Promise.all(people);
  const page = await opens(stage, server);
  await shows(page.locator('#count'), 'showing 1–100 of 103');
  assert.ok(await page.getByRole('button', { name: 'Previous' }).isDisabled());
  await page.locator('#rooms thead').getByRole('button', { name: 'Room' }).click();
  await page.getByRole('button', { name: 'Next' }).click();
  await shows(page.locator('#count'), 'showing 101–103 of 103');
  await lists(page, 'room-100', 'room-101', 'room-102');
  await page.getByRole('button', { name: 'Previous' }).click();
  await shows(page.locator('#count'), 'showing 1–100 of 103');
  for (const person of people) (await person).leaves();
});

play('a room is seen as it is: traffic both ways and stderr, clients, history', async (stage) => {
  const server = await serves(stage, `--console --cache 5 --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'chess-7');
  const bob = await Person.joins(server, 'chess-7');
  const page = await opens(stage, server);
  await page.getByRole('link', { name: 'chess-7' }).click();
  await shows(page.locator('#sampling'), 'showing all of 0 so far');
  await page.setViewportSize({ width: 1180, height: 760 });

  ann.says('good evening');
  bob.says('json');
  bob.says('binary');
  bob.says('whisper a warning of the program');
  await line(page, 'a warning of the program', '.stderr').waitFor();
  await bob.until('all three', () => bob.heard.length === 3);
  const said = line(page, 'good evening');
  await shows(said.nth(0), '↑ 1');
  await shows(said.nth(1), '↓ all');

  // JSON is a line until somebody opens it.
  const json = line(page, '"kind"').getByRole('button');
  assert.equal(await json.getAttribute('aria-expanded'), 'false');
  assert.equal(await traffic(page).locator('pre').count(), 0);
  await json.click();
  await shows(traffic(page).locator('pre'), '    "white": 300');
  await json.press('Enter');
  assert.equal(await traffic(page).locator('pre').count(), 0);

  // Bytes are digits: the first, and all of them.
  const bytes = line(page, '128 bytes').getByRole('button');
  await shows(bytes, '80 81 82 83');
  await bytes.click();
  await shows(traffic(page).locator('pre'), 'fd fe ff');
  await stage.accessible(page);

  // What is around: clients with addresses, history, the last of stderr.
  const rows = page.locator('#clients tbody tr');
  await holds(page, 'two clients', () => document.querySelectorAll('#clients tbody tr').length === 2);
  for (const n of [0, 1]) await shows(rows.nth(n).locator('td').nth(1), /^127\./);
  await shows(page.locator('#last-stderr'), 'a warning of the program');
  await page.getByText('History').click();
  await shows(page.locator('#history'), 'good evening');
  await shows(page.locator('#history'), '128 bytes');
  await shows(page.locator('#history-count'), 'showing 3 of 3');
  await shows(page.locator('#metadata'), 'none');
  await shows(figure(page, 'State'), 'running');
  await picture(page, 'console-room', { docs: true });

  // Less of it: by kind, by text, by whom.
  const shown = async (kind) => page.locator(`.line.${kind}`).count();
  await page.getByLabel('stderr', { exact: true }).uncheck();
  await page.getByLabel('in', { exact: true }).uncheck();
  await page.locator('.line.out').nth(2).waitFor();
  assert.deepEqual([await shown('stderr'), await shown('in'), await shown('out')], [0, 0, 3]);
  await page.getByLabel('stderr', { exact: true }).check();
  await page.getByLabel('in', { exact: true }).check();
  await page.keyboard.press('/');
  assert.equal(await focused(page), 'filter');
  await page.keyboard.type('EVENING');
  await holds(page, 'the filtered', () => document.querySelectorAll('#traffic .line').length === 2);
  ann.says('not this');
  ann.says('another evening');
  await holds(page, 'new ones filtered', () => document.querySelectorAll('#traffic .line').length === 4);
  assert.equal(await line(page, 'not this').count(), 0);
  await page.locator('#filter').fill('');
  await line(page, 'not this').first().waitFor();

  // Paused by key, what passes is held and told; then it is there.
  await page.keyboard.press('Escape');
  await page.keyboard.press('p');
  assert.equal(await page.getByRole('button', { name: 'Pause' }).getAttribute('aria-pressed'), 'true');
  ann.says('while nobody looked');
  await shows(page.locator('#sampling'), 'paused, 2 newer are held');
  assert.equal(await line(page, 'while nobody looked').count(), 0);
  await page.getByRole('button', { name: 'Pause' }).click();
  await line(page, 'while nobody looked').first().waitFor();
  await page.getByRole('button', { name: 'Clear' }).click();
  assert.equal(await traffic(page).locator('.line').count(), 0);
  for (const person of [ann, bob]) person.leaves();
});

play('metadata is shown, and what is for nobody says so', async (stage) => {
  const server = await serves(stage, `--console --frame=json --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  ann.says('{"meta":1}');
  await shows(page.locator('#metadata'), '"game": "chess"');
  await shows(line(page, '_meta'), '↓ metadata');
  ann.leaves();
});

play('who is behind is seen', async (stage) => {
  const server = await serves(stage, `--console --backlog 64MiB --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'x');
  const deaf = await Person.joins(server, 'x', { deaf: true });
  const page = await opens(stage, server, '/rooms/x');
  ann.says('flood 6000 5000');
  await holds(page, 'a lag', () => [...document.querySelectorAll('#clients tbody tr td:nth-child(4)')].some((cell) => cell.textContent.endsWith('MiB')));
  await shows(figure(page, 'Largest lag'), 'MiB');
  deaf.leaves();
  ann.leaves();
});

play('of a flood a sample is shown, and said to be one', async (stage) => {
  const server = await serves(stage, `--console --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  ann.says('flood 20000 60');
  await ann.until('all', () => ann.heard.length === 20000);
  await shows(page.locator('#sampling'), 'of 20,001: a sample');
  assert.ok(await traffic(page).locator('.line').count() <= 300);
  ann.says('still here');
  await line(page, 'still here').first().waitFor();
  ann.leaves();
});

play('an operator speaks, kicks, and ends the room', async (stage) => {
  const server = await serves(stage, '--console=write cat');
  const ann = await Person.joins(server, 'x');
  const bob = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  const message = page.locator('#message');
  const done = page.locator('#done');

  await message.fill('to the program');
  await page.getByRole('button', { name: 'Send' }).click();
  await ann.hears('to the program');
  await shows(line(page, 'to the program').first(), '↑ operator');
  await shows(done, 'sent');
  assert.equal(await message.inputValue(), '');

  // While one is on its way the next is typed: it stays, and comes behind it.
  let goes;
  const held = new Promise((resolve) => { goes = resolve; });
  await page.route('**/input', async (route) => { await held; await route.continue(); }, { times: 1 });
  for (const text of ['first', 'second']) {
    await message.fill(text);
    await message.press('Enter');
  }
  await message.fill('third');
  const answers = ['first', 'second'].map((text) => page.waitForResponse((answer) => answer.request().postDataJSON()?.text === text));
  goes();
  for (const answer of answers) await (await answer).finished();
  assert.equal(await message.inputValue(), 'third');
  await ann.hears('second');
  assert.deepEqual(ann.heard.slice(-2), ['first', 'second']);
  await message.press('Enter');
  await ann.hears('third');

  await page.locator('#target').selectOption('all clients');
  await message.fill('to everybody');
  await message.press('Enter');
  await ann.hears('to everybody');
  await bob.hears('to everybody');

  await page.locator('#target').selectOption('one client');
  await page.locator('#to').fill('2');
  await page.getByLabel('hex').check();
  await message.fill('00 ff 10');
  await message.press('Enter');
  await bob.until('bytes', () => bob.heard.some((one) => one instanceof Uint8Array && one.join() === '0,255,16'));
  assert.ok(!ann.heard.some((one) => one instanceof Uint8Array));
  await holds(page, 'the line is free again', () => document.querySelector('#message').value === '');

  // What cannot be is said, and what was typed stays.
  stage.forgives(/status of 40[04]/);
  await message.fill('0g');
  await message.press('Enter');
  await shows(done, 'two digits for each byte');
  assert.equal(await message.inputValue(), '0g');
  await page.getByLabel('hex').uncheck();
  await page.locator('#to').fill('99');
  await message.press('Enter');
  await shows(done, 'no such client');

  await page.getByRole('button', { name: 'Kick client 2' }).click();
  await bob.isClosed('4000 kicked by an operator');
  await holds(page, 'one client left', () => document.querySelectorAll('#clients tbody tr').length === 1);
  await stage.accessible(page);

  // Asked before it is done.
  await page.getByRole('button', { name: 'End the room' }).click();
  const sure = page.getByRole('dialog');
  await shows(sure, 'End the room x?');
  await stage.accessible(page);
  await sure.getByRole('button', { name: 'Leave it' }).click();
  ann.says('still here');
  await ann.hears('still here');
  await page.getByRole('button', { name: 'End the room' }).click();
  await sure.getByRole('button', { name: 'End it' }).click();
  await ann.isClosed('1001 ended by an operator');
  await shows(page.locator('#ended'), 'ended by an operator (1001)');
});

play('an operator joins as a client and types', async (stage) => {
  const server = await serves(stage, '--console cat');
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  await page.getByText('Join as a client').click();
  await page.getByRole('button', { name: 'Join' }).click();
  const heard = page.getByRole('log', { name: 'What this client hears' });
  await shows(heard, 'joined');
  assert.equal(await focused(page), 'typed');
  await page.keyboard.type('hello, all');
  await page.keyboard.press('Enter');
  await ann.hears('hello, all');
  await shows(heard, 'hello, all');
  await shows(line(page, 'hello, all').first(), '↑ 2');
  ann.saysBytes([0, 255]);
  await shows(heard, '00 ff');
  await page.getByRole('button', { name: 'Leave' }).click();
  await shows(heard, 'closed: 1005');
  await holds(page, 'one client left', () => document.querySelectorAll('#clients tbody tr').length === 1);
  // Elsewhere than where the page guessed.
  await page.getByLabel('URL of the room').fill('ftp://nowhere');
  await page.getByRole('button', { name: 'Join' }).click();
  await shows(heard, 'scheme');
  ann.leaves();
});

play('in a terminal lines are typed with Enter, and what it shows is text', async (stage) => {
  const server = await serves(stage, '--console=write --pty cat');
  stage.forgives(/status of 404/);
  const ann = await Person.joins(server, 'x');
  const heard = () => Buffer.concat(ann.heard.filter((one) => one instanceof Uint8Array)).toString();
  const page = await opens(stage, server, '/rooms/x');
  await holds(page, 'a client', () => document.querySelectorAll('#clients tbody tr').length === 1);
  await page.locator('#message').fill('the first line');
  await page.getByRole('button', { name: 'Send' }).click();
  // Echoed by the terminal, and said by cat, which reads whole lines.
  await ann.until('an echo and a line', () => heard().endsWith('the first line\r\nthe first line\r\n'));
  await shows(line(page, 'the first line', '.out').first().getByRole('button'), 'the first line');
  await line(page, 'the first line', '.out').first().getByRole('button').click();
  await shows(traffic(page).locator('pre'), '74 68 65 20 66 69 72 73 74');
  await page.getByText('Join as a client').click();
  await page.getByRole('button', { name: 'Join' }).click();
  await shows(page.locator('#heard'), 'joined');
  await page.keyboard.type('another');
  await page.keyboard.press('Enter');
  await ann.until('that too', () => heard().endsWith('another\r\nanother\r\n'));
  await shows(page.locator('#heard'), 'another');
  await page.locator('#filter').fill('another');
  await holds(page, 'only that', () => [...document.querySelectorAll('#traffic .line .body')].every((one) => one.textContent.includes('another')) && document.querySelector('#traffic .line'));
  // A single key: nothing is added to it.
  await page.getByLabel('hex').check();
  await page.locator('#message').fill('04');
  await page.locator('#message').press('Enter');
  await ann.isClosed('1000 exit 0');
});

play('a console that only looks has nothing to act with, and is refused', async (stage) => {
  const server = await serves(stage, '--console cat');
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  await holds(page, 'a client', () => document.querySelectorAll('#clients tbody tr').length === 1);
  for (const name of ['Send', 'End the room', /^Kick/]) assert.equal(await page.getByRole('button', { name }).count(), 0, name);
  stage.forgives(/status of 403/);
  const refused = await page.evaluate(async (token) => {
    const statuses = [];
    for (const [action, body] of [['input', { text: 'x' }], ['say', { text: 'x' }], ['kick', { client: 1 }], ['end', {}]]) {
      const answer = await fetch(`/console/rooms/x/${action}`, { method: 'POST', body: JSON.stringify(body), headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } });
      statuses.push(answer.status);
    }
    return statuses;
  }, TOKEN);
  assert.deepEqual(refused, [403, 403, 403, 403]);
  ann.says('still here');
  await ann.hears('still here');
  ann.leaves();
});

play('on a phone, in the dark, all of it is there', async (stage) => {
  const server = await serves(stage, `--console=write --cache 3 --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'a-room-with-a-rather-long-name-and-no-blank-in-it');
  await Person.joins(server, 'chess-7');
  const page = await opens(stage, server, '/', { phone: true, dark: true });
  await page.getByRole('link', { name: 'chess-7' }).waitFor();
  await fits(page);
  await stage.accessible(page);
  await picture(page, 'console-phone-overview');
  await page.getByRole('link', { name: 'a-room' }).tap();
  await shows(page.locator('#sampling'), 'so far');
  for (const text of ['good evening', 'json', 'binary', 'whisper careful']) ann.says(text);
  await line(page, 'careful', '.stderr').waitFor();
  await fits(page);
  await line(page, '"kind"').getByRole('button').tap();
  await traffic(page).locator('pre').waitFor();
  await stage.accessible(page);
  await picture(page, 'console-phone');
  await page.getByRole('button', { name: 'Send' }).scrollIntoViewIfNeeded();
  await fits(page, page.locator('#message'), page.getByRole('button', { name: 'Send' }));
  await page.locator('#message').fill('from a phone');
  await page.getByRole('button', { name: 'Send' }).tap();
  await ann.hears('from a phone');
  await page.getByText('Join as a client').scrollIntoViewIfNeeded();
  await page.getByText('Join as a client').tap();
  await page.getByRole('button', { name: 'Join' }).tap();
  await shows(page.getByRole('log', { name: 'What this client hears' }), 'joined');
  await picture(page, 'console-phone-below');
  await page.getByRole('button', { name: 'Kick client 1' }).tap();
  await ann.isClosed('4000 kicked by an operator');
  const desk = await opens(stage, server, '/', { dark: true });
  await stage.accessible(desk);
  await picture(desk, 'console-dark');
});

play('without a mouse', async (stage) => {
  const server = await serves(stage, '--console=write cat');
  const ann = await Person.joins(server, 'chess-7');
  await Person.joins(server, 'go');
  const page = await opens(stage, server);
  const reaches = async (what) => {
    for (let n = 0; n < 60; n += 1) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const { id, tagName, textContent } = document.activeElement;
        return /^(A|BUTTON|INPUT)$/.test(tagName) ? `${id} ${textContent.trim()}` : '';
      });
      if (at.includes(what)) return;
    }
    assert.fail(`Tab never reaches ${what}`);
  };
  // The first thing is the way past the rest.
  await reaches('Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await focused(page), 'main');
  await page.keyboard.press('/');
  await page.keyboard.type('chess');
  await shows(page.locator('#count'), 'of 1');
  await reaches('chess-7');
  await page.keyboard.press('Enter');
  await shows(page.locator('#room-name'), 'chess-7');
  // Where one reads on.
  assert.equal(await focused(page), 'main');
  await shows(page.locator('#sampling'), 'so far');
  await reaches('message ');
  await page.keyboard.type('by key');
  await page.keyboard.press('Enter');
  await ann.hears('by key');
  await page.keyboard.press('Escape');
  await reaches('Kick');
  await page.keyboard.press('Escape');
  await shows(page.locator('#rooms-title'), 'Rooms');
  assert.equal(new URL(page.url()).hash, '#/');
  await page.goBack();
  await shows(page.locator('#room-name'), 'chess-7');
  await reaches('end End the room');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  ann.says('still here');
  await ann.hears('still here');
  await page.locator('#end').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await ann.isClosed('1001 ended by an operator');
});

play('in a fleet every pod is there, and which has which room', async (stage) => {
  // The page alone: tests/fleet asks real pods for what is answered here.
  const server = await serves(stage, '--console cat');
  const page = await stage.opens(server.at('/console'));
  const fleet = {
    pods: [
      { pod: 'game-6c9f7-x2x4p', public: '10.1.0.7:9000', ready: true, leaving: false, clients: 1234, rooms: 99, limit: 100 },
      { pod: 'game-6c9f7-qq8zl', public: '10.1.0.9:9000', ready: false, leaving: true, clients: 5, rooms: 2, limit: 100 },
      { pod: 'game-gateway-55d-7j', public: null, ready: true, leaving: false, clients: 40, rooms: 0, limit: 0 },
    ],
    rooms: [{ room: 'chess-7', pod: 'game-6c9f7-x2x4p' }, { room: 'go', pod: null }], rooms_matching: 2, rooms_live: 101,
  };
  await page.route('**/console/overview?*', async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...await answer.json(), fleet: true } });
  });
  await page.route('**/console/fleet?*', (route) => {
    const search = new URL(route.request().url()).searchParams.get('search');
    const rooms = fleet.rooms.filter(({ room, pod }) => `${room} ${pod}`.includes(search));
    return route.fulfill({ json: { ...fleet, rooms, rooms_matching: rooms.length } });
  });
  await page.goto(server.at(`/console#token=${TOKEN}`));
  await page.getByRole('link', { name: 'Fleet' }).click();
  const pods = page.locator('#pods tbody tr');
  for (const text of ['game-6c9f7-x2x4p', 'ready', '99 of 100', '1,234', '10.1.0.7:9000']) await shows(pods.nth(0), text);
  await shows(pods.nth(1), 'leaving');
  await shows(pods.nth(2), 'gateway');
  await shows(page.locator('#claims tbody tr').nth(0), 'game-6c9f7-x2x4p');
  await shows(page.locator('#claims tbody tr').nth(1), 'not known');
  await stage.accessible(page);
  await picture(page, 'console-fleet');
  await page.keyboard.press('/');
  await page.keyboard.type('chess');
  await shows(page.locator('#claim-count'), 'showing 1 of 1');
  // Which rooms a pod has.
  await page.getByRole('button', { name: 'Rooms of game-6c9f7-x2x4p' }).click();
  assert.equal(await page.locator('#claim-search').inputValue(), 'game-6c9f7-x2x4p');
  await shows(page.locator('#claims tbody tr'), 'chess-7');
});
