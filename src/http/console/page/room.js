
// One room: what passes, who is there, and what may be done with it.
const LINES = 300;
// Drawn at once: what is more comes with the next frames, so that none of them takes long.
const AT_ONCE = 40;
const HELD = 2000;
// The server shows every 15 seconds that it lives.
const SILENCE = 40000;
let current = null;

const clock = (at) => new Date(at).toISOString().slice(11, 23);
function who(one) {
  const whom = one.whom;
  if (one.way === 'stderr') return 'stderr';
  if (one.way === 'in') return whom.from !== undefined ? `↑ ${whom.from}` : '↑ operator';
  if (whom === 'everyone') return '↓ all';
  if (whom === 'nobody') return '↓ metadata';
  if (whom.only) return `↓ ${whom.only.join(',')}`;
  return `↓ not ${whom.except.join(',')}`;
}
const spoken = (one) => ({ in: 'to the program', out: 'from the program', stderr: 'stderr' })[one.way];
// Bytes of a terminal, or keys; a character that was cut is a mark.
const typed = (hex) => new TextDecoder().decode(Uint8Array.from(hex.match(/../g) || [], (byte) => parseInt(byte, 16)));
const hexed = (hex) => hex.replace(/(..)(?=.)/g, '$1 ');

// A message: JSON folded to a line, bytes as digits, long text folded.
function body(one) {
  const cut = one.cut ? ` … ${whole.format(one.bytes)} bytes in all` : '';
  if (one.hex !== undefined) {
    const digits = hexed(one.hex);
    // What a terminal shows is text but for its commands; opened, it is bytes.
    if (current.terminal) return folded(plain(typed(one.hex)).slice(0, 300), () => digits + cut, '');
    if (one.bytes <= 24) return el('div', { class: 'body' }, digits || '(empty)');
    return folded(`${digits.slice(0, 72)}…`, () => digits + cut, `${whole.format(one.bytes)} bytes `);
  }
  const text = plain(one.text);
  const first = text.trimStart()[0];
  if ((first === '{' || first === '[') && text.length > 40 && !one.cut) {
    return folded(text.slice(0, 300), () => { try { JSON.parse(one.text); return plain(indented(one.text)); } catch { return text; } }, '');
  }
  if (text.length > 300 || text.split('\n', 6).length > 5) return folded(text.slice(0, 300), () => text + cut, '');
  return el('div', { class: 'body' }, text + cut || '(empty)');
}
// What is inside is made when somebody opens it.
function folded(summary, whole, before) {
  // Not <details>: several times as dear, and there are hundreds.
  const button = el('button', { type: 'button', class: 'fold', 'aria-expanded': 'false' }, before + summary);
  const box = el('div', { class: 'body' }, button);
  button.onclick = () => {
    const open = box.childElementCount === 1;
    if (open) box.append(el('pre', { tabIndex: 0 }, whole())); else box.lastElementChild.remove();
    button.setAttribute('aria-expanded', String(open));
  };
  return box;
}
function line(one) {
  return el('div', { class: `line ${one.way}` }, el('time', null, clock(one.at)),
    el('span', { class: 'who', title: `${who(one)}, ${spoken(one)}` }, who(one)), body(one));
}
function wanted(one) {
  if (!$(`show-${one.way}`).checked) return false;
  const filter = $('filter').value.toLowerCase();
  if (!filter || who(one).includes(filter)) return true;
  // Digits as they are shown, or without the blanks.
  if (one.text !== undefined) return one.text.toLowerCase().includes(filter);
  return one.hex.includes(filter) || hexed(one.hex).includes(filter) || (current.terminal && typed(one.hex).toLowerCase().includes(filter));
}

class RoomView {
  constructor(name) {
    this.name = name;
    this.held = [];
    this.fresh = [];
    this.paused = false;
    this.counts = null;
    this.drawing = false;
    this.over = false;
    this.rates = new Rates();
    $('figures').replaceChildren();
    this.figures = new Figures($('figures'));
    this.stop = new AbortController();
    put($('room-name'), plain(name));
    document.title = `${plain(name)} – scalesocket console`;
    for (const id of ['traffic', 'heard', 'history']) $(id).replaceChildren();
    for (const id of ['sampling', 'done', 'metadata', 'last-stderr', 'clients-count', 'history-count']) put($(id), '');
    $('clients').tBodies[0].replaceChildren();
    $('ended').hidden = true;
    // What was written for another room is not sent to this one.
    $('say').reset();
    $('target').onchange();
    this.setPaused(false);
    this.fillAddress();
    this.follow();
  }

  close() { this.stop.abort(); this.leave(); }

  fillAddress() {
    const { port, tls, base_path: path } = info.join;
    const own = port === null;
    const scheme = (own ? location.protocol === 'https:' : tls) ? 'wss' : 'ws';
    const host = own ? location.host : `${location.hostname}:${port}`;
    const start = own ? base.replace(/\/console$/, '') : path;
    $('url').value = `${scheme}://${host}${start}/${encodeURIComponent(this.name)}`;
  }

  // Server-sent events by hand: an EventSource sends no header, and the token belongs in one.
  async follow() {
    // One at a time: a room that ends and opens again must not be followed twice.
    if (this.following) return;
    this.following = true;
    while (!this.stop.signal.aborted && !this.over) {
      const silent = new AbortController();
      let timer;
      const heard = () => { clearTimeout(timer); timer = setTimeout(() => silent.abort(), SILENCE); };
      heard();
      try {
        const answer = await ask(`${roomPath(this.name)}/watch`, { signal: AbortSignal.any([this.stop.signal, silent.signal]) });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = '';
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          heard();
          text += value;
          let end;
          while ((end = text.indexOf('\n\n')) >= 0) { this.event(text.slice(0, end)); text = text.slice(end + 2); }
        }
      } catch (error) {
        if (this.stop.signal.aborted) return;
        if (error.status === 404) { this.ended(); break; }
        if (error.status) put($('sampling'), error.message);
      } finally { clearTimeout(timer); }
      if (!this.over) await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    this.following = false;
  }
  event(text) {
    const fields = Object.fromEntries(text.split('\n').filter((row) => !row.startsWith(':')).map((row) => [row.slice(0, row.indexOf(':')), row.slice(row.indexOf(':') + 1).trimStart()]));
    if (fields.event === 'ended') { this.ended(); return; }
    if (fields.event !== 'traffic') return;
    const { seen, shown, passed } = JSON.parse(fields.data);
    this.counts = { shown: shown.in + shown.out + shown.stderr, passed: passed.in + passed.out + passed.stderr };
    this.held.push(...seen);
    if (this.held.length > HELD) this.held.splice(0, this.held.length - HELD);
    if (this.paused) { this.waiting += seen.length; this.tell(); return; }
    this.fresh.push(...seen);
    if (this.fresh.length > LINES) this.fresh.splice(0, this.fresh.length - LINES);
    this.drawSoon();
  }
  // Says why, and in a fleet where it is now, as far as the server remembers.
  async ended() {
    if (this.over) return;
    this.over = true;
    say('this room has ended', true);
    $('ended').hidden = false;
    put($('ended'), 'This room has ended.');
    try {
      const all = await get('/overview?limit=0', this.stop.signal);
      const end = all.last_ends.find((one) => one.room === this.name);
      const said = [end ? `This room has ended: ${end.reason} (${end.code})${end.exit ? `, ${end.exit}` : ''}.` : 'This room has ended.'];
      if (end && end.stderr) said.push(`Last line of stderr: ${end.stderr}`);
      if (all.fleet) {
        const { rooms } = await get(`/fleet?${new URLSearchParams({ search: this.name })}`, this.stop.signal);
        const held = rooms.find((one) => one.room === this.name);
        if (held && held.pod) said.push(`It is on the pod ${held.pod}.`);
      }
      if (this.over) put($('ended'), plain(said.join(' ')));
    } catch { /* the next look says that the server is gone */ }
  }

  tell() {
    if (!this.counts) return;
    const { shown, passed } = this.counts;
    const newest = this.waiting > HELD ? `the newest ${whole.format(HELD)} of ` : '';
    const rest = this.paused ? `; paused, ${newest}${whole.format(this.waiting)} newer are held` : '';
    put($('sampling'), shown < passed ? `showing ${whole.format(shown)} of ${whole.format(passed)}: a sample, for there are more than anybody reads${rest}` : `showing all of ${whole.format(passed)} so far${rest}`);
  }
  draw() {
    this.drawing = false;
    const log = $('traffic');
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(...this.fresh.splice(0, AT_ONCE).filter(wanted).map(line));
    while (log.childElementCount > LINES) log.firstElementChild.remove();
    if (below) log.scrollTop = log.scrollHeight;
    this.tell();
    if (this.fresh.length) this.drawSoon();
  }
  drawSoon() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { if (!this.stop.signal.aborted) this.draw(); });
  }
  redraw() {
    this.fresh = this.held.filter(wanted).slice(-LINES);
    $('traffic').replaceChildren();
    if (this.fresh.length) this.drawSoon();
    this.tell();
  }
  setPaused(paused) {
    this.paused = paused;
    this.waiting = 0;
    $('pause').setAttribute('aria-pressed', String(paused));
    if (!paused) this.redraw();
    this.tell();
  }

  async refresh(signal) {
    let room;
    try { room = await get(roomPath(this.name), signal); } catch (error) {
      if (error.status !== 404) throw error;
      this.ended();
      return;
    }
    if (signal.aborted) return;
    if (room.stats.state === 'ended') return;
    if (this.over) { this.over = false; this.counts = null; this.follow(); }
    $('ended').hidden = true;
    if (this.terminal !== room.terminal) { this.terminal = room.terminal; this.redraw(); }
    const stats = room.stats;
    const now = this.rates.note({ in: stats.messages_in, out: stats.messages_out, bin: stats.bytes_in, bout: stats.bytes_out, cpu: stats.cpu_seconds || 0 });
    const series = this.rates.series;
    const set = (...figure) => this.figures.set(...figure);
    set('State', stats.state + (stats.restarts ? `, restarted ${stats.restarts}×` : ''));
    set('Clients', count(stats.connections));
    set('Messages/s in', rate(now.in), [series.in]);
    set('Messages/s out', rate(now.out), [series.out]);
    set('Bytes/s in', bytes(now.bin), [series.bin]);
    set('Bytes/s out', bytes(now.bout), [series.bout]);
    set('Largest lag', bytes(stats.lag_bytes));
    set('Inbox', bytes(stats.inbox_bytes));
    set('Dropped', count(stats.messages_dropped));
    // The server looks every two seconds: of what it saw last, and before.
    set('CPU', stats.cpu_seconds === null ? '–' : share(this.cpu(stats.cpu_seconds)), [series.cpu]);
    set('Memory', bytes(stats.memory_bytes));
    set('Processes', stats.processes === null ? '–' : count(stats.processes));
    set('PID', stats.pid === null ? '–' : String(stats.pid));
    set('Addresses ever', count(stats.unique_connections));
    set('Age', span(stats.age_seconds));
    set('Silent for', span(stats.idle_seconds));
    put($('metadata'), stats.metadata === null ? 'none' : plain(JSON.stringify(stats.metadata, null, 2)));
    put($('last-stderr'), plain(room.last_stderr || 'none'));
    put($('clients-count'), room.clients.length < stats.connections ? `showing ${whole.format(room.clients.length)} of ${whole.format(stats.connections)}, those furthest behind` : '');
    this.clients(room.clients);
    const history = room.history.map((one) => one.text ?? hexed(one.hex)).join('\n');
    // Whoever reads it pauses: what is unfolded there stays so.
    if (this.history !== history && !this.paused) {
      this.history = history;
      put($('history-count'), room.history_kept ? `(showing ${room.history.length} of ${room.history_kept})` : '(none)');
      $('history').replaceChildren(...room.history.map((one) => body(one)));
    }
    $('say').hidden = !info.write;
    $('end').hidden = !info.write;
    if (!this.over) say('live');
  }
  cpu(seconds) {
    const now = performance.now();
    const { work } = this;
    if (!work || seconds < work.seconds) this.work = { at: now, seconds, cores: 0 };
    else if (now - work.at > 1900) this.work = { at: now, seconds, cores: ((seconds - work.seconds) * 1000) / (now - work.at) };
    return this.work.cores;
  }
  clients(clients) {
    const table = $('clients').tBodies[0];
    const lines = new Map([...table.rows].map((row) => [row.dataset.id, row]));
    clients.forEach((client) => {
      const id = String(client.id);
      let row = lines.get(id);
      lines.delete(id);
      if (!row) {
        row = el('tr', null, el('td', null, id), el('td', null, client.address || 'unix socket'), el('td', null, plain(client.user || '')), el('td'), el('td'), el('td'));
        row.dataset.id = id;
        if (info.write) {
          const kick = el('button', { type: 'button', 'aria-label': `Kick client ${id}` }, 'Kick');
          kick.onclick = () => act(`${roomPath(this.name)}/kick`, { client: client.id }, `client ${id} is told to go`);
          row.cells[5].append(kick);
        }
        table.append(row);
      }
      put(row.cells[3], client.leaving ? 'leaving' : bytes(client.lag_bytes) + (client.queued ? ` + ${client.queued}` : ''));
      put(row.cells[4], span(client.age_seconds));
    });
    lines.forEach((row) => row.remove());
  }

  join() {
    if (this.socket) { this.leave(); return; }
    const told = (text, kind) => {
      // Another room's by now.
      if (this.stop.signal.aborted) return;
      const log = $('heard');
      log.append(el('p', { class: kind || '' }, plain(text)));
      while (log.childElementCount > 200) log.firstElementChild.remove();
      log.scrollTop = log.scrollHeight;
    };
    let socket;
    try { socket = new WebSocket($('url').value); } catch (error) { told(error.message, 'bad'); return; }
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    put($('join'), 'Leave');
    socket.onopen = () => { told('joined', 'soft'); $('typed').disabled = false; $('typed').focus(); };
    // At most so many at a time: a flood must not stop the page, and Traffic shows it better.
    let pending = [], missed = 0;
    socket.onmessage = ({ data }) => {
      if (pending.length >= 50) { missed += 1; return; }
      if (pending.push(data) > 1) return;
      setTimeout(() => {
        for (const one of pending) {
          told(typeof one === 'string' ? one.slice(0, 4096) : this.terminal ? new TextDecoder().decode(one.slice(0, 4096)) : hexed([...new Uint8Array(one.slice(0, 512))].map((byte) => byte.toString(16).padStart(2, '0')).join('')));
        }
        if (missed) told(`${whole.format(missed)} more not shown`, 'soft');
        pending = [];
        missed = 0;
      }, 250);
    };
    socket.onclose = ({ code, reason }) => {
      told(code === 1006 ? 'closed: the server refused, or is gone; does --origin name this page?' : `closed: ${code} ${reason}`, 'soft');
      if (this.socket === socket) this.left();
    };
  }
  left() { this.socket = null; put($('join'), 'Join'); $('typed').disabled = true; }
  leave() { if (this.socket) { this.socket.close(); this.left(); } }
  type(text) { if (this.socket && this.socket.readyState === 1) this.socket.send(this.terminal ? `${text}\r` : text); }
}

async function act(path, body, done) {
  try { await post(path, body); put($('done'), done); return true; } catch (error) { put($('done'), error.message); return false; }
}

