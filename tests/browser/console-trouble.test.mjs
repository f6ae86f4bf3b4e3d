// The console where something goes wrong or is meant to: no token, a room or a server that is gone, names and
// messages that would deceive, rooms that move under the hand.

import assert from 'node:assert/strict';

import { TALKER, TOKEN, figure, line, lists, opens, serves, traffic } from './console.mjs';
import { Person } from './person.mjs';
import { focused, holds, play, shows, until } from './stage.mjs';

play('the token is asked for, kept for the tab, and nowhere to be read', async (stage) => {
  const server = await serves(stage, '--console cat');
  stage.forgives(/status of 401/);
  const page = await stage.opens(server.at('/console'));
  await shows(page.getByRole('heading', { level: 2 }), 'The console wants its token');
  assert.equal(await focused(page), 'token');
  await stage.accessible(page);
  await page.keyboard.type('certainly-not-the-token');
  await page.keyboard.press('Enter');
  await shows(page.locator('#state'), 'the token is not the server\'s');
  await page.locator('#token').fill(TOKEN);
  await page.getByRole('button', { name: 'Open' }).click();
  await shows(page.locator('#state'), 'live');
  await page.reload();
  await shows(page.locator('#state'), 'live');
  const given = await stage.opens(server.at(`/console#token=${TOKEN}`));
  await shows(given.locator('#state'), 'live');
  assert.ok(!given.url().includes(TOKEN));
  assert.ok(!(await given.content()).includes(TOKEN));
  // Another tab of another profile has none; one with what is no token at all asks for one.
  const other = await stage.opens(server.at('/console#token=%'));
  await shows(other.locator('#state'), 'the token is not the server\'s');
});

play('a room that ends says why, and is followed when it opens again', async (stage) => {
  const server = await serves(stage, `--console --passenv PATH ${TALKER}`);
  stage.forgives(/status of 404/);
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  ann.says('whisper out of cards');
  ann.says('exit 3');
  await shows(page.locator('#ended'), 'exit 3 (1011)');
  await shows(page.locator('#ended'), 'out of cards');
  const bob = await Person.joins(server, 'x');
  await shows(page.locator('#state'), 'live');
  assert.ok(await page.locator('#ended').isHidden());
  await shows(page.locator('#sampling'), 'showing all of 0 so far');
  bob.says('again');
  await holds(page, 'each of it once', () => [...document.querySelectorAll('#traffic .line .body')].filter((one) => one.textContent === 'again').length === 2);
  bob.leaves();
});

play('a server that goes away is waited for', async (stage) => {
  const server = await serves(stage, '--console cat');
  stage.forgives(/ERR_CONNECTION|ERR_EMPTY|ERR_INCOMPLETE|ERR_SOCKET|status of 404/);
  const overview = await opens(stage, server);
  await server.end();
  await shows(overview.locator('#state'), 'the server does not answer');
  await server.starts();
  await shows(overview.locator('#state'), 'live');
});

play('a server that does not answer is said not to, and asked again', async (stage) => {
  const server = await serves(stage, '--console=write cat');
  const ann = await Person.joins(server, 'x');
  const page = await stage.opens(server.at('/console'));
  await page.clock.install();
  await page.evaluate((hash) => { location.hash = hash; }, `token=${TOKEN}`);
  await shows(page.locator('#state'), 'live');
  const watches = [];
  page.on('request', (request) => { if (request.url().endsWith('/watch')) watches.push(request); });
  await page.evaluate(() => { location.hash = '/rooms/x'; });
  await shows(page.locator('#sampling'), 'so far');
  assert.equal(watches.length, 1);
  // As when the network loses everything: connections stand, and nothing comes.
  process.kill(server.pid, 'SIGSTOP');
  try {
    await page.locator('#message').fill('lost');
    await page.getByRole('button', { name: 'Send' }).click();
    const passes = (what, holds) => until(what, async () => { await page.clock.fastForward(11_000); return holds(); });
    await passes('that it does not answer', async () => (await page.locator('#state').textContent()).includes('does not answer'));
    await passes('an action that failed', async () => (await page.locator('#done').textContent()).includes('does not answer'));
    assert.equal(await page.locator('#message').inputValue(), 'lost');
    await passes('another watch', () => watches.length > 1);
  } finally {
    process.kill(server.pid, 'SIGCONT');
  }
  await shows(page.locator('#state'), 'live');
  await shows(page.locator('#sampling'), 'so far');
  ann.says('again');
  await line(page, 'again').first().waitFor();
  ann.leaves();
});

play('a server that drains says so, and its rooms are seen to their end', async (stage) => {
  const server = await serves(stage, '--console --drain-timeout 1h cat');
  stage.forgives(/ERR_CONNECTION|ERR_EMPTY|ERR_INCOMPLETE|ERR_SOCKET|status of 404/);
  const ann = await Person.joins(server, 'x');
  const [overview, room] = [await opens(stage, server), await opens(stage, server, '/rooms/x')];
  process.kill(server.pid, 'SIGTERM');
  await shows(figure(overview, 'Up'), 'draining');
  ann.says('the last word');
  await line(room, 'the last word').first().waitFor();
  ann.leaves();
  await server.logged((entry) => entry.message === 'stopped');
  await shows(overview.locator('#state'), 'the server does not answer');
  await shows(room.locator('#state'), /has ended|does not answer/);
});

play('what others named and said is text, whatever is in it', async (stage) => {
  const server = await serves(stage, '--console cat');
  const evil = '<img src=x onerror="document.title=1">\u202e';
  const ann = await Person.joins(server, evil);
  const page = await opens(stage, server);
  await page.getByRole('link', { name: '<img' }).click();
  await shows(page.locator('#sampling'), 'so far');
  await shows(page.locator('#room-name'), '<img src=x onerror="document.title=1">⟨202E⟩');
  ann.says(`${evil}<script>document.title=2</script>\u001b[2J\u0007`);
  await shows(line(page, '<script>').first(), '⟨202E⟩<script>document.title=2</script>␛[2J␇');
  ann.says(JSON.stringify({ html: `<b>${evil}</b>`, long: 'x'.repeat(60) }));
  await line(page, '"html"').first().getByRole('button').click();
  await shows(traffic(page).locator('pre'), '<b><img');
  assert.equal(await page.locator('img, #traffic b, #traffic script').count(), 0);
  assert.match(await page.title(), /^<img/);
  for (const dots of ['.', '..']) {
    // No browser asks for them; whoever writes requests by hand may.
    const deaf = await Person.joins(server, dots);
    await page.evaluate((name) => { location.hash = `/rooms/${name}`; }, dots);
    await shows(page.locator('#sampling'), 'showing all of 0 so far');
    await shows(page.locator('#state'), 'live');
    deaf.leaves();
  }
  ann.leaves();
});

play('who is asked for the token asks for nothing meanwhile', async (stage) => {
  // Each start makes another one.
  const server = await stage.serves('--console cat');
  stage.forgives(/ERR_CONNECTION|ERR_EMPTY|ERR_INCOMPLETE|ERR_SOCKET|status of 40[14]/);
  const made = () => server.log.findLast((entry) => entry.message === 'ready').console.split('#token=')[1];
  const page = await stage.opens(server.at('/console'));
  await page.clock.install();
  await page.goto(server.at(`/console#token=${made()}`));
  await shows(page.locator('#state'), 'live');
  await Person.joins(server, 'x');
  await page.evaluate(() => { location.hash = '/rooms/x'; });
  await shows(page.locator('#sampling'), 'so far');
  await server.end();
  await shows(page.locator('#state'), 'the server does not answer');
  await server.starts();
  await shows(page.getByRole('heading', { level: 2 }), 'The console wants its token');
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  for (let n = 0; n < 5; n += 1) {
    await page.clock.fastForward(10_000);
    await page.evaluate(() => fetch('/health'));
  }
  assert.deepEqual(asked, Array(5).fill('/health'));
  // With it the room is there at once, and followed.
  const bob = await Person.joins(server, 'x');
  await page.locator('#token').fill(made());
  await page.getByRole('button', { name: 'Open' }).click();
  await shows(page.locator('#sampling'), 'so far');
  bob.says('again');
  await line(page, 'again').first().waitFor();
  bob.leaves();
});

play('what is unfolded is what was said, to the last digit', async (stage) => {
  const server = await serves(stage, '--console cat');
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  ann.says('{"id":12345678901234567890,"price":1.10,"twice":1,"twice":[],"of":{"none":{}},"text":"a \\"{[,:]}\\" \\u00e9","list":[1,[2,null]]}');
  await line(page, '"id"').first().getByRole('button').click();
  assert.equal(await traffic(page).locator('pre').textContent(), `{
  "id": 12345678901234567890,
  "price": 1.10,
  "twice": 1,
  "twice": [],
  "of": {
    "none": {}
  },
  "text": "a \\"{[,:]}\\" \\u00e9",
  "list": [
    1,
    [
      2,
      null
    ]
  ]
}`);
  // What only looks like JSON stays a line, and opens as it is.
  const broken = `{"this is": no JSON, ${'.'.repeat(40)}`;
  ann.says(broken);
  const second = line(page, 'no JSON').first();
  await second.getByRole('button').click();
  assert.equal(await second.locator('pre').textContent(), broken);
  ann.leaves();
});

play('bytes are found by their digits, as they are shown', async (stage) => {
  const server = await serves(stage, '--console cat');
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  ann.saysBytes([0, 255, 16]);
  ann.saysBytes([1, 2, 3]);
  await holds(page, 'all', () => document.querySelectorAll('#traffic .line').length === 4);
  for (const digits of ['ff 10', 'ff10', 'FF']) {
    await page.locator('#filter').fill(digits);
    await holds(page, digits, () => [...document.querySelectorAll('#traffic .line .body')].map((one) => one.textContent).join() === '00 ff 10,00 ff 10');
    await page.locator('#filter').fill('');
    await holds(page, 'all', () => document.querySelectorAll('#traffic .line').length === 4);
  }
  ann.leaves();
});

play('no name hides what it is', async (stage) => {
  const server = await serves(stage, '--console=write cat');
  const ann = await Person.joins(server, 'go\u00ad\u{e0041}\u3164\u2067');
  const page = await opens(stage, server);
  const name = 'go⟨00AD⟩⟨E0041⟩⟨3164⟩⟨2067⟩';
  await lists(page, name);
  await page.getByRole('link', { name: 'go' }).click();
  await shows(page.locator('#sampling'), 'so far');
  assert.equal(await page.locator('#room-name').textContent(), name);
  await page.getByRole('button', { name: 'End the room' }).click();
  await shows(page.getByRole('dialog'), `End the room ${name}?`);
  await page.getByRole('button', { name: 'Leave it' }).click();
  ann.says('I ❤️ it');
  await shows(line(page, 'it').first().locator('.body'), 'I ❤️ it');
  ann.leaves();
});

play('what is half done in a room is not done to the next', async (stage) => {
  const server = await serves(stage, '--console=write cat');
  const [ann, bob] = [await Person.joins(server, 'chess'), await Person.joins(server, 'go')];
  const page = await opens(stage, server, '/rooms/go');
  await page.evaluate(() => { location.hash = '/rooms/chess'; });
  await shows(page.locator('#room-name'), 'chess');
  await shows(page.locator('#sampling'), 'so far');
  await page.getByText('Join as a client').click();
  const opened = page.waitForEvent('websocket');
  await page.getByRole('button', { name: 'Join' }).click();
  await shows(page.locator('#heard'), 'joined');
  const closed = (await opened).waitForEvent('close');
  await page.locator('#target').selectOption('one client');
  await page.locator('#to').fill('1');
  await page.locator('#message').fill('for chess alone');
  await page.getByRole('button', { name: 'End the room' }).click();
  await page.getByRole('dialog').waitFor();
  await page.goBack();
  await shows(page.locator('#room-name'), 'go');
  await shows(page.locator('#sampling'), 'so far');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  assert.deepEqual(await page.evaluate(() => ['target', 'to', 'message'].map((id) => document.getElementById(id).value)), ['input', '', '']);
  assert.ok(await page.locator('#to').isHidden());
  // The client of before says nothing here as it leaves.
  await closed;
  ann.says('still here');
  await ann.hears('still here');
  bob.says('and here');
  await bob.hears('and here');
  assert.equal(await page.locator('#heard').textContent(), '');
  for (const person of [ann, bob]) person.leaves();
});

play('whoever is at a room stays with it when it moves', async (stage) => {
  const server = await serves(stage, '--console cat');
  const people = [await Person.joins(server, 'chess'), await Person.joins(server, 'go')];
  const page = await opens(stage, server);
  await page.locator('#rooms thead').getByRole('button', { name: 'Clients' }).click();
  await lists(page, 'chess', 'go');
  await page.getByRole('link', { name: 'go' }).focus();
  people.push(await Person.joins(server, 'go'));
  await lists(page, 'go', 'chess');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'go');
  people.push(await Person.joins(server, 'chess'), await Person.joins(server, 'chess'));
  await lists(page, 'chess', 'go');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'go');
  for (const person of people) person.leaves();
});

play('of what passes while it is paused the newest is held, and said to be', async (stage) => {
  const server = await serves(stage, `--console --passenv PATH ${TALKER}`);
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  await page.getByRole('button', { name: 'Pause' }).click();
  // 200 a second are shown, so no page holds 2,000 soon: told by one that claims to be the server.
  await page.evaluate(() => {
    const seen = Array.from({ length: 2500 }, (_, n) => ({ at: 0, way: 'out', whom: 'everyone', text: `message ${n}`, bytes: 1 }));
    const passed = { in: 0, out: 2500, stderr: 0 };
    current.event(`event: traffic\ndata: ${JSON.stringify({ seen, shown: passed, passed })}`);
  });
  await shows(page.locator('#sampling'), 'paused, the newest 2,000 of 2,500 newer are held');
  await page.getByRole('button', { name: 'Pause' }).click();
  await line(page, 'message 2499').waitFor();
  await page.locator('#filter').fill('message 500');
  await holds(page, 'the oldest that is held', () => document.querySelectorAll('#traffic .line').length === 1);
  await page.locator('#filter').fill('message 499');
  await holds(page, 'none of before', () => document.querySelectorAll('#traffic .line').length === 0);
  ann.leaves();
});

play('paused, the history stays as it is read', async (stage) => {
  const server = await serves(stage, '--console --cache 5 cat');
  const ann = await Person.joins(server, 'x');
  const page = await opens(stage, server, '/rooms/x');
  await shows(page.locator('#history-count'), 'none');
  ann.says(JSON.stringify({ move: 'e4', by: 'ann', clock: [300, 299.5, 298] }));
  await page.getByText('History').click();
  await shows(page.locator('#history-count'), 'showing 1 of 1');
  await page.locator('#history').getByRole('button').click();
  await shows(page.locator('#history pre'), '"by": "ann"');
  await page.getByRole('button', { name: 'Pause' }).click();
  ann.says('the next');
  await ann.hears('the next');
  // Who is in is told with the history.
  const bob = await Person.joins(server, 'x');
  await holds(page, 'two clients', () => document.querySelectorAll('#clients tbody tr').length === 2);
  await shows(page.locator('#history pre'), '"by": "ann"');
  await page.getByRole('button', { name: 'Pause' }).click();
  await shows(page.locator('#history-count'), 'showing 2 of 2');
  await shows(page.locator('#history'), 'the next');
  for (const person of [ann, bob]) person.leaves();
});

play('on an address of its own it is another origin than the rooms, and joins them', async (stage) => {
  const server = await serves(stage, '--console=write --admin-addr 127.0.0.1:0 cat');
  stage.forgives(/asks another host: ws:/);
  const ann = await Person.joins(server, 'x');
  const admin = server.log.find((entry) => entry.message === 'listening' && entry.listener === 'admin');
  const page = await stage.opens(`http://${admin.addr}/console#token=${TOKEN}`);
  await page.getByRole('link', { name: 'x', exact: true }).click();
  await shows(page.locator('#sampling'), 'so far');
  await page.locator('#message').fill('by an operator');
  await page.locator('#message').press('Enter');
  await ann.hears('by an operator');
  const port = server.addr.split(':')[1];
  // A loopback network of its own, as each test has: the page can only guess its own host.
  await page.getByText('Join as a client').click();
  const url = page.getByLabel('URL of the room');
  assert.equal(await url.inputValue(), `ws://127.0.0.1:${port}/x`);
  await url.fill(server.at('/x').replace('http', 'ws'));
  await page.getByRole('button', { name: 'Join' }).click();
  await shows(page.locator('#heard'), 'joined');
  await page.keyboard.type('by a client');
  await page.keyboard.press('Enter');
  await ann.hears('by a client');
  ann.leaves();
});
