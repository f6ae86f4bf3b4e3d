
// All rooms: the server's figures, a page of the table, and how rooms ended.
const PAGE = 100;
const view = { sort: 'messages', order: 'desc', search: '', offset: 0, matching: 0 };
const COLUMNS = [
  ['name', 'Room', 'name'], ['state', 'State', 'rare'], ['clients', 'Clients', 'number'], ['messages', 'Messages/s', 'number'],
  ['bytes', 'Bytes/s', 'number rare'], ['lag', 'Lag', 'number'], ['cpu', 'CPU', 'number'], ['memory', 'Memory', 'number rare'],
  ['age', 'Age', 'number rare'], [null, 'PID', 'number rare'], [null, 'Stderr', 'long rare wide'],
];
const serverFigures = new Figures($('server'));
const serverRates = new Rates();
const rows = new Map();
// What rooms did, those too that a search leaves out for a while.
const pasts = new Map();
const PASTS = 1000;
function past(name) {
  let series = pasts.get(name);
  if (!series) {
    if (pasts.size >= PASTS) pasts.delete(pasts.keys().next().value);
    pasts.set(name, series = [[], [], [], []]);
  }
  return series;
}

function buildHead() {
  const line = el('tr');
  for (const [key, label, kind] of COLUMNS) {
    const head = el('th', { scope: 'col', class: kind });
    if (key) {
      const button = el('button', { type: 'button' }, label);
      button.onclick = () => {
        const first = ['name', 'state'].includes(key) ? 'asc' : 'desc';
        view.order = view.sort === key ? (view.order === 'asc' ? 'desc' : 'asc') : first;
        view.sort = key;
        view.offset = 0;
        markSort();
        refresh();
      };
      head.dataset.key = key;
      head.append(button);
    } else head.append(label);
    line.append(head);
  }
  $('rooms').tHead.append(line);
  markSort();
}
function markSort() {
  for (const head of $('rooms').tHead.rows[0].cells) {
    if (head.dataset.key === view.sort) head.setAttribute('aria-sort', view.order === 'asc' ? 'ascending' : 'descending');
    else head.removeAttribute('aria-sort');
  }
}

function roomRow(name) {
  const link = el('a', { href: `#/rooms/${encodeURIComponent(name)}` }, plain(name));
  const charts = [chart('spark', 2), chart('spark', 2)];
  const badge = el('span', { class: 'badge' });
  const cells = COLUMNS.map(([, , kind], i) => el('td', { class: kind }, ...(i === 0 ? [link, badge] : [])));
  const texts = [el('span'), el('span')];
  charts.forEach((picture, i) => cells[3 + i].append(picture, texts[i]));
  return { line: el('tr', null, ...cells), cells, badge, charts, texts, series: past(name) };
}

let sampled = null;
function showRooms(rooms, sample) {
  // The server looks once a second, however often it is asked.
  const fresh = sample !== sampled;
  sampled = sample;
  const names = new Set(rooms.map((room) => room.name));
  for (const [name, row] of rows) if (!names.has(name)) { row.line.remove(); rows.delete(name); }
  const body = $('rooms').tBodies[0];
  const focus = document.activeElement;
  let at = body.firstElementChild;
  for (const room of rooms) {
    let row = rows.get(room.name);
    if (!row) rows.set(room.name, row = roomRow(room.name));
    if (fresh || !row.drawn) {
      const now = [room.messages_in_per_second, room.messages_out_per_second, room.bytes_in_per_second, room.bytes_out_per_second];
      if (fresh) now.forEach((value, i) => push(row.series[i], value));
      draw(row.charts[0], row.series.slice(0, 2));
      draw(row.charts[1], row.series.slice(2));
      row.drawn = true;
    }
    // Known from the second look on.
    const cpu = room.cpu_seconds === null ? '–' : room.cpu_cores === null ? '…' : share(room.cpu_cores);
    const state = room.restarts ? `${room.state} (restarted ${room.restarts}×)` : room.state;
    put(row.cells[1], state);
    put(row.badge, state === 'running' ? '' : state);
    put(row.cells[2], count(room.connections));
    put(row.texts[0], rate(room.messages_in_per_second + room.messages_out_per_second));
    put(row.texts[1], bytes(room.bytes_in_per_second + room.bytes_out_per_second));
    put(row.cells[5], bytes(room.lag_bytes));
    put(row.cells[6], cpu);
    put(row.cells[7], bytes(room.memory_bytes));
    put(row.cells[8], span(room.age_seconds));
    put(row.cells[9], room.pid === null ? '–' : String(room.pid));
    put(row.cells[10], plain((room.last_stderr || '').slice(0, 120)));
    // A line that stands where it should is not moved: whoever reads or tabs there stays there.
    if (at === row.line) at = at.nextElementSibling;
    else body.insertBefore(row.line, at);
  }
  // Whoever was on a line that moved goes with it.
  if (focus !== document.activeElement && body.contains(focus)) focus.focus({ preventScroll: true });
}

function showEnds(ends) {
  const key = JSON.stringify(ends.map((end) => [end.room, end.age_seconds]));
  const body = $('ends').tBodies[0];
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  body.replaceChildren(...ends.map((end) => el('tr', null,
    el('td', { class: 'name' }, plain(end.room)), el('td', { class: end.code === 1011 ? 'bad' : '' }, plain(end.reason)), el('td', { class: 'rare' }, String(end.code)),
    el('td', { class: 'rare' }, end.exit || '–'), el('td', { class: 'rare' }, span(end.age_seconds)), el('td', { class: 'long' }, plain(end.stderr || '')))));
  $('no-ends').hidden = ends.length > 0;
  $('ends-table').hidden = ends.length === 0;
}

async function refreshOverview(signal) {
  const query = new URLSearchParams({ sort: view.sort, order: view.order, search: view.search, offset: view.offset, limit: PAGE });
  const all = await get(`/overview?${query}`, signal);
  const server = all.server;
  Object.assign(info, { write: all.write, join: all.join });
  $('to-fleet').hidden = !all.fleet;
  put($('version'), server.version);
  const now = serverRates.note({ in: server.messages_in, out: server.messages_out, bin: server.bytes_in, bout: server.bytes_out, cpu: server.cpu_seconds || 0 });
  const series = serverRates.series;
  serverFigures.set('Rooms', `${count(server.rooms_live)} of ${count(server.rooms_limit)}`);
  serverFigures.set('Clients', count(server.connections));
  serverFigures.set('Messages/s in', rate(now.in), [series.in]);
  serverFigures.set('Messages/s out', rate(now.out), [series.out]);
  serverFigures.set('Bytes/s in', bytes(now.bin), [series.bin]);
  serverFigures.set('Bytes/s out', bytes(now.bout), [series.bout]);
  serverFigures.set('Server CPU', share(now.cpu), [series.cpu]);
  serverFigures.set('Server memory', bytes(server.memory_bytes));
  serverFigures.set('Dropped', count(server.messages_dropped));
  serverFigures.set('Refused', count(server.connections_refused));
  serverFigures.set('Rooms ended', `${count(server.rooms_ended)} of ${count(server.rooms_started)}`);
  serverFigures.set('Up', span(server.uptime_seconds) + (server.draining ? ', draining' : ''));
  view.matching = all.rooms_matching;
  if (view.offset >= view.matching) view.offset = Math.max(0, Math.floor((view.matching - 1) / PAGE) * PAGE);
  const last = Math.min(view.offset + all.rooms.length, view.matching);
  put($('count'), view.matching ? `showing ${whole.format(Math.min(view.offset + 1, last))}–${whole.format(last)} of ${whole.format(view.matching)}` : 'none');
  $('pager').hidden = view.matching <= PAGE;
  $('previous').disabled = view.offset === 0;
  $('next').disabled = last >= view.matching;
  $('no-rooms').hidden = all.rooms.length > 0 || view.search !== '';
  showRooms(all.rooms, all.sample);
  showEnds(all.last_ends);
}

let fleetSearch = '';
// Which rooms it has: those that are searched by its name.
function podButton(name) {
  const button = el('button', { type: 'button', class: 'link', 'aria-label': `Rooms of ${name}` }, name);
  button.onclick = () => { $('claim-search').value = fleetSearch = name; refresh(); };
  return button;
}
async function refreshFleet(signal) {
  const fleet = await get(`/fleet?${new URLSearchParams({ search: fleetSearch })}`, signal);
  const state = (pod) => (pod.leaving ? 'leaving' : pod.ready ? 'ready' : 'takes no rooms');
  const at = document.activeElement && document.activeElement.ariaLabel;
  $('pods').tBodies[0].replaceChildren(...fleet.pods.map((pod) => el('tr', null,
    el('td', null, podButton(pod.pod)), el('td', { class: pod.leaving || !pod.ready ? 'bad' : '' }, state(pod)), el('td', null, pod.limit ? `${count(pod.rooms)} of ${count(pod.limit)}` : 'gateway'),
    el('td', null, count(pod.clients)), el('td', null, pod.public || '–'))));
  $('claims').tBodies[0].replaceChildren(...fleet.rooms.map((held) => el('tr', null,
    el('td', null, plain(held.room)), el('td', null, held.pod || 'not known'))));
  // Whoever was at one of them still is.
  if (at && at.startsWith('Rooms of ') && document.activeElement === document.body) [...$('pods').querySelectorAll('button')].find((one) => one.ariaLabel === at)?.focus();
  put($('claim-count'), `showing ${whole.format(fleet.rooms.length)} of ${whole.format(fleet.rooms_matching)}`);
}

