// examples/game: two browsers in one game, which keeps who they are when their connections do not last.

import assert from 'node:assert/strict';

import { fits, focused, holds, pictures, picture, play, shows, until } from './stage.mjs';

/** Enters a game by the lobby's form, with the keyboard alone. */
async function enters(page, name, room) {
  assert.equal(await focused(page), 'nick');
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type(room);
  await page.keyboard.press('Enter');
  await shows(page.getByRole('status'), /^connected$/);
  await shows(page.getByRole('listitem'), `${name} (you)`);
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
});
