// The stage itself: what a page does wrong is noticed, and so is a server that does not end well.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after } from 'node:test';

import { fits, play } from './stage.mjs';

const directory = mkdtempSync(`${tmpdir()}/stage-`);
after(() => rmSync(directory, { recursive: true }));

async function opensPage(stage, body) {
  writeFileSync(`${directory}/index.html`, `<!doctype html><html lang="en"><link rel="icon" href="data:,">${body}</html>`);
  const server = await stage.serves(`--staticdir ${directory} cat`);
  const page = await stage.opens(server.at('/'), { phone: true });
  return { page, server };
}

for (const [fault, body, told] of [
  ['throws', '<script>throw new Error("oh dear")</script>', /oh dear/],
  ['logs an error', '<script>console.error("oh dear")</script>', /oh dear/],
  ['asks for what is not there', '<img src="/none.png" alt="">', /Failed to load resource/],
  ['asks another host', '<img src="http://127.0.0.1:9/a.png" alt="">', /asks another host: http:\/\/127\.0\.0\.1:9\/a\.png/],
  ['connects to another host', '<script>new WebSocket("ws://127.0.0.1:9/a")</script>', /asks another host: ws:/],
]) {
  play(`a page that ${fault} fails its test`, async (stage) => {
    const { page } = await opensPage(stage, body);
    await page.waitForLoadState('networkidle');
    await assert.rejects(stage.clear(), told);
  });
}

play('what hurts people who cannot see it is found, and so is what does not fit', async (stage) => {
  const { page } = await opensPage(stage, '<title>a</title><main><input><div style="width:1000px">wide</div></main>');
  await assert.rejects(stage.accessible(page), /label/);
  await assert.rejects(fits(page), /the page is 10\d\d wide/);
});

play('a server that is killed has not ended well', async (stage) => {
  const { server } = await opensPage(stage, '<title>a</title>');
  await assert.rejects(server.end('SIGKILL'), /SIGKILL/);
});
