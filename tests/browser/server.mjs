// A real server with a command line, for as long as a test wants it. It listens where the system
// lets it, says so in its log, must end with exit status 0, and may leave no process behind.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

/** Long enough for anything on a busy machine; nothing waits for it to pass. */
export const PATIENCE = 60_000;
export const ROOT = new URL('../..', import.meta.url).pathname;

// A network of its own for each test file. Connections start from 127.0.0.1, so none of them can
// sit on a port of ours while a server that used it is away.
const HOST = `127.${1 + (process.pid >> 14) % 254}.${(process.pid >> 7) % 128}.${1 + process.pid % 128}`;

// Ports of its own for programs that listen: two servers at once would try the same ones first.
const PORTS = 10_000 + process.pid % 500 * 40;

/**
 * A wire between pages and a server, which can be cut: the server is not told, and believes its
 * clients to be there until it asks them.
 */
export class Wire {
  #listener;
  #ends = new Set();
  #cut = false;

  static async to(server) {
    const wire = new Wire();
    const [host, port] = server.addr.split(':');
    wire.#listener = createServer((near) => {
      const far = connect(Number(port), host);
      for (const [end, other] of [[near, far], [far, near]]) {
        wire.#ends.add(end);
        end.on('error', () => {}).on('close', () => { wire.#ends.delete(end); if (!wire.#cut) other.destroy(); });
      }
      if (wire.#cut) return void near.destroy();
      near.page = true; // the end that is told of a cut
      near.pipe(far);
      far.pipe(near);
    });
    await new Promise((done) => wire.#listener.listen(0, HOST, done));
    wire.addr = `${HOST}:${wire.#listener.address().port}`;
    return wire;
  }

  /** The URL of a page, through the wire. */
  at(path) {
    return `http://${this.addr}${path}`;
  }

  /** Pages are told, and find nobody until it is mended. */
  cut() {
    this.#cut = true;
    for (const end of this.#ends) if (end.page) end.resetAndDestroy();
  }

  mends() {
    this.#cut = false;
  }

  end() {
    for (const end of this.#ends) end.destroy();
    this.#listener.close();
  }
}

/** What the row of an example in examples/README.md says to run, without program and address. */
export function commandOf(example) {
  const readme = readFileSync(`${ROOT}examples/README.md`, 'utf8');
  const row = readme.split('\n').find((line) => line.startsWith(`| \`${example}\` |`));
  const command = row?.match(/\| `scalesocket --addr 127\.0\.0\.1:9000 (.*)` \|$/)?.[1];
  if (!command) throw new Error(`examples/README.md has no command for ${example}`);
  return command;
}

export class Server {
  #mark = `/nowhere/${randomUUID()}`;
  #changed = () => {};
  #process;
  #ended;
  /** What the log says, one object for each line. */
  log = [];

  /** Starts the server: `words` is what a shell would read after `scalesocket --addr …`. */
  static async start(words, environment = {}) {
    const server = new Server();
    server.words = words;
    server.environment = environment;
    await server.#run(0);
    return server;
  }

  async #run(port) {
    const ports = this.words.includes('--tcp ') ? `--tcpports ${PORTS}:${PORTS + 39}` : '';
    // A shell, because the line is quoted for one; exec, so that the process is the server.
    this.#process = spawn('sh', ['-c', `exec "$0" --addr ${HOST}:${port} --log json ${ports} ${this.words}`, process.env.SCALESOCKET_BIN], {
      cwd: ROOT,
      // Children are handed PATH: whoever has the mark in it is one.
      env: { ...process.env, ...this.environment, PATH: `${process.env.PATH}:${this.#mark}` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const lines = createInterface({ input: this.#process.stderr });
    lines.on('line', (line) => {
      let entry = { message: line };
      try { entry = JSON.parse(line); } catch { /* not from the server itself */ }
      this.log.push(entry);
      this.#changed();
    });
    const ended = new Promise((done) => this.#process.on('close', (code, signal) => done(signal ?? code)));
    this.#ended = ended.finally(() => this.#changed());
    const from = this.log.length;
    const isNew = (entry) => this.log.indexOf(entry) >= from;
    this.ready = await this.logged((entry) => entry.message === 'ready' && isNew(entry));
    const public_ = this.log.find((entry) => entry.message === 'listening' && entry.listener === 'public' && isNew(entry));
    /** `HOST:PORT`, whoever asks for whom. */
    this.addr = public_.addr;
    this.origin = `${public_.scheme}://${public_.addr}`;
  }

  /** The URL of a page or a room, as `/`, `/#name`, `/name`. */
  at(path) {
    return this.origin + path;
  }

  get pid() {
    return this.#process.pid;
  }

  get isUp() {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Waits for an entry of the log for which this holds. */
  async logged(holds) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const found = this.log.find(holds);
      if (found) return found;
      if (!this.isUp) await this.#ended;
      const left = deadline - Date.now();
      if (!this.isUp || left <= 0) {
        if (this.log.some(holds)) continue;
        throw new Error(`the log does not say it (${holds}):\n${this.tail()}`);
      }
      const waiting = new AbortController();
      await Promise.race([
        new Promise((done) => { this.#changed = done; }),
        pause(left, null, { signal: waiting.signal }).catch(() => {}),
      ]);
      waiting.abort();
    }
  }

  tail() {
    return this.log.slice(-30).map((entry) => JSON.stringify(entry)).join('\n');
  }

  /** Interrupts the server; it must end well, with everything it started. */
  async end(signal = 'SIGINT') {
    this.#process.kill(signal);
    const waiting = new AbortController();
    const late = pause(PATIENCE, 'not in time', { signal: waiting.signal }).catch(() => {});
    const status = await Promise.race([this.#ended.then(() => this.#process.signalCode ?? this.#process.exitCode), late]);
    waiting.abort();
    if (status === 'not in time') this.#process.kill('SIGKILL');
    const left = await this.#leftovers();
    if (status !== 0) throw new Error(`the server ended with ${status}:\n${this.tail()}`);
    if (left.length) throw new Error(`the server left processes behind: ${left.join(', ')}`);
  }

  /** Starts the server again, where it was. */
  async starts() {
    await this.#run(Number(this.addr.split(':').pop()));
  }

  /** Whoever still has the mark once a moment has passed for the dying to die. */
  async #leftovers() {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const left = readdirSync('/proc').filter((pid) => {
        try { return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(this.#mark); } catch { return false; }
      });
      if (!left.length || Date.now() > deadline) return left;
      await pause(20);
    }
  }
}
