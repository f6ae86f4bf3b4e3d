
'use strict';
// What all views share: asking the server, writing numbers, building elements. Text from clients and programs
// only ever becomes text: nothing here parses it as HTML.
const $ = (id) => document.getElementById(id);
const base = location.pathname.replace(/\/+$/, '');
let token = null;
try { token = sessionStorage.getItem('scalesocket-token'); } catch { /* a browser without storage asks again */ }

// What would command a terminal, turn a line around or not be seen is shown by its name; but for what chooses how
// the emoji before it looks.
const HIDDEN = /(?![\t\n\ufe0e\ufe0f])[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/gu;
const named = (c) => (c < ' ' ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : `\u27e8${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e9`);
const plain = (text) => text.replace(HIDDEN, named);

function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === 'class') element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
// Writes only what changed: a screen reader and the layout are left alone otherwise.
function put(element, text) { if (element.textContent !== text) element.textContent = text; }
function say(text, bad) { put($('state'), text); $('state').classList.toggle('bad', !!bad); }

function keepToken(value) {
  token = value;
  try { value ? sessionStorage.setItem('scalesocket-token', value) : sessionStorage.removeItem('scalesocket-token'); } catch { /* as above */ }
}

class Refused extends Error { constructor(status, message) { super(message); this.status = status; } }

async function ask(path, options) {
  const headers = { authorization: `Bearer ${token || ''}`, ...(options && options.headers) };
  const answer = await fetch(base + path, { cache: 'no-store', ...options, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body.message || `the server answers ${answer.status}`);
}
// A network that loses everything says nothing: what is not answered by now is not waited for.
const LATE = 10000;
async function answered(path, options) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error('the server does not answer')), LATE);
  const signals = [options.signal, late.signal].filter(Boolean);
  try { return await (await ask(path, { ...options, signal: AbortSignal.any(signals) })).json(); } finally { clearTimeout(timer); }
}
const get = (path, signal) => answered(path, { signal });
const post = (path, body) => answered(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
// Dots alone would be ways in a tree to whoever reads the path.
const roomPath = (name) => `/rooms/${/^\.\.?$/.test(name) ? '~' : ''}${encodeURIComponent(name)}`;

// JSON with a line for each member. What it says stays as it was written: a number read here and written again
// could be another one.
function indented(json) {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g);
  let [text, depth] = ['', 0];
  const row = () => `\n${'  '.repeat(depth)}`;
  tokens.forEach((token, i) => {
    const empty = '}]'.includes(tokens[i + 1]) && '{['.includes(token);
    if ('{['.includes(token)) { depth += 1; text += token + (empty ? '' : row()); } else if ('}]'.includes(token)) {
      depth -= 1;
      text += ('{['.includes(tokens[i - 1]) ? '' : row()) + token;
    } else if (token === ',') text += token + row(); else text += token === ':' ? ': ' : token;
  });
  return text;
}

const whole = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const count = (n) => (n < 10000 ? whole.format(n) : short.format(n));
const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(Math.round(n)));
function bytes(n) {
  if (n === null || n === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < 4) { n /= 1024; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
// Of one processor.
const share = (cores) => `${(cores * 100).toFixed(cores > 0 && cores < 0.1 ? 1 : 0)} %`;
function span(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// A chart of the last minute; the figure beside it says the same, so it is hidden from screen readers.
const POINTS = 60;
const svg = (tag) => document.createElementNS('http://www.w3.org/2000/svg', tag);
function chart(kind, lines) {
  const picture = svg('svg');
  picture.setAttribute('class', kind);
  picture.setAttribute('viewBox', '0 0 60 20');
  picture.setAttribute('preserveAspectRatio', 'none');
  picture.setAttribute('aria-hidden', 'true');
  for (let i = 0; i < lines; i += 1) picture.append(svg('polyline'));
  return picture;
}
function draw(picture, series) {
  const most = Math.max(1, ...series.flat());
  series.forEach((values, i) => {
    const from = POINTS - values.length;
    const points = values.map((value, x) => `${from + x},${(19 - (value / most) * 18).toFixed(1)}`);
    picture.children[i].setAttribute('points', points.join(' '));
  });
}
function push(values, value) { values.push(value); if (values.length > POINTS) values.shift(); }

// Figures in a list, each made once and written when it changes.
class Figures {
  constructor(list) { this.list = list; this.known = new Map(); }
  set(name, text, series) {
    let figure = this.known.get(name);
    if (!figure) {
      const picture = series ? chart('chart', series.length) : null;
      figure = { value: el('dd'), picture };
      const box = el('div', null, el('dt', null, name), figure.value);
      if (picture) figure.value.after(picture);
      this.list.append(box);
      this.known.set(name, figure);
    }
    put(figure.value, text);
    if (figure.picture) draw(figure.picture, series);
  }
}
// What a counter did between two looks.
class Rates {
  constructor() { this.last = null; this.series = {}; }
  note(counters) {
    const now = performance.now();
    const seconds = this.last ? (now - this.last.at) / 1000 : 0;
    // Somebody searches or sorts: too soon for a rate.
    if (this.last && seconds < 0.5) return this.out;
    const out = this.out = {};
    for (const [name, value] of Object.entries(counters)) {
      const series = this.series[name] || (this.series[name] = []);
      const before = this.last && this.last.counters[name];
      out[name] = seconds > 0 && typeof before === 'number' && value >= before ? (value - before) / seconds : 0;
      if (seconds > 0) push(series, out[name]);
    }
    this.last = { at: now, counters };
    return out;
  }
}
const info = { write: false, join: { port: null, tls: false, base_path: '' } };

