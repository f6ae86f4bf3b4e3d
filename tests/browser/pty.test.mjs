// Programs for terminals, used by several browsers at once through examples/terminal: vim, htop, a
// Python prompt and a shell. What counts is what xterm has on its screen, and what the program saved.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { holds, pictures, play } from './stage.mjs';

const PAGE = '--same-origin --staticdir examples/terminal';
const SMALL = { viewport: { width: 620, height: 420 } };

/** A play with a directory of its own, for which these programs are needed. */
function plays(name, programs, script) {
  const missing = programs.filter((program) => {
    try { execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' }); } catch { return true; }
    return false;
  });
  // Where everything is to be tried, nothing is passed over.
  if (missing.length && !process.env.CI) {
    console.log(`# not played, because ${missing} is not installed: ${name}`);
    return;
  }
  play(name, async (stage) => {
    assert.deepEqual(missing, [], 'not installed');
    const dir = mkdtempSync(join(tmpdir(), 'scalesocket-pty-'));
    try { await script(stage, dir); } finally { rmSync(dir, { recursive: true, force: true }); }
  });
}

/** Opens the terminal of a room. */
async function sits(stage, server, options) {
  const page = await stage.opens(server.at('/#desk'), options);
  await page.locator('#state.open').waitFor();
  return page;
}

/** All of these pages have this on their screens. */
async function allShow(pages, text) {
  for (const page of pages) {
    await holds(page, `the screen shows ${text}`, (text) => {
      const { baseY } = terminal.buffer.active;
      const line = (row) => terminal.buffer.active.getLine(baseY + row)?.translateToString(true).trimEnd() ?? '';
      return Array.from({ length: terminal.rows }, (_, row) => line(row)).join('\n').includes(text);
    }, text);
  }
}

/** Strikes these keys, each without waiting for the one before. */
async function strikes(page, keys) {
  const session = await page.context().newCDPSession(page);
  await Promise.all([...keys].map((key) => {
    const stroke = key === '\n' ? { key: 'Enter', text: '\r', windowsVirtualKeyCode: 13 } : { key, text: key };
    return session.send('Input.dispatchKeyEvent', { type: 'keyDown', ...stroke });
  }));
  await session.detach();
}

const sizeOf = (page) => page.evaluate(() => [terminal.cols, terminal.rows]);

/** The terminal of all these pages has one size, which this one wants. */
async function allAreAsLarge(pages, as) {
  const fitting = await as.evaluate(() => {
    const screen = place.querySelector('.xterm-screen');
    return [
      Math.floor((place.clientWidth - 15) / (screen.clientWidth / terminal.cols)),
      Math.floor(place.clientHeight / (screen.clientHeight / terminal.rows)),
    ];
  });
  for (const page of pages) {
    await holds(page, `the size is ${fitting}`, ([cols, rows]) => terminal.cols === cols && terminal.rows === rows, fitting);
  }
  return fitting;
}

const ended = (server, reason) => server.logged((entry) => entry.message === 'room ended' && entry.reason === reason);

plays('two write in one vim, and a third finds the text', ['vim'], async (stage, dir) => {
  const file = join(dir, 'poem');
  const server = await stage.serves(`${PAGE} --pty vim -- -u NONE -N -c 'set number ruler showmode' ${file}`);
  const ann = await sits(stage, server);
  await allShow([ann], '~\n~\n');
  const bob = await sits(stage, server, SMALL);
  await allAreAsLarge([ann, bob], bob);
  await ann.keyboard.type('iRoses are red,');
  await allShow([ann, bob], 'Roses are red,');
  await allShow([ann, bob], '-- INSERT --');
  await bob.keyboard.press('Enter');
  await bob.keyboard.type('violets are blue; é ж 😀');
  await bob.keyboard.press('Escape');
  await allShow([ann, bob], 'violets are blue; é ж 😀');
  // Who comes late has the same screen, and keys that mean the same.
  const cy = await sits(stage, server);
  await allShow([cy], 'Roses are red,');
  await allShow([cy], 'violets are blue; é ж 😀');
  const modes = (page) => page.evaluate(() => [terminal.buffer.active.type, terminal.modes.applicationCursorKeysMode]);
  assert.deepEqual(await modes(cy), await modes(ann));
  assert.equal((await modes(ann))[0], 'alternate');
  await cy.keyboard.press('ArrowUp');
  await cy.keyboard.type('Athe');
  await cy.keyboard.press('Escape');
  await allShow([ann, bob, cy], 'Roses are red,the');
  await pictures([ann, bob], 'terminal-vim');
  await cy.keyboard.type(':wq');
  await cy.keyboard.press('Enter');
  await ended(server, 'exit 0');
  assert.equal(readFileSync(file, 'utf8'), 'Roses are red,the\nviolets are blue; é ж 😀\n');
});

plays('five thousand quick keystrokes in vim lose none', ['vim'], async (stage, dir) => {
  const file = join(dir, 'keys');
  const server = await stage.serves(`${PAGE} --pty vim -- -u NONE -N ${file}`);
  const ann = await sits(stage, server);
  const bob = await sits(stage, server);
  await allShow([ann, bob], '~\n~\n');
  const line = (number) => `${number} ${'abcdefghijklmnopqrstuvwxyz ,.-;!?'.repeat(2).slice(number % 30, number % 30 + 46 - String(number).length)}\n`;
  const typed = Array.from({ length: 107 }, (_, number) => line(number)).join('');
  assert.ok(typed.length > 5_000, `${typed.length}`);
  const begun = performance.now();
  await strikes(ann, `i${typed}the end`);
  stage.t.diagnostic(`${typed.length} keys in ${Math.round(performance.now() - begun)} ms`);
  await allShow([ann, bob], 'the end');
  await bob.keyboard.press('Escape');
  await bob.keyboard.type(':wq');
  await bob.keyboard.press('Enter');
  await ended(server, 'exit 0');
  assert.equal(readFileSync(file, 'utf8'), `${typed}the end\n`);
});

plays('htop draws for two, whatever their windows, and is left by a key', ['htop'], async (stage, dir) => {
  // Without a file of its user's, whoever that is.
  const server = await stage.serves(`${PAGE} --passenv=* --pty htop`, { HOME: dir });
  const ann = await sits(stage, server);
  await allShow([ann], 'Load average');
  const bob = await sits(stage, server, SMALL);
  await allAreAsLarge([ann, bob], bob);
  await allShow([ann, bob], 'Load average');
  await allShow([ann, bob], 'F1Help');
  await allShow([ann, bob], 'PID');
  await ann.keyboard.press('F1');
  await allShow([ann, bob], 'Hisham Muhammad');
  await bob.keyboard.press('Space');
  await allShow([ann, bob], 'Load average');
  await pictures([ann, bob], 'terminal-htop');
  await bob.keyboard.press('F10');
  await ended(server, 'exit 0');
  // Both come back by themselves, to a new one.
  await allShow([ann, bob], 'Load average');
});

plays('a Python prompt is one for two', ['python3'], async (stage) => {
  const server = await stage.serves(`${PAGE} --cache 100 --pty python3 -- -q`, { PYTHON_HISTORY: '/dev/null' });
  const ann = await sits(stage, server);
  const bob = await sits(stage, server);
  await allShow([ann, bob], '>>>');
  await ann.keyboard.type('1+1');
  await ann.keyboard.press('Enter');
  await allShow([ann, bob], '1+1\n2\n>>>');
  await bob.keyboard.type('print("it is", 6 * 7)');
  await bob.keyboard.press('Enter');
  await allShow([ann, bob], 'it is 42\n>>>');
  const cy = await sits(stage, server);
  await allShow([cy], 'it is 42');
  await cy.keyboard.press('Control+d');
  await ended(server, 'exit 0');
});

plays('a shell is interrupted, stopped and left by keys, and knows how large the smallest window is', ['bash'], async (stage) => {
  const server = await stage.serves(`${PAGE} --cache 200 --pty bash -- --norc --noprofile`);
  const ann = await sits(stage, server);
  await allShow([ann], 'bash-');
  const says = async (page, line) => {
    await page.keyboard.type(line);
    await page.keyboard.press('Enter');
  };
  const wide = await allAreAsLarge([ann], ann);
  await says(ann, 'stty size');
  await allShow([ann], `\n${wide[1]} ${wide[0]}\n`);
  const bob = await sits(stage, server, SMALL);
  const narrow = await allAreAsLarge([ann, bob], bob);
  assert.ok(narrow[0] < wide[0] && narrow[1] < wide[1], `${narrow} in ${wide}`);
  await says(bob, 'clear; stty size');
  await allShow([ann, bob], `${narrow[1]} ${narrow[0]}\n`);
  await says(ann, 'echo ru\'\'ns; sleep 1000');
  await allShow([ann, bob], '\nruns\n');
  await bob.keyboard.press('Control+c');
  await says(ann, 'echo interr\'\'upted');
  await allShow([ann, bob], '\ninterrupted\n');
  await says(ann, 'clear; echo cl\'\'eared; cat'); // what is typed before would be cleared away, too
  await allShow([ann, bob], 'cleared\n');
  await says(ann, 'cat is there');
  await allShow([ann, bob], 'cat is there\ncat is there\n');
  await bob.keyboard.press('Control+z');
  await allShow([ann, bob], 'Stopped');
  await says(bob, 'clear; fg');
  await allShow([ann, bob], 'cat\n');
  await says(bob, 'it is back');
  await allShow([ann, bob], '\nit is back\n');
  await ann.keyboard.press('Control+d');
  await says(ann, 'echo le\'\'ft');
  await allShow([ann, bob], '\nleft\n');
  // When the small window is gone the large one counts again.
  await bob.context().close();
  assert.deepEqual(await allAreAsLarge([ann], ann), wide);
  await says(ann, 'clear; stty size');
  await allShow([ann], `${wide[1]} ${wide[0]}\n`);
  // A shell is not asked to draw anew: who comes late has what is kept.
  const cy = await sits(stage, server);
  await allShow([cy], `${wide[1]} ${wide[0]}\n`);
  await cy.keyboard.press('Control+d');
  await ended(server, 'exit 0');
  assert.deepEqual(await sizeOf(ann), wide);
});
