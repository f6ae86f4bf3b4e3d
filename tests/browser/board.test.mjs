// examples/board: what one draws the others see, those who come later too, with mouse, finger or keys.

import assert from 'node:assert/strict';

import { fits, holds, picture, pictures, play, shows } from './stage.mjs';

const board = (page) => page.getByRole('application', { name: 'the board' });

/** Draws through these points, given as shares of the board. */
async function draws(page, ...points) {
  const box = await board(page).boundingBox();
  const [first, ...rest] = points.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...point, { steps: 4 });
  await page.mouse.up();
}

/** Waits until this page shows ink of this colour at a place, or none where `rgb` is null. */
const inked = (page, [x, y], rgb) => holds(page, `${rgb ?? 'nothing'} at ${x}, ${y}`, ([x, y, rgb]) => {
  const canvas = document.getElementById('board');
  const seen = canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data;
  return rgb ? seen[3] === 255 && rgb.every((part, at) => Math.abs(part - seen[at]) < 3) : seen[3] === 0;
}, [x, y, rgb]);

const BLUE = [36, 86, 214];
const RED = [210, 47, 58];

/** A house and a sun. */
async function house(page) {
  await draws(page, [0.2, 0.8], [0.2, 0.5], [0.35, 0.3], [0.5, 0.5], [0.5, 0.8], [0.2, 0.8]);
  await draws(page, [0.3, 0.8], [0.3, 0.6], [0.4, 0.6], [0.4, 0.8]);
}
async function sun(page) {
  const around = Array.from({ length: 25 }, (_, at) => [0.8 + 0.06 * Math.cos(at / 24 * 6.3), 0.25 + 0.096 * Math.sin(at / 24 * 6.3)]);
  await draws(page, ...around);
  for (let ray = 0; ray < 8; ray += 1) {
    const [x, y] = [Math.cos(ray * Math.PI / 4), 1.6 * Math.sin(ray * Math.PI / 4)];
    await draws(page, [0.8 + 0.08 * x, 0.25 + 0.08 * y], [0.8 + 0.12 * x, 0.25 + 0.12 * y]);
  }
}

play('two draw on one board, and a third who comes later sees it all', async (stage) => {
  const server = await stage.runs('board');
  const viewport = { width: 760, height: 600 };
  const ann = await stage.opens(server.at('/#garden'), { viewport });
  const bob = await stage.opens(server.at('/#garden'), { viewport, dark: true });
  for (const page of [ann, bob]) await shows(page.locator('#here'), '2 here');
  await house(ann);
  await inked(bob, [0.2, 0.6], BLUE);
  await bob.getByRole('radio', { name: 'red' }).check();
  await sun(bob);
  await inked(ann, [0.86, 0.25], RED);

  const cem = await stage.opens(server.at('/#garden'), { phone: true });
  await inked(cem, [0.2, 0.6], BLUE);
  await inked(cem, [0.86, 0.25], RED);
  await stage.accessible(ann);
  await stage.accessible(bob);
  await stage.accessible(cem);
  await pictures([ann, bob], 'board', { docs: true });
  await picture(cem, 'board-phone');

  // One's own last line goes; then everything.
  await ann.getByRole('button', { name: 'Undo' }).click();
  for (const page of [ann, bob, cem]) await inked(page, [0.3, 0.7], null);
  await inked(bob, [0.2, 0.6], BLUE);
  await bob.getByRole('button', { name: 'Clear' }).click();
  for (const page of [ann, bob, cem]) await inked(page, [0.2, 0.6], null);
});

play('one draws with the keyboard, another with a finger', async (stage) => {
  const server = await stage.runs('board');
  const ann = await stage.opens(server.at('/'));
  const bob = await stage.opens(server.at('/'), { phone: true, dark: true });
  for (const page of [ann, bob]) await shows(page.locator('#here'), '2 here');
  await fits(bob, board(bob), ...['Undo', 'Clear'].map((name) => bob.getByRole('button', { name })), bob.getByRole('radio', { name: 'white' }));

  await ann.keyboard.press('Tab');
  await ann.keyboard.press('Space');
  for (let step = 0; step < 4; step += 1) await ann.keyboard.press('Shift+ArrowRight');
  await ann.keyboard.press('Space');
  await inked(bob, [0.65, 0.5], BLUE);
  await shows(ann.locator('#said'), 'pen up');
  const box = await board(bob).boundingBox();
  await bob.touchscreen.tap(box.x + box.width * 0.25, box.y + box.height * 0.25);
  await inked(ann, [0.25, 0.25], BLUE);
});

play('a board that was away comes back by itself', async (stage) => {
  const server = await stage.runs('board');
  const ann = await stage.opens(server.at('/'));
  const bob = await stage.opens(server.at('/'));
  for (const page of [ann, bob]) await shows(page.locator('#here'), '2 here');
  await draws(ann, [0.2, 0.2], [0.4, 0.2]);
  await inked(bob, [0.3, 0.2], BLUE);
  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/);
  await server.end();
  await shows(ann.getByRole('status'), 'again in');
  // What nobody would see is not drawn.
  await draws(ann, [0.2, 0.8], [0.4, 0.8]);
  await inked(ann, [0.3, 0.8], null);
  await server.starts();
  for (const page of [ann, bob]) await shows(page.getByRole('status'), /^connected$/);
  for (const page of [ann, bob]) await inked(page, [0.3, 0.2], null);
  await draws(bob, [0.2, 0.8], [0.4, 0.8]);
  await inked(ann, [0.3, 0.8], BLUE);
  assert.equal(await ann.locator('#here').textContent(), '2 here');
});
