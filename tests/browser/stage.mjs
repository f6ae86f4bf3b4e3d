// What every browser test stands on: servers, pages that must stay faultless, and what can be asked
// of a page. A test is `play(name, async (stage) => …)`: whatever it opened is closed after it, and
// it fails when a page logged an error, threw one, failed to load something or asked another host.
//
// Nothing sleeps: tests wait for what they want to see, and the deadline is far away.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { setTimeout as glance } from 'node:timers/promises';

import { PATIENCE, ROOT, Server, Wire, commandOf } from './server.mjs';

const packages = createRequire(`${process.env.BROWSER_PACKAGES}/`);
const { chromium } = packages('playwright-core');
const AXE = readFileSync(packages.resolve('axe-core/axe.min.js'), 'utf8');

/** A phone that many have; `touch` because controls must answer to fingers. */
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const DESK = { viewport: { width: 900, height: 620 } };
/** A picture of a page that many people load. */
const PICTURE_BYTES = 120_000;

let browser;
after(() => browser?.close());

/** A test on a stage of its own. */
export function play(name, script) {
  test(name, { timeout: 3 * PATIENCE }, async (t) => {
    const stage = new Stage(t);
    let failure;
    try {
      await script(stage);
    } catch (error) {
      failure = error;
      await stage.witness(name);
    }
    await stage.clear().catch((error) => { failure ??= error; });
    if (failure) throw failure;
  });
}

class Stage {
  #servers = [];
  #wires = [];
  #contexts = [];
  #complaints = [];
  #forgiven = [];

  constructor(t) {
    this.t = t;
  }

  /** A server with this command line, quoted as for a shell. */
  async serves(words, environment) {
    const server = await Server.start(words, environment);
    this.#servers.push(server);
    return server;
  }

  /** A server that runs an example, by the very command of examples/README.md. */
  async runs(example, environment) {
    return this.serves(commandOf(example), environment);
  }

  /** A wire to a server, which can be cut. */
  async wires(server) {
    const wire = await Wire.to(server);
    this.#wires.push(wire);
    return wire;
  }

  /**
   * Opens a page in a browser profile of its own. `phone` and `dark` say what they say; `options`
   * are Playwright's, for contexts.
   */
  async opens(url, { phone = false, dark = false, ...options } = {}) {
    browser ??= await chromium.launch({
      executablePath: process.env.CHROMIUM,
      // The sandbox wants a user that is not root, shared memory more than containers have.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    });
    const context = await browser.newContext({
      ...(phone ? PHONE : DESK),
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
      ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    this.#contexts.push(context);
    this.#watch(context, new URL(url).host);
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  /** Faults that are part of the play, such as `/ERR_CONNECTION_REFUSED/` while a server is away. */
  forgives(pattern) {
    this.#forgiven.push(pattern);
  }

  #watch(context, host) {
    const complain = (page, what) => {
      this.#complaints.push(`${page?.url() ?? 'a page'}: ${what}`);
    };
    const stays = (page, url) => {
      const { protocol, host: asked } = new URL(url);
      if (/^(https?|wss?):$/.test(protocol) && asked !== host) complain(page, `asks another host: ${url}`);
    };
    context.on('console', (message) => {
      if (message.type() === 'error') complain(message.page(), message.text());
    });
    context.on('weberror', (error) => complain(error.page(), error.error().stack));
    context.on('request', (request) => stays(null, request.url()));
    context.on('requestfailed', (request) => {
      // Aborted by the page itself: left, or no longer wanted.
      const why = request.failure()?.errorText;
      if (why !== 'net::ERR_ABORTED') complain(null, `${request.url()} ${why}`);
    });
    context.on('page', (page) => page.on('websocket', (socket) => stays(page, socket.url())));
  }

  /** After a failure: what is on the pages, as pictures, and what the servers said. */
  async witness(name) {
    const file = name.replace(/\W+/g, '-').slice(0, 60);
    let number = 0;
    for (const page of this.#contexts.flatMap((context) => context.pages())) {
      const png = await page.screenshot({ timeout: 10_000 }).catch(() => null);
      if (png) store(process.env.PICTURES, `failed-${file}-${number += 1}`, png);
    }
    for (const server of this.#servers) this.t.diagnostic(`log of ${server.addr}:\n${server.tail()}`);
    this.t.diagnostic(`complaints so far: ${this.#complaints.join('\n')}`);
  }

  /** Closes the pages and ends the servers; fails for whatever went wrong meanwhile. */
  async clear() {
    const complaints = this.#complaints.filter((what) => !this.#forgiven.some((pattern) => pattern.test(what)));
    this.#complaints = [];
    const faults = [];
    const tries = async (act) => { try { await act(); } catch (error) { faults.push(error.message); } };
    for (const context of this.#contexts) await tries(() => context.close());
    for (const wire of this.#wires) wire.end();
    for (const server of this.#servers) await tries(() => server.isUp && server.end());
    assert.deepEqual(complaints, [], 'pages complained');
    assert.deepEqual(faults, [], 'it did not end well');
  }

  /** No finding of axe that is serious or critical; the lesser ones are told. */
  async accessible(page) {
    // Over the protocol of developers' tools, because a page's policy may forbid it to evaluate.
    const session = await page.context().newCDPSession(page);
    const evaluate = async (expression) => {
      const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    await evaluate(`${AXE};0`);
    const { violations, passes } = await evaluate('axe.run(document, { resultTypes: ["violations"] })');
    await session.detach();
    assert.ok(passes.length > 0, 'axe looked at something');
    const told = violations.map(({ impact, id, help, nodes }) => `${impact}: ${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`);
    for (const line of told) this.t.diagnostic(`axe, ${page.url()}: ${line}`);
    assert.deepEqual(told.filter((line) => /^(serious|critical)/.test(line)), []);
  }
}

/** Waits until an element shows this text (a string within it, or a pattern). */
export async function shows(locator, text) {
  await locator.filter({ hasText: text }).first().waitFor();
}

/** Waits until this holds on the page; `what` is told when it never does. */
export async function holds(page, what, condition, argument) {
  await page.waitForFunction(condition, argument).catch((error) => { throw new Error(`${what}: ${error.message}`); });
}

/** Waits until this holds, where no single page can tell. */
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  while (!await condition()) {
    assert.ok(Date.now() < deadline, `never: ${what}`);
    await glance(50);
  }
}

/** Nothing is wider than the window, and these controls can be reached in it without scrolling sideways. */
export async function fits(page, ...controls) {
  const { width, height } = page.viewportSize();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `the page is ${wide} wide, the window ${width}`);
  for (const control of controls) {
    const box = await control.boundingBox();
    assert.ok(box, `${control} is not shown`);
    const inside = box.x >= 0 && box.y >= 0 && box.x + box.width <= width + 0.5 && box.y + box.height <= height + 0.5;
    assert.ok(inside, `${control} is at ${JSON.stringify(box)} in a window of ${width} × ${height}`);
  }
}

/** What has the focus: its id, its name or its tag. */
export function focused(page) {
  return page.evaluate(() => document.activeElement?.id || document.activeElement?.name || document.activeElement?.tagName);
}

/** A picture for those who look; with `docs` it is one of the documentation's, too. */
export async function picture(page, name, { docs = false } = {}) {
  keep(name, await page.screenshot({ animations: 'disabled', caret: 'hide' }), docs);
}

/** Several windows beside each other, as one picture. */
export async function pictures(pages, name, { docs = false } = {}) {
  const shots = [];
  for (const page of pages) shots.push(await page.screenshot({ animations: 'disabled', caret: 'hide' }));
  const sizes = pages.map((page) => page.viewportSize());
  const gap = 14;
  const width = sizes.reduce((sum, size) => sum + size.width + gap, gap);
  const height = Math.max(...sizes.map((size) => size.height)) + 2 * gap;
  const context = await browser.newContext({ viewport: { width, height } });
  try {
    const desk = await context.newPage();
    const images = shots.map((png) => `<img src="data:image/png;base64,${png.toString('base64')}">`).join('');
    await desk.setContent(`<body style="margin:0;display:flex;align-items:start;gap:${gap}px;padding:${gap}px;background:#8b98a8">
      <style>img{display:block;border-radius:8px;box-shadow:0 2px 10px #0007}</style>${images}`);
    await desk.waitForFunction(() => [...document.images].every((image) => image.complete));
    keep(name, await desk.screenshot(), docs);
  } finally {
    await context.close();
  }
}

function keep(name, png, docs) {
  store(process.env.PICTURES, name, png);
  if (!docs) return;
  assert.ok(png.length <= PICTURE_BYTES, `${name}.png has ${png.length} bytes: make the window smaller`);
  if (process.env.UPDATE_PICTURES) store(`${ROOT}docs/pictures`, name, png);
  assert.ok(existsSync(`${ROOT}docs/pictures/${name}.png`), `docs/pictures/${name}.png is missing: UPDATE_PICTURES=1 makes it`);
}

function store(directory, name, png) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}/${name}.png`, png);
}
