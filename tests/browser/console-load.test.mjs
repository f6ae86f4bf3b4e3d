// The console beside a flood: 1,000 rooms in which nothing passes, one with 10,000 messages a second
// through `cat`, and the page open on all of them and then on that one. What is counted is told, with
// the longest tasks of the page after it has loaded; only what must hold at any speed decides.
//
// `just console-load` is the whole of it; in the suite it is a short form.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { TOKEN, serves } from './console.mjs';
import { Person } from './person.mjs';
import { holds, picture, play, shows } from './stage.mjs';

const FULL = process.env.CONSOLE_LOAD === 'full';
const [ROOMS, SECONDS] = FULL ? [1000, 12] : [60, 1];
const RATE = 10_000;
const SIZE = 64;

/** Processor seconds of the server so far: proc(5), in ticks of a hundredth. */
function cpu(server) {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'latin1').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Says so many messages a second until it is told to stop; what it said is its length. */
async function floods(person, stop) {
  const started = performance.now();
  let said = 0;
  while (!stop.aborted) {
    const due = Math.floor(((performance.now() - started) * RATE) / 1000);
    const texts = [];
    for (; said < due; said += 1) texts.push(String(said).padStart(12, '0').padEnd(SIZE, '.'));
    person.saysAll(texts);
    await pause(2);
  }
  return { said, seconds: (performance.now() - started) / 1000 };
}

play('a flood in one room, and a thousand that are silent', async (stage) => {
  const server = await serves(stage, '--console --maxrooms 1024 cat');
  const silent = [];
  for (let n = 0; n < ROOMS; n += 1) silent.push(await Person.joins(server, `silent-${n}`));
  const ann = await Person.joins(server, 'flooded', { counts: true });
  const page = await stage.opens(server.at('/console'), { viewport: { width: 1180, height: 760 } });
  await page.addInitScript(() => {
    window.tasks = [];
    new PerformanceObserver((list) => list.getEntries().forEach(({ startTime, duration }) => window.tasks.push({ startTime, duration })))
      .observe({ type: 'longtask', buffered: true });
  });
  const told = (what, { said, seconds }, spent, tasks) => {
    const longest = Math.max(0, ...tasks.map(({ duration }) => duration));
    stage.t.diagnostic(`${what}: ${Math.round(said / seconds)} messages a second, server ${(spent / seconds).toFixed(2)} processors, `
      + `${tasks.length} tasks over 50 ms, the longest ${Math.round(longest)} ms`);
  };
  /** The flood for a while, with the page as it is. */
  const flood = async (what) => {
    const [before, from] = [cpu(server), await page.evaluate(() => performance.now())];
    const stop = AbortSignal.timeout(SECONDS * 1000);
    const said = await floods(ann, stop);
    await ann.until('all it said', () => ann.count >= said.said + (flood.said ?? 0));
    flood.said = (flood.said ?? 0) + said.said;
    told(what, said, cpu(server) - before, await page.evaluate((since) => (window.tasks ?? []).filter(({ startTime }) => startTime > since), from));
    return said;
  };

  await flood('no page');
  await page.goto('about:blank');
  await page.goto(server.at(`/console#token=${TOKEN}`));
  await shows(page.locator('#count'), `of ${(ROOMS + 1).toLocaleString('en')}`);
  await holds(page, 'rates', () => document.querySelector('#server dd:nth-of-type(1)'));
  await flood('overview');
  // First by what passes: the one that is flooded.
  await holds(page, 'the flooded room first', () => document.querySelector('#rooms tbody td a').textContent === 'flooded');
  await picture(page, 'console-load-overview');
  await page.getByRole('link', { name: 'flooded' }).click();
  await shows(page.locator('#sampling'), 'so far');
  const { said } = await flood('the flooded room');
  // Each message goes in and comes out.
  await shows(page.locator('#sampling'), `of ${(2 * said).toLocaleString('en')}: a sample`);
  assert.ok(await page.locator('#traffic .line').count() <= 300);
  await picture(page, 'console-load-room');
  for (const person of [...silent, ann]) person.leaves();
});
