// The network goes away and comes back, and the server has not noticed: every example's page is in
// the same room again by itself, as the same person, with what was missed where a program keeps it.

import assert from 'node:assert/strict';

import { holds, play, shows } from './stage.mjs';

/** Two pages with one example: Ann's through a wire, Bob's without. */
async function two(stage, example, environment) {
  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED/);
  const server = await stage.runs(example, environment);
  const wire = await stage.wires(server);
  const [ann, bob] = [await stage.opens(wire.at('/#wire')), await stage.opens(server.at('/#wire'))];
  return { wire, ann, bob };
}

const isConnected = (page) => shows(page.getByRole('status'), /^connected$/);

async function types(page, line) {
  await page.keyboard.type(line);
  await page.keyboard.press('Enter');
}

/** Ann's network is away while something happens. */
async function without(wire, ann, happens = () => {}) {
  wire.cut();
  await shows(ann.getByRole('status'), 'again in');
  await happens();
  wire.mends();
  await isConnected(ann);
}

play('a chat goes on', async (stage) => {
  const { wire, ann, bob } = await two(stage, 'chat');
  for (const page of [ann, bob]) await isConnected(page);
  await without(wire, ann);
  await types(ann, 'that was a tunnel');
  await shows(bob.getByRole('log'), 'that was a tunnel');
  await types(bob, 'welcome back');
  await shows(ann.getByRole('log'), 'welcome back');
});

play('a board shows what was drawn meanwhile', async (stage) => {
  const { wire, ann, bob } = await two(stage, 'board');
  for (const page of [ann, bob]) await shows(page.locator('#here'), '2 here');
  await without(wire, ann, async () => {
    await bob.getByRole('application').click({ position: { x: 100, y: 100 } });
    await holds(bob, 'the dot has come back', () => lines.size === 1);
  });
  await holds(ann, 'the dot is there', () => lines.size === 1);
  await ann.getByRole('application').click({ position: { x: 200, y: 100 } });
  await holds(bob, 'both dots are there', () => lines.size === 2);
});

play('a player is the same player', async (stage) => {
  const { wire, ann, bob } = await two(stage, 'game');
  for (const [page, name] of [[ann, 'Ann'], [bob, 'Bob']]) {
    await page.getByLabel('Your name').fill(name);
    await page.keyboard.press('Enter');
    await shows(page.getByRole('listitem'), `${name} (you)`);
  }
  const number = await ann.evaluate(() => me);
  await ann.keyboard.press('ArrowRight');
  await holds(bob, 'Ann has walked', () => players.find(({ name }) => name === 'Ann').cells > 5);
  await without(wire, ann);
  // Her first connection is not yet known to be lost: she takes her place from it.
  await holds(ann, 'the same Ann', (number) => me === number && players.length === 2, number);
  await ann.keyboard.press('ArrowUp');
  await holds(bob, 'Ann is at the wall', () => players.find(({ name }) => name === 'Ann').at[1] === 0);
  assert.equal(await bob.evaluate(() => players.filter(({ here }) => here).length), 2);
});

play('a name in a town is had again once its connection is known to be lost', async (stage) => {
  const { wire, ann, bob } = await two(stage, 'mud', { SCALESOCKET_PING: '2', SCALESOCKET_PING_TIMEOUT: '5' });
  for (const [page, name] of [[bob, 'Bob'], [ann, 'Ann']]) {
    await shows(page.getByRole('log'), 'What is your name?');
    await types(page, name);
    await shows(page.getByRole('log'), 'The harbour');
  }
  // What anybody may say is not taken for the town's question.
  await types(bob, 'say Ann is not a name that is free. Another one?');
  await shows(ann.getByRole('log'), 'Bob says: Ann is not a name');
  await without(wire, ann);
  await shows(ann.getByRole('log'), 'waiting for it to be noticed');
  await ann.getByRole('button', { name: 'who' }).click(); // no name, either
  await shows(bob.getByRole('log'), 'Ann fades into the mist.');
  await shows(ann.getByRole('log'), 'Welcome back, Ann');
  await ann.getByRole('button', { name: 'who' }).click();
  await shows(ann.getByRole('log'), 'Ann, harbour');
});

play('a terminal shows what was printed meanwhile', async (stage) => {
  const { wire, ann, bob } = await two(stage, 'terminal');
  for (const page of [ann, bob]) await isConnected(page);
  const reads = (page, words) => holds(page, `it reads ${words}`, (words) => {
    const { active } = terminal.buffer;
    return Array.from({ length: active.length }, (_, row) => active.getLine(row).translateToString(true)).some((line) => line.includes(words));
  }, words);
  await without(wire, ann, async () => {
    await types(bob, 'echo printed $((40 + 2))');
    await reads(bob, 'printed 42');
  });
  await reads(ann, 'printed 42');
  await types(ann, 'echo typed $((40 + 3))');
  await reads(bob, 'typed 43');
});
