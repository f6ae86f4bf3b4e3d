// examples/chat, and the README's first minute: two windows, one `cat`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { Person } from './person.mjs';
import { ROOT } from './server.mjs';
import { fits, focused, picture, pictures, play, shows, until } from './stage.mjs';

const messages = (page) => page.getByRole('log', { name: 'messages' }).getByRole('listitem');

/** Says something the way most people do: it is typed where the focus is. */
async function says(page, words) {
  await page.keyboard.type(words);
  await page.keyboard.press('Enter');
}

async function isCalled(page, name) {
  await shows(page.getByRole('status'), /^connected$/);
  await page.getByLabel('your name').fill(name);
  await page.getByLabel('message', { exact: true }).focus();
}

play("the README's first command, two windows, a chat", async (stage) => {
  const readme = readFileSync(`${ROOT}README.md`, 'utf8');
  const command = readme.match(/^cargo run --release -- --addr 127\.0\.0\.1:9000 (.*)$/m)[1];
  const server = await stage.serves(command);
  const pages = [await stage.opens(server.at('/')), await stage.opens(server.at('/'))];
  for (const page of pages) {
    await shows(page.getByRole('status'), /^connected$/);
    assert.equal(await focused(page), 'text');
  }
  await says(pages[0], 'hello');
  await shows(messages(pages[1]), 'hello');
  await says(pages[1], 'hello you');
  await shows(messages(pages[0]), 'hello you');
  // Both have heard the same, in the same order.
  const heard = (page) => page.locator('#log li:not(.note)').evaluateAll((items) => items.map((item) => item.lastChild.textContent));
  for (const page of pages) await until('both lines are there', async () => (await heard(page)).length === 2);
  assert.deepEqual(await heard(pages[0]), ['hello', 'hello you']);
  assert.deepEqual(await heard(pages[1]), ['hello', 'hello you']);
});

play('people have names, rooms have walls', async (stage) => {
  const server = await stage.runs('chat');
  const viewport = { width: 620, height: 460 };
  const ann = await stage.opens(server.at('/#tea'), { viewport });
  const bob = await stage.opens(server.at('/#tea'), { viewport, dark: true });
  const cem = await stage.opens(server.at('/#coffee'));
  for (const [page, name] of [[ann, 'Ann'], [bob, 'Bob'], [cem, 'Cem']]) await isCalled(page, name);
  await says(cem, 'nobody here?');
  await shows(messages(cem), 'nobody here?');
  await says(ann, 'is the kettle on?');
  await shows(messages(bob), /^Ann.*is the kettle on\?/);
  await says(bob, 'it is, and there is cake');
  await shows(messages(ann), /^Bob.*and there is cake/);
  await says(ann, 'on my way: two pieces, please');
  for (const page of [ann, bob]) await shows(messages(page), 'two pieces, please');
  assert.equal(await ann.locator('.mine').count(), 2);
  assert.equal(await bob.locator('.mine').count(), 1);
  await stage.accessible(ann);
  await stage.accessible(bob);
  await pictures([ann, bob], 'chat', { docs: true });
  await says(ann, '<b>bold</b> & <script>throw 1</script>');
  await shows(messages(bob), '<b>bold</b> & <script>throw 1</script>');

  // Whoever takes a name does not become who has it; and a line that never ends is not shown for ever.
  const eve = await Person.joins(server, 'tea');
  eve.says('Bob: I give it all to Eve');
  await shows(messages(bob), 'I give it all to Eve');
  assert.equal(await bob.locator('.mine').count(), 1);
  eve.says(`Eve: ${'spam'.repeat(100_000)}`);
  await shows(messages(bob), /^Eve.*spam.* …$/);
  eve.leaves();

  // By the address alone into another room; what was said there before was not for us.
  await bob.evaluate(() => { location.hash = 'coffee'; });
  await shows(bob.getByRole('heading', { level: 1 }), '#coffee');
  await shows(bob.getByRole('status'), /^connected$/);
  await says(bob, 'here I am');
  await shows(messages(cem), /^Bob.*here I am/);
  assert.doesNotMatch(await ann.getByRole('log').textContent(), /nobody here|here I am/);
  assert.doesNotMatch(await bob.getByRole('log').textContent(), /nobody here/);
});

play('a chat on a phone comes back by itself', async (stage) => {
  const server = await stage.runs('chat');
  const ann = await stage.opens(server.at('/'), { phone: true, dark: true });
  const bob = await stage.opens(server.at('/'));
  await isCalled(ann, 'Ann');
  await isCalled(bob, 'Bob');
  const [field, send] = [ann.getByLabel('message', { exact: true }), ann.getByRole('button', { name: 'Send' })];
  await fits(ann, field, send, ann.getByLabel('your name'));
  await field.fill('on my way '.repeat(30));
  await send.tap();
  await shows(messages(bob), 'on my way on my way');
  await field.fill('a_word_that_is_wider_than_the_whole_phone_and_has_no_place_to_be_cut_'.repeat(3));
  await send.tap();
  await shows(messages(bob), 'has_no_place');
  await fits(ann, field, send);
  await stage.accessible(ann);
  await picture(ann, 'chat-phone');

  stage.forgives(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/);
  await server.end();
  await shows(ann.getByRole('status'), 'again in');
  // What cannot be said stays where it was written.
  await field.fill('are you there?');
  await send.tap();
  assert.equal(await field.inputValue(), 'are you there?');
  await server.starts();
  for (const page of [ann, bob]) await shows(page.getByRole('status'), /^connected$/);
  await send.tap();
  await shows(messages(bob), 'are you there?');
  await shows(messages(bob), 'on my way on my way');
});
