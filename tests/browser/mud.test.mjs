// examples/mud: two people in one town, with nothing but lines of text.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';

import { fits, focused, picture, pictures, play, shows } from './stage.mjs';

const story = (page) => page.getByRole('log', { name: 'the story' });
/** Types lines, as one does without a mouse, and waits for what each is answered. */
async function types(page, ...lines) {
  for (const [line, answer] of lines) {
    const told = await story(page).locator('p').count();
    await page.keyboard.type(line);
    await page.keyboard.press('Enter');
    await shows(story(page).locator(`p:nth-child(n + ${told + 1})`), answer); // the cat may come in between
  }
}

play('two meet, talk and walk', async (stage) => {
  const server = await stage.runs('mud');
  const viewport = { width: 560, height: 510 };
  const ann = await stage.opens(server.at('/'), { viewport });
  const bob = await stage.opens(server.at('/'), { viewport, dark: true });
  for (const page of [ann, bob]) {
    await shows(story(page), 'What is your name?');
    assert.equal(await focused(page), 'line');
  }
  await types(ann, ['ann', 'The harbour']);
  // A name is had by one.
  await types(bob, ['Ann', 'Another one?'], ['bob', 'Here: Ann']);
  await shows(story(ann), 'Bob steps out of the mist.');
  await types(ann, ['say evening, Bob', 'You say: evening, Bob']);
  await shows(story(bob), 'Ann says: evening, Bob');
  await types(bob, ['say have you seen a key?', 'You say']);
  await types(ann, ['east', 'The beach'], ['take key', 'Ann takes the key.']);
  await shows(story(bob), 'Ann goes east.');
  // What is said here is heard here; a shout everywhere.
  await types(bob, ['say alone again', 'You say']);
  await types(ann, ['shout I have it!', 'You shout']);
  await shows(story(bob), 'Ann shouts: I have it!');
  assert.doesNotMatch(await story(ann).textContent(), /alone again/);
  await types(bob, ['who', 'Ann, beach']);
  // Up brings back what was said.
  await bob.keyboard.press('ArrowUp');
  await bob.keyboard.press('ArrowUp');
  assert.equal(await bob.getByRole('textbox').inputValue(), 'say alone again');
  await bob.keyboard.press('ArrowDown');
  await bob.keyboard.press('ArrowDown');
  await pictures([ann, bob], 'mud', { docs: true });
  await stage.accessible(ann);
  await stage.accessible(bob);
});

play('a town on a phone, and after an earthquake', async (stage) => {
  const server = await stage.runs('mud');
  const ann = await stage.opens(server.at('/#away'), { phone: true, dark: true });
  await shows(story(ann), 'What is your name?');
  await ann.getByRole('textbox').fill('Ann');
  await ann.getByRole('button', { name: 'Enter' }).tap();
  await shows(story(ann), 'Welcome to Saltmarsh, Ann');
  await ann.getByRole('button', { name: 'north' }).tap();
  await shows(story(ann), 'The market');
  await fits(ann, ann.getByRole('textbox'), ...['look', 'west', 'who', 'Enter'].map((name) => ann.getByRole('button', { name })));
  await stage.accessible(ann);
  await picture(ann, 'mud-phone');

  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/);
  await server.end();
  await shows(ann.getByRole('status'), 'again in');
  await server.starts();
  await shows(ann.getByRole('status'), /^connected$/);
  // The page has said the name by itself.
  await shows(story(ann), /Welcome to Saltmarsh, Ann.*Welcome to Saltmarsh, Ann/s);
  await ann.getByRole('button', { name: 'who' }).tap();
  await shows(story(ann), 'Ann, harbour');
});

play('the same page is for a dungeon that knows nothing of us', async (stage) => {
  // As most are: it asks for the name, and has a connection for each player.
  const players = new Set();
  const dungeon = createServer((socket) => {
    let name;
    players.add(socket.setEncoding('utf8'));
    socket.write('What is your name?\r\n');
    socket.on('data', (lines) => {
      for (const line of lines.split('\n').filter(Boolean)) {
        for (const player of players) if (name) player.write(`${name}: ${line}\r\n`);
        name ??= line;
      }
    });
    socket.on('close', () => players.delete(socket));
    socket.on('error', () => {});
  });
  await new Promise((done) => dungeon.listen(0, '127.0.0.1', done));
  try {
    const server = await stage.serves(`--isolate --connect 127.0.0.1:${dungeon.address().port} --staticdir examples/mud`);
    const [ann, bob] = [await stage.opens(server.at('/')), await stage.opens(server.at('/'))];
    for (const [page, name] of [[ann, 'Ann'], [bob, 'Bob']]) {
      await shows(story(page), 'What is your name?');
      await page.keyboard.type(name);
      await page.keyboard.press('Enter');
    }
    await types(ann, ['hello', 'Ann: hello']);
    await shows(story(bob), 'Ann: hello');
    await types(bob, ['hello yourself', 'Bob: hello yourself']);
    await shows(story(ann), 'Bob: hello yourself');
    for (const page of [ann, bob]) await page.context().close(); // before they could miss it
  } finally {
    for (const player of players) player.destroy();
    dungeon.close();
  }
});
