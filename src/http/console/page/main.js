
// Which view is shown, when it is asked anew, and keys.
let asking = null;
let timer = null;

function show(id) {
  for (const section of ['login', 'overview', 'fleet', 'room']) $(section).hidden = section !== id;
  for (const [link, section] of [['to-rooms', 'overview'], ['to-fleet', 'fleet']]) {
    if (section === id) $(link).setAttribute('aria-current', 'page'); else $(link).removeAttribute('aria-current');
  }
}
function leave() {
  if (current) current.close();
  current = null;
  // Asked of a room that nobody looks at any more.
  if ($('sure').open) $('sure').close('no');
}
function route() {
  const path = location.hash.slice(1);
  const given = /^token=(.*)$/.exec(path);
  if (given) {
    try { keepToken(decodeURIComponent(given[1])); } catch { keepToken(given[1]); }
    // Neither the bar nor the history keeps it.
    history.replaceState(null, '', `${location.pathname}#/`);
    route();
    return;
  }
  const room = /^\/rooms\/(.+)$/.exec(path);
  leave();
  if (!token) { show('login'); say('no token'); $('token').focus(); return; }
  if (room) {
    let name = room[1];
    try { name = decodeURIComponent(name); } catch { /* as it stands */ }
    current = new RoomView(name);
    show('room');
  } else if (path === '/fleet') show('fleet');
  else { document.title = 'scalesocket console'; show('overview'); }
  refresh();
}

// One question at a time; the next a second after the answer, and none while nobody looks.
async function refresh() {
  if (asking) asking.abort();
  clearTimeout(timer);
  if (!token || document.hidden) return;
  const stop = asking = new AbortController();
  let wait = 1000;
  try {
    if (current) {
      // What may be done here is said with the overview.
      if (!info.known) { await refreshOverview(stop.signal); info.known = true; current.fillAddress(); }
      await current.refresh(stop.signal);
    } else if (!$('fleet').hidden) { await refreshFleet(stop.signal); wait = 3000; say('live'); } else { await refreshOverview(stop.signal); info.known = true; say('live'); }
  } catch (error) {
    if (stop.signal.aborted) return;
    if (error.status === 401) {
      keepToken(null);
      leave();
      show('login');
      say('the token is not the server\'s', true);
      $('token').focus();
      return;
    }
    say(error.status ? error.message : 'the server does not answer; trying again', true);
    wait = 3000;
  }
  if (!stop.signal.aborted) timer = setTimeout(refresh, wait);
}

buildHead();
// The fragment is the view: the link must not become one.
$('skip').onclick = (event) => { event.preventDefault(); $('main').focus(); };
let typing = null;
const later = (run) => { clearTimeout(typing); typing = setTimeout(run, 150); };
$('login-form').onsubmit = (event) => { event.preventDefault(); keepToken($('token').value.trim()); $('token').value = ''; route(); };
$('search-form').onsubmit = (event) => event.preventDefault();
$('search').oninput = () => later(() => { view.search = $('search').value; view.offset = 0; refresh(); });
$('claim-search').oninput = () => later(() => { fleetSearch = $('claim-search').value; refresh(); });
$('previous').onclick = () => { view.offset = Math.max(0, view.offset - PAGE); refresh(); };
$('next').onclick = () => { view.offset += PAGE; refresh(); };
$('pause').onclick = () => current && current.setPaused(!current.paused);
$('clear').onclick = () => { if (current) { current.held = []; current.redraw(); } };
for (const id of ['show-in', 'show-out', 'show-stderr']) $(id).onchange = () => current && current.redraw();
$('filter').oninput = () => later(() => current && current.redraw());
$('target').onchange = () => { $('to-label').hidden = $('target').value !== 'one'; };
let sending = Promise.resolve(); // one message after the other, as they were typed
$('say').onsubmit = (event) => {
  event.preventDefault();
  if (!current) return;
  const target = $('target').value;
  const typed = $('message').value;
  const message = { [$('hex').checked ? 'hex' : 'text']: typed };
  // Who types into a terminal ends with Enter; keys without it are digits.
  if (target === 'input' && current.terminal && message.text !== undefined) message.text += '\r';
  if (target === 'one') message.to = [Number($('to').value)];
  const path = `${roomPath(current.name)}/${target === 'input' ? 'input' : 'say'}`;
  sending = sending.then(async () => {
    // What was typed meanwhile stays.
    if (await act(path, message, 'sent') && $('message').value === typed) $('message').value = '';
  });
};
$('end').onclick = () => {
  put($('sure-text'), `End the room ${plain(current.name)}? Its clients are closed and its program is stopped.`);
  $('sure').returnValue = 'no';
  $('sure').showModal();
};
$('sure').onclose = () => {
  if ($('sure').returnValue === 'yes' && current) act(`${roomPath(current.name)}/end`, {}, 'the room is ending');
};
$('join-form').onsubmit = (event) => { event.preventDefault(); if (current) current.join(); };
$('type-form').onsubmit = (event) => { event.preventDefault(); if (current) current.type($('typed').value); $('typed').value = ''; };
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('sure').open) return;
  const writing = event.target.matches('input:not([type=checkbox]), textarea, select');
  if (event.key === 'Escape') {
    if (writing) event.target.blur(); else if (location.hash !== '#/') location.hash = '#/';
  } else if (!writing && event.key === '/') {
    const field = $(current ? 'filter' : !$('fleet').hidden ? 'claim-search' : 'search');
    event.preventDefault();
    field.focus();
  } else if (!writing && event.key === 'p' && current) current.setPaused(!current.paused);
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
// Another view is read from its start, by whoever cannot see that it came.
window.addEventListener('hashchange', () => { route(); if (token) { $('main').focus({ preventScroll: true }); scrollTo(0, 0); } });
route();

