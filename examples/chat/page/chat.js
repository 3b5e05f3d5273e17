// The page. A little state, and functions that draw from it.

const TOPICS = {
  general: 'For everyone, about everything',
  random: 'Birds, tea and other important matters',
  help: 'No question is too small',
};
const TYPING_SHOWN_MS = 3000;
const TYPING_SENT_EVERY_MS = 2000;
const GROUPED_WITHIN_MS = 5 * 60 * 1000;
const KEPT_MAX = 500;

const $ = (id) => document.getElementById(id);
const socket = io({ autoConnect: false });

let me = '';
let current = 'general';
/** Room → { messages, unread }. */
let rooms = new Map();
/** Name → timer that ends "is typing". Only for the current room. */
const typing = new Map();

/* Who: a name keeps its colour, on every server and in every browser. */
function hue(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}
const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => [...word][0]).join('').toUpperCase();

function paintAvatar(element, name) {
  element.textContent = initials(name);
  element.style.setProperty('--hue', hue(name));
}

/* Drawing. Text from others only ever becomes textContent, never HTML. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const timeOf = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
const dayOf = (at) => new Date(at).toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' });

function drawMessage(message, previous) {
  const list = $('messages');
  if (!previous || dayOf(previous.at) !== dayOf(message.at)) {
    list.append(make('li', 'day', dayOf(message.at)));
    previous = undefined;
  }
  const follows = previous?.name === message.name && message.at - previous.at < GROUPED_WITHIN_MS;
  const item = make('li', 'message');
  item.classList.toggle('mine', message.name === me);
  item.classList.toggle('follows', Boolean(follows));
  item.classList.toggle('fresh', Date.now() - message.at < 2000);

  const avatar = make('span', 'avatar');
  avatar.setAttribute('aria-hidden', 'true');
  paintAvatar(avatar, message.name);

  const by = make('span', 'by');
  const time = make('time', '', timeOf(message.at));
  time.dateTime = new Date(message.at).toISOString();
  time.title = new Date(message.at).toLocaleString();
  by.append(make('strong', '', message.name), time, make('span', 'via', `via ${message.server}`));

  item.append(avatar, by, make('div', 'bubble', message.text));
  list.append(item);
}

function drawRoom() {
  $('room-name').textContent = current;
  $('room-topic').textContent = TOPICS[current] ?? '';
  $('text').placeholder = `Message #${current}`;
  $('messages').replaceChildren();
  const room = rooms.get(current);
  if (room) {
    room.unread = 0;
    room.messages.forEach((message, index) => drawMessage(message, room.messages[index - 1]));
  }
  scrollDown();
  drawRooms();
}

function drawRooms() {
  $('rooms').replaceChildren(...[...rooms].map(([name, { unread }]) => {
    const button = make('button', '', name);
    button.type = 'button';
    button.dataset.room = name;
    button.setAttribute('aria-current', name === current);
    if (unread) {
      const badge = make('span', 'unread', unread > 99 ? '99+' : unread);
      badge.title = `${unread} unread`;
      button.append(badge);
    }
    button.onclick = () => { current = name; clearTyping(); drawRoom(); $('text').focus(); };
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
  const waiting = [...rooms.values()].reduce((sum, { unread }) => sum + unread, 0);
  document.title = `${waiting ? `(${waiting}) ` : ''}#${current} · Sterna chat`;
}

function drawTyping() {
  const names = [...typing.keys()];
  $('typing').textContent =
    names.length === 0 ? '' : names.length === 1 ? `${names[0]} is typing…` : `${names.join(' and ')} are typing…`;
}

function clearTyping(name) {
  for (const [who, timer] of typing) {
    if (name !== undefined && who !== name) continue;
    clearTimeout(timer);
    typing.delete(who);
  }
  drawTyping();
}

const isAtBottom = () => $('messages').scrollHeight - $('messages').scrollTop - $('messages').clientHeight < 80;
function scrollDown() { $('messages').scrollTop = $('messages').scrollHeight; }

/* What arrives. */
function receive(event) {
  const room = rooms.get(event.room);
  if (!room) return;
  if (event.type === 'typing') return showTyping(event);

  const previous = room.messages.at(-1);
  room.messages.push(event);
  if (room.messages.length > KEPT_MAX) room.messages.shift();
  if (event.room !== current) {
    room.unread += 1;
    return drawRooms();
  }
  clearTyping(event.name);
  // Somebody who has scrolled up is reading: don't take the page away from them.
  const follow = isAtBottom() || event.name === me;
  drawMessage(event, previous);
  if (follow) scrollDown();
}

function showTyping({ room, name }) {
  if (room !== current || name === me) return;
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(() => clearTyping(name), TYPING_SHOWN_MS));
  drawTyping();
}

function showPeople(names) {
  $('people-box').hidden = false;
  $('people').replaceChildren(...names.map((name) => make('li', '', name)));
}

function setStatus(state) {
  $('status').dataset.state = state;
  $('status').textContent = state;
  updateSend();
}

socket.on('connect', () => {
  socket.emit('hello', me, ({ server, rooms: names, history }) => {
    rooms = new Map(names.map((name) => [name, { messages: history[name] ?? rooms.get(name)?.messages ?? [], unread: 0 }]));
    $('me-server').textContent = `server ${server}`;
    setStatus('connected');
    drawRoom();
  });
});
socket.on('event', receive);
socket.on('people', showPeople);
socket.on('disconnect', () => setStatus('reconnecting'));
socket.on('connect_error', () => setStatus('reconnecting'));

/* What is said. */
function updateSend() {
  $('composer').querySelector('button').disabled = !socket.connected || !$('text').value.trim();
}

let typingSentAt = 0;
$('text').addEventListener('input', () => {
  $('text').style.height = 'auto';
  $('text').style.height = `${$('text').scrollHeight}px`;
  updateSend();
  if (Date.now() - typingSentAt < TYPING_SENT_EVERY_MS || !$('text').value) return;
  typingSentAt = Date.now();
  socket.volatile.emit('typing', current);
});

$('text').addEventListener('keydown', (event) => {
  // Enter sends, Shift+Enter breaks the line; an input method's own Enter does neither.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('composer').requestSubmit();
});

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text || !socket.connected) return;
  socket.emit('say', current, text);
  $('text').value = '';
  $('text').style.height = 'auto';
  typingSentAt = 0;
  updateSend();
});

/* Light and dark: the system's choice until somebody makes their own. */
const dark = matchMedia('(prefers-color-scheme: dark)');
function applyTheme() {
  document.documentElement.dataset.theme = localStorage.getItem('theme') ?? (dark.matches ? 'dark' : 'light');
}
dark.addEventListener('change', applyTheme);
$('theme').onclick = () => {
  localStorage.setItem('theme', document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
  applyTheme();
};
applyTheme();

/* The door. */
function join(name) {
  me = name.trim();
  if (!me) return;
  sessionStorage.setItem('name', me);
  $('me-name').textContent = me;
  paintAvatar($('me-avatar'), me);
  $('welcome').close();
  socket.connect();
  $('text').focus();
}

$('welcome').addEventListener('cancel', (event) => event.preventDefault());
$('join').addEventListener('submit', (event) => { event.preventDefault(); join($('name').value); });

drawRoom();
const known = sessionStorage.getItem('name');
if (known) join(known); else $('welcome').showModal();
