// Somebody in a room without a browser: a websocket client as small as a test can do with, because
// Node.js 20 has none. It answers pings and a close, and nothing else.

import assert from 'node:assert/strict';
import { connect } from 'node:net';

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export class Person {
  /** What came: strings, and bytes as Uint8Array. */
  heard = [];
  /** How many that was. */
  count = 0;
  /** The code and the reason of the close; null while it is open. */
  closed = null;
  #socket;
  #read = Buffer.alloc(0);
  #news = () => {};
  #counts = false;

  /** In the room, of that name. With `deaf` it reads nothing once it is in; with `counts` it counts what it hears and forgets it. */
  static async joins(server, room, { deaf = false, counts = false } = {}) {
    const person = new Person();
    person.#counts = counts;
    const [host, port] = server.addr.split(':');
    const socket = connect(Number(port), host);
    person.#socket = socket;
    // Dots are escaped: alone they would be a way in a tree.
    const path = encodeURIComponent(room).replaceAll('.', '%2e');
    socket.write(`GET /${path} HTTP/1.1\r\nHost: ${server.addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
      + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n');
    await new Promise((done, failed) => {
      socket.once('error', failed);
      socket.on('data', function head(bytes) {
        person.#read = Buffer.concat([person.#read, bytes]);
        const end = person.#read.indexOf('\r\n\r\n');
        if (end < 0) return;
        socket.off('data', head);
        const status = person.#read.toString('latin1', 9, 12);
        person.#read = person.#read.subarray(end + 4);
        if (status === '101') done(); else failed(new Error(`${room}: ${status}`));
      });
    });
    socket.removeAllListeners('error').on('error', () => {});
    if (deaf) socket.pause(); else socket.on('data', (bytes) => person.#takes(bytes));
    socket.on('close', () => { person.closed ??= '1006 '; person.#news(); });
    person.#takes(Buffer.alloc(0));
    return person;
  }

  /** Whole frames of what was read. */
  #takes(bytes) {
    this.#read = this.#read.length ? Buffer.concat([this.#read, bytes]) : bytes;
    let at = 0;
    for (;;) {
      const rest = this.#read.subarray(at);
      if (rest.length < 2) break;
      let [length, from] = [rest[1], 2];
      if (length === 126 || length === 127) {
        from = length === 126 ? 4 : 10;
        if (rest.length < from) break;
        length = from === 4 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2));
      }
      if (rest.length < from + length) break;
      const payload = rest.subarray(from, from + length);
      at += from + length;
      const kind = rest[0] & 15;
      if (kind === TEXT || kind === BINARY) {
        this.count += 1;
        if (!this.#counts) this.heard.push(kind === TEXT ? payload.toString() : new Uint8Array(payload));
      } else if (kind === PING) {
        this.#send(PONG, payload);
      } else if (kind === CLOSE) {
        this.closed = length >= 2 ? `${payload.readUInt16BE(0)} ${payload.subarray(2)}` : '1005 ';
        this.#send(CLOSE, payload);
        this.#socket.end();
      }
    }
    this.#read = this.#read.subarray(at);
    this.#news();
  }

  #send(kind, payload) {
    this.#socket.write(this.#frame(kind, payload));
  }

  #frame(kind, payload) {
    const { length } = payload;
    const head = Buffer.alloc(length < 126 ? 6 : length < 65536 ? 8 : 14);
    head[0] = 128 | kind;
    // Masked with zeros, which leaves it as it is.
    head[1] = 128 | (length < 126 ? length : length < 65536 ? 126 : 127);
    if (head.length === 8) head.writeUInt16BE(length, 2);
    if (head.length === 14) head.writeBigUInt64BE(BigInt(length), 2);
    return Buffer.concat([head, payload]);
  }

  says(text) {
    this.#send(TEXT, Buffer.from(text));
  }

  /** All of these, at once. */
  saysAll(texts) {
    this.#socket.write(Buffer.concat(texts.map((text) => this.#frame(TEXT, Buffer.from(text)))));
  }

  saysBytes(bytes) {
    this.#send(BINARY, Buffer.from(bytes));
  }

  leaves() {
    this.#socket.destroy();
  }

  /** Waits until this holds; `what` is told when the connection ends before. */
  async until(what, holds) {
    while (!holds()) {
      assert.ok(this.closed === null, `closed with ${this.closed} before ${what}`);
      await new Promise((done) => { this.#news = done; });
    }
  }

  hears(text) {
    return this.until(text, () => this.heard.includes(text));
  }

  /** Waits for the end, which is this. */
  async isClosed(with_) {
    while (this.closed === null) await new Promise((done) => { this.#news = done; });
    assert.equal(this.closed, with_);
  }
}
