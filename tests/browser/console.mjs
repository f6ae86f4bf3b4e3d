// The console in browser tests: a server that has one, a page past its token, and what is asked of it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after } from 'node:test';

import { holds, shows } from './stage.mjs';

export const TOKEN = 'a-token-of-the-browser-tests';
const directory = mkdtempSync(`${tmpdir()}/console-`);
after(() => rmSync(directory, { recursive: true }));
writeFileSync(`${directory}/token`, TOKEN);

export const TALKER = 'python3 -- -u tests/browser/talker.py';

/** A server with a console that knows the token. */
export function serves(stage, words) {
  return stage.serves(`--admin-token-file ${directory}/token ${words}`);
}
/** The console in a browser, past its token; `path` is a view. */
export async function opens(stage, server, path = '/', options = {}) {
  const page = await stage.opens(server.at(`/console#token=${TOKEN}`), options);
  await shows(page.locator('#state'), 'live');
  if (path !== '/') {
    await page.evaluate((hash) => { location.hash = hash; }, path);
    await shows(page.locator('#state'), 'live');
    // The server knows of the watcher once it has told it something.
    if (path.startsWith('/rooms/')) await shows(page.locator('#sampling'), 'so far');
  }
  return page;
}

export const traffic = (page) => page.getByRole('log', { name: 'Traffic' });
export const line = (page, text, kind = '') => traffic(page).locator(`.line${kind}`).filter({ hasText: text });
/** Waits until the overview lists these rooms, in this order. */
export const lists = (page, ...names) => holds(page, `a list of ${names}`, (list) => (
  [...document.querySelectorAll('#rooms tbody tr td:first-child')].map((cell) => cell.textContent).join() === list), names.join());
export const figure = (page, name) => page.locator('.figures div').filter({ has: page.locator(`dt:text-is("${name}")`) }).locator('dd');
