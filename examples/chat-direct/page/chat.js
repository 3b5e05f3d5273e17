// A chat between browsers and Sterna, with nothing in between.
//
//   this page ──POST /v1/publish──► room:lobby (remembered), here:lobby (not)
//   this page ◄──GET /v1/events──── both, from the first message that the room remembers on
//
// Where the page stands in the room is the `id` of the last event. The browser sends it when it comes back by itself,
// this page when it opens another EventSource because its token has ended.

const HERE_EVERY_MS = 20_000;
const GONE_AFTER_MS = 3 * HERE_EVERY_MS;
const RETRY_MS = 1000;

const $ = (id) => document.getElementById(id);

/** Where Sterna is, the token, and what it says; from the address of the page, behind the #. */
let { server, token, claims } = read(location.hash);
let source;
let lastId = '';
/** Name → when it was last known to be here. */
const people = new Map();

function read(text) {
  const asked = new URLSearchParams(text.slice(text.indexOf('#') + 1));
  const given = asked.get('token') ?? text.trim();
  try {
    const part = given.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    const said = JSON.parse(new TextDecoder().decode(bytes));
    return { server: asked.get('server') ?? server, token: given, claims: said };
  } catch {
    return { server: asked.get('server') ?? server, token: '', claims: { sub: '', exp: 0 } };
  }
}

/* What arrives. */

function listen() {
  source?.close();
  const query = new URLSearchParams([['channel', 'room:lobby'], ['channel', 'here:lobby'], ['_token', token]]);
  query.append('since', lastId || 'earliest');
  source = new EventSource(`${server}/v1/events?${query}`);
  source.addEventListener('resume', (event) => {
    const { recovered } = JSON.parse(event.data);
    if (!recovered) note('Something may be missing here.');
    lastId = event.lastEventId;
    setStatus('connected');
    sayHere({ asks: true });
  });
  source.onmessage = (event) => {
    lastId = event.lastEventId;
    const { channel, message } = JSON.parse(event.data);
    const said = parse(message);
    if (channel === 'room:lobby') draw(said);
    else meet(said);
  };
  source.onerror = () => {
    setStatus('reconnecting');
    // After a broken connection the browser comes back by itself; after an answer such as 401 it doesn't.
    if (source.readyState !== EventSource.CLOSED) return;
    if (hasEnded()) askForToken();
    else setTimeout(listen, RETRY_MS + Math.random() * RETRY_MS);
  };
}

/** Anybody who may publish to the channel may publish anything. */
function parse(message) {
  try {
    return Object(JSON.parse(message));
  } catch {
    return { name: '?', text: message };
  }
}

/* What is sent. */

async function publish(channel, message) {
  const answer = await fetch(`${server}/v1/publish`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ channel, message: JSON.stringify(message) }),
  });
  if (answer.ok) return;
  if (answer.status === 401 && hasEnded()) askForToken();
  throw new Error((await answer.json()).error);
}

$('composer').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('composer').querySelector('button').disabled = true;
  try {
    // It is drawn when it comes back, where everybody else sees it.
    await publish('room:lobby', { name: claims.sub, text, at: Date.now() });
    $('text').value = '';
  } catch (error) {
    note(`That was not sent: ${error.message}`);
  }
  $('composer').querySelector('button').disabled = false;
  $('text').focus();
});

/* Who is here: each page says so when it comes, when another one asks, now and then, and when it goes. */

function sayHere(more) {
  publish('here:lobby', { name: claims.sub, ...more }).catch(() => {});
}

function meet({ name, asks, goes }) {
  if (goes) people.delete(name);
  else people.set(name, Date.now());
  // Another page of the same user may have gone.
  if ((asks && name !== claims.sub) || (goes && name === claims.sub)) sayHere();
  drawPeople();
}

setInterval(() => {
  for (const [name, at] of people) if (Date.now() - at > GONE_AFTER_MS) people.delete(name);
  drawPeople();
  if ($('status').dataset.state === 'connected') sayHere();
}, HERE_EVERY_MS);

addEventListener('pagehide', () => {
  // A beacon has no headers.
  const message = JSON.stringify({ name: claims.sub, goes: true });
  navigator.sendBeacon(`${server}/v1/publish?_token=${token}`, JSON.stringify({ channel: 'here:lobby', message }));
});
addEventListener('pageshow', (event) => { if (event.persisted) listen(); });

/* Tokens end. */

const hasEnded = () => claims.exp * 1000 <= Date.now();

function askForToken() {
  source?.close();
  setStatus('token ended');
  $('renew').hidden = false;
}

function renew(text) {
  const next = read(text);
  if (!next.token || !next.server) return;
  ({ server, token, claims } = next);
  $('renew').hidden = true;
  $('link').value = '';
  setStatus('connecting');
  listen();
}

$('renew').addEventListener('submit', (event) => { event.preventDefault(); renew($('link').value); });
addEventListener('hashchange', () => renew(location.hash));

/* Drawing. What others have sent only ever becomes text, never HTML. */

function make(tag, className, text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function append(item) {
  const list = $('messages');
  const isAtBottom = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  list.append(item);
  if (isAtBottom) list.scrollTop = list.scrollHeight;
}

function draw({ name, text, at }) {
  const item = make('li', name === claims.sub ? 'mine' : '');
  const by = make('span', 'by');
  const time = new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  by.append(make('strong', '', name), make('time', '', time));
  item.append(by, make('div', 'text', text));
  append(item);
}

const note = (text) => append(make('li', 'gap', text));

function drawPeople() {
  $('people').textContent = [...people.keys()].sort().join(', ');
}

function setStatus(state) {
  $('status').dataset.state = state;
  $('status').textContent = state;
}

if (token && server && !hasEnded()) listen();
else askForToken();
