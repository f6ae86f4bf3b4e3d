// What a browser is shown that meets a room where its user wanted a page: src/http/visitor/page.html.

import assert from 'node:assert/strict';

import { fits, focused, picture, play, shows } from './stage.mjs';

/** The page is the body of a refusal, which the browser notes in its console. */
async function servesRoom(stage, words) {
  stage.forgives(/426 \(Upgrade Required\)/);
  return stage.serves(words);
}

play('two who open a room as a page talk to each other', async (stage) => {
  const server = await servesRoom(stage, 'cat');
  const ann = await stage.opens(server.at('/tea%20room'));
  const bob = await stage.opens(server.at('/tea%20room'), { dark: true });
  for (const page of [ann, bob]) {
    await shows(page.getByRole('heading', { level: 1 }), 'tea room is a room');
    await shows(page.getByRole('log'), 'connected');
  }
  // The field has the focus: no mouse is needed.
  assert.equal(await focused(ann), 'text');
  await ann.keyboard.type('is the kettle on?');
  await ann.keyboard.press('Enter');
  for (const page of [ann, bob]) await shows(page.getByRole('log'), 'is the kettle on?');
  await stage.accessible(ann);
  await stage.accessible(bob);
  await picture(bob, 'visitor-dark');
});

play('the page of a room fits a phone, and what was said is text', async (stage) => {
  const server = await servesRoom(stage, 'cat');
  const name = 'a-room-whose-name-is-rather-long-and-has-no-blank-in-it-anywhere';
  const ann = await stage.opens(server.at(`/${name}`), { phone: true });
  await shows(ann.getByRole('log'), 'connected');
  const field = ann.getByRole('textbox', { name: 'message' });
  await field.fill('<img src=x onerror="throw 1"> & so on');
  await ann.getByRole('button', { name: 'Send' }).tap();
  await shows(ann.getByRole('log'), '<img src=x onerror="throw 1"> & so on');
  assert.equal(await ann.locator('img').count(), 0);
  await fits(ann, field, ann.getByRole('button', { name: 'Send' }));
  await stage.accessible(ann);
  await picture(ann, 'visitor-phone');
});

play('the page says why a connection ended', async (stage) => {
  const server = await servesRoom(stage, "sh -- -c 'read line; exit 3'");
  const ann = await stage.opens(server.at('/lobby'));
  await shows(ann.getByRole('log'), 'connected');
  await ann.keyboard.type('end');
  await ann.keyboard.press('Enter');
  await shows(ann.getByRole('log'), /closed: 1011 .*3/);
  await ann.keyboard.type('too late');
  await ann.keyboard.press('Enter');
  await shows(ann.getByRole('log'), 'not connected');
});

play('without a page of its own the server asks for the name of a room', async (stage) => {
  const server = await servesRoom(stage, 'cat');
  const ann = await stage.opens(server.at('/'));
  await shows(ann.getByRole('heading', { level: 1 }), 'This is a websocket server');
  await stage.accessible(ann);
  await ann.getByRole('textbox', { name: 'name of a room' }).focus();
  await ann.keyboard.press('Control+A');
  await ann.keyboard.type('tea & cake');
  await ann.keyboard.press('Enter');
  await shows(ann.getByRole('heading', { level: 1 }), 'tea & cake is a room');
  await shows(ann.getByRole('log'), 'connected');
});
