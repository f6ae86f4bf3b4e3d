// examples/terminal: one shell for everybody in the room. Whoever types, all see it.

import assert from 'node:assert/strict';

import { fits, holds, picture, pictures, play, shows } from './stage.mjs';

/** Waits until the terminal on this page shows these words, on one line. */
const reads = (page, words) => holds(page, `the terminal reads ${words}`, (words) => {
  const buffer = terminal.buffer.active;
  return Array.from({ length: buffer.length }, (_, row) => buffer.getLine(row).translateToString(true)).some((line) => line.includes(words));
}, words);

async function types(page, line) {
  await page.keyboard.type(line);
  await page.keyboard.press('Enter');
}

play('two type into one shell, and both see all of it', async (stage) => {
  const server = await stage.runs('terminal');
  const viewport = { width: 640, height: 420 };
  const ann = await stage.opens(server.at('/#pair'), { viewport });
  const bob = await stage.opens(server.at('/#pair'), { viewport });
  for (const page of [ann, bob]) {
    await shows(page.getByRole('heading', { level: 1 }), '#pair');
    await shows(page.getByRole('status'), /^connected$/);
  }
  // The terminal has the focus: no mouse is needed.
  await types(ann, "PS1='shared$ '; clear");
  for (const page of [ann, bob]) await reads(page, 'shared$');
  await types(ann, 'echo ann was here: $((6 * 7))');
  for (const page of [ann, bob]) await reads(page, 'ann was here: 42');
  await bob.keyboard.type('echo bob begins a line ');
  await reads(ann, 'echo bob begins a line');
  await types(ann, 'and ann ends it | tr a-z A-Z');
  for (const page of [ann, bob]) await reads(page, 'BOB BEGINS A LINE AND ANN ENDS IT');
  await stage.accessible(ann);
  await types(bob, "printf '\\e[1;32m%s\\e[0m %s\\n' colours '✓ too'");
  for (const page of [ann, bob]) await reads(page, 'colours ✓ too');
  await types(ann, 'ls --color examples');
  for (const page of [ann, bob]) await reads(page, 'README.md');
  await pictures([ann, bob], 'terminal', { docs: true });

  // The smallest window is everybody's size, as long as it is there.
  const wide = await ann.locator('#size').textContent();
  const cem = await stage.opens(server.at('/#pair'), { phone: true });
  await shows(cem.getByRole('status'), /^connected$/);
  await reads(cem, 'colours ✓ too');
  await holds(ann, 'a phone makes it smaller', (wide) => document.getElementById('size').textContent !== wide, wide);
  assert.equal(await ann.locator('#size').textContent(), await cem.locator('#size').textContent());
  await ann.getByRole('checkbox', { name: 'for screen readers' }).check();
  await shows(ann.getByRole('list'), 'ANN ENDS IT');
  await stage.accessible(ann);
  await ann.getByRole('checkbox', { name: 'for screen readers' }).uncheck();
  const keys = ['Esc', 'Tab', '^C', 'up'].map((name) => cem.getByRole('button', { name, exact: true }));
  await fits(cem, ...keys);
  await stage.accessible(cem);
  await types(ann, 'echo asleep $((1 + 1)); sleep 1000');
  await reads(ann, 'asleep 2');
  await cem.getByRole('button', { name: '^C' }).tap();
  await reads(ann, '^C');
  // Arrows are for the shell once it asks for a line; before that they would only be echoed.
  await holds(ann, 'a prompt after it', () => terminal.buffer.active.getLine(terminal.buffer.active.baseY + terminal.buffer.active.cursorY)
    .translateToString(true).trim() === 'shared$');
  for (let back = 0; back < 3; back += 1) await cem.getByRole('button', { name: 'up' }).tap();
  await holds(ann, 'the line is there again', () => terminal.buffer.active.getLine(terminal.buffer.active.baseY + terminal.buffer.active.cursorY - 1)
    .translateToString().includes('shared$ printf'));
  await picture(cem, 'terminal-phone');
  await cem.context().close();
  await shows(ann.locator('#size'), wide);
  await types(ann, '');
});

play('a shell that ended is told, and the next one is joined by itself', async (stage) => {
  const server = await stage.runs('terminal');
  const ann = await stage.opens(server.at('/'));
  const bob = await stage.opens(server.at('/'));
  for (const page of [ann, bob]) await shows(page.getByRole('status'), /^connected$/);
  for (const page of [ann, bob]) await page.evaluate(() => { window.first = socket; });
  await types(ann, 'it=known; exit');
  for (const page of [ann, bob]) await holds(page, 'connected again', () => socket !== first && socket.readyState === WebSocket.OPEN);
  assert.equal(await bob.evaluate(() => first.readyState), 3);
  await types(bob, 'echo it is $((2 + 1)) [$it]');
  for (const page of [ann, bob]) await reads(page, 'it is 3 []');

  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/);
  await server.end();
  await shows(ann.getByRole('status'), 'again in');
  await server.starts();
  for (const page of [ann, bob]) await shows(page.getByRole('status'), /^connected$/);
  await types(ann, 'echo back $((4 + 4)) again');
  await reads(bob, 'back 8 again');
});
