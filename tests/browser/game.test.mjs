// examples/game: two browsers in one game, which keeps who they are when their connections do not last.

import assert from 'node:assert/strict';

import { Person } from './person.mjs';
import { fits, focused, holds, pictures, picture, play, shows, until } from './stage.mjs';

/** Enters a game by the lobby's form, with the keyboard alone. */
async function enters(page, name, room, then = `${name} (you)`, state = 'connected') {
  assert.equal(await focused(page), 'nick');
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type(room);
  await page.keyboard.press('Enter');
  await holds(page, state, (state) => document.getElementById('state').textContent === state, state);
  await shows(page.getByRole('main'), then);
}

const row = (page, name) => page.getByRole('list', { name: 'who holds how much' }).getByRole('listitem').filter({ hasText: name });
/** Waits until this page shows that somebody holds at least so many cells. */
const painted = (page, name, least) => holds(page, `${name} holds ${least}`, ([who, count]) =>
  [...document.querySelectorAll('#scores li')].some((item) => item.firstChild.textContent.startsWith(who) && parseInt(item.lastChild.textContent) >= count), [name, least]);

/** Waits until somebody stands where this holds. */
const stands = (page, name, where) => holds(page, `${name} stands where ${where}`,
  ([who, holds]) => players.some(({ name, at }) => name === who && eval(holds)(at)), [name, String(where)]);

play('two play with the keyboard and see each other move', async (stage) => {
  const server = await stage.runs('game');
  const viewport = { width: 760, height: 450 };
  const ann = await stage.opens(server.at('/'), { viewport });
  const bob = await stage.opens(server.at('/'), { viewport, dark: true });
  await stage.accessible(ann);
  await picture(ann, 'game-lobby');
  await enters(ann, 'Ann', 'park');

  // The lobby shows bob where somebody plays, and who.
  await shows(bob.getByRole('button'), 'park: Ann');
  await enters(bob, 'Bob', 'park');
  assert.equal(await focused(ann), 'floor');
  await bob.keyboard.press('d');
  await ann.keyboard.press('ArrowUp');
  for (const page of [ann, bob]) {
    await painted(page, 'Ann', 5);
    await painted(page, 'Bob', 5);
  }
  // A line from wall to wall, and from it around a piece of floor, wherever exactly she turns.
  await stands(ann, 'Ann', ([, y]) => y === 0);
  await ann.keyboard.press('ArrowDown');
  await stands(ann, 'Ann', ([, y]) => y === 19);
  await ann.keyboard.press('ArrowRight');
  await stands(ann, 'Ann', ([x]) => x >= 15);
  await ann.keyboard.press('w');
  await bob.keyboard.press('ArrowUp');
  await stands(ann, 'Ann', ([, y]) => y <= 13);
  await ann.keyboard.press('ArrowLeft');
  await holds(bob, 'what the line encloses is filled', () => [11, 12, 13, 14].every((x) => floor.cells[18 * floor.width + x] === 1));
  await ann.keyboard.press(' ');
  await pictures([ann, bob], 'game', { docs: true });
  await stage.accessible(ann);
  await stage.accessible(bob);

  await bob.keyboard.press(' ');
  const cells = (page) => page.evaluate(() => JSON.stringify(floor.cells));
  await until('both see the same floor', async () => await cells(ann) === await cells(bob));
});

play('whoever comes back is who they were', async (stage) => {
  const server = await stage.runs('game');
  const ann = await stage.opens(server.at('/'));
  const bob = await stage.opens(server.at('/'));
  await enters(ann, 'Ann', 'park');
  await enters(bob, 'Bob', 'park');
  await ann.keyboard.press('ArrowRight');
  await painted(bob, 'Ann', 5);
  await ann.goto('about:blank');
  await shows(row(bob, 'Ann'), 'Ann (away)');
  await ann.goBack();
  await shows(row(ann, 'Ann (you)'), /\d/);
  await painted(ann, 'Ann', 5);
  await holds(bob, 'one Ann, who is here', () => players.filter(({ name, here }) => name === 'Ann' && here).length === 1 && players.length === 2);

  // A server that restarts has forgotten the floor; the players need not do anything.
  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/);
  await server.end();
  for (const page of [ann, bob]) await shows(page.getByRole('status'), 'offline');
  await server.starts();
  for (const page of [ann, bob]) {
    await shows(page.getByRole('status'), /^connected$/);
    await shows(row(page, 'Ann'), /Ann/);
    await shows(row(page, 'Bob'), /Bob/);
  }
});

play('twelve play, the next one watches until somebody leaves, and the room beside is another', async (stage) => {
  const server = await stage.runs('game');
  const people = [];
  for (let number = 1; number <= 11; number += 1) {
    const person = await Person.joins(server, 'park');
    person.says(JSON.stringify({ type: 'enter', name: number === 7 ? '<img src=x onerror="throw 7">' : `WWWWWWWWWWWWWWWW${number}` }));
    await person.until('it is in the game', () => person.heard.some((text) => text.includes('"you"')));
    people.push(person);
  }
  const twelfth = await stage.opens(server.at('/#park'), { phone: true });
  await twelfth.getByLabel('Your name').fill('Twelfth');
  await twelfth.getByRole('button', { name: 'Play' }).tap();
  await shows(row(twelfth, 'Twelfth (you)'), /\d/);
  assert.equal(await twelfth.locator('#scores li').count(), 12);
  assert.equal(await twelfth.locator('img').count(), 0);
  // Whoever plays with a thumb sees the floor and all of the keys, however many play.
  await fits(twelfth, twelfth.locator('#floor'), ...['up', 'down', 'left', 'right'].map((name) => twelfth.getByRole('button', { name })));
  await stage.accessible(twelfth);
  await picture(twelfth, 'game-twelve-phone');

  const late = await stage.opens(server.at('/'));
  await enters(late, 'Late', 'park', 'You watch');
  await shows(late.locator('#news'), 'This game is full.');
  await holds(late, 'the floor is seen', () => floor.cells.some(Boolean) && me === undefined);
  await picture(late, 'game-full');
  people[0].leaves();
  await shows(row(late, 'Late (you)'), /\d/);
  assert.doesNotMatch(await late.locator('#news').textContent(), /full/);

  // Two rooms, two floors.
  const cem = await stage.opens(server.at('/'));
  await shows(cem.getByRole('button'), /park: .*Late/);
  await enters(cem, 'Cem', 'beach');
  assert.equal(await cem.locator('#scores li').count(), 1);
  await cem.keyboard.press('ArrowLeft');
  await holds(cem, 'Cem has walked', () => players[0].cells > 3);
  assert.equal(await late.locator('#scores li').filter({ hasText: 'Cem' }).count(), 0);
  for (const person of people) person.leaves();
});

play('the same player in a second window plays there', async (stage) => {
  const server = await stage.runs('game');
  const first = await stage.opens(server.at('/'));
  await enters(first, 'Ann', 'park');
  const token = await first.evaluate(() => sessionStorage.token);
  const second = await Person.joins(server, 'park');
  second.says(JSON.stringify({ type: 'enter', name: 'Ann', token }));
  await shows(first.locator('#news'), 'You play on in another window.');
  await holds(first, 'one Ann', () => players.length === 1 && me === undefined);
  second.leaves();
});

play('a room that cannot be says why', async (stage) => {
  const server = await stage.runs('game');
  const ann = await stage.opens(server.at('/'));
  await enters(ann, 'Ann', 'api', 'the room name is reserved (1008)', 'refused');
  await ann.getByRole('link', { name: 'leave' }).click();
  await shows(ann.getByRole('heading', { level: 2 }), 'Being played now');
});

play('the game is played with a thumb', async (stage) => {
  const server = await stage.runs('game');
  const ann = await stage.opens(server.at('/'), { phone: true, dark: true });
  await fits(ann, ann.getByRole('button', { name: 'Play' }));
  await ann.getByLabel('Your name').fill('Ann');
  await ann.getByRole('button', { name: 'Play' }).tap();
  await shows(ann.getByRole('listitem'), 'Ann (you)');
  await fits(ann, ...['up', 'down', 'left', 'right'].map((name) => ann.getByRole('button', { name })));
  await ann.getByRole('button', { name: 'down' }).tap();
  await painted(ann, 'Ann', 3);
  await ann.getByRole('button', { name: 'right' }).tap();
  await painted(ann, 'Ann', 20);
  await stage.accessible(ann);
  await picture(ann, 'game-phone');

  // Out, and a room that somebody sent a link to.
  await ann.getByRole('link', { name: 'leave' }).tap();
  await shows(ann.getByRole('heading', { level: 2 }), 'Being played now');
  const bob = await stage.opens(server.at('/#caf%C3%A9'), { phone: true });
  assert.equal(await bob.getByLabel('Room').inputValue(), 'café');
  await bob.getByLabel('Your name').fill('Bob');
  await bob.getByRole('button', { name: 'Play' }).tap();
  await shows(bob.getByRole('listitem'), 'Bob (you)');
  await shows(ann.getByRole('button'), 'café: Bob');
});
