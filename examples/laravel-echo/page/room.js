// A room as in Laravel's guide to broadcasting: who is here, what is said, who is typing.
import Echo from '/echo.js';

const TYPING_SHOWN_MS = 3000;

const $ = (id) => document.getElementById(id);
const name = new URLSearchParams(location.search).get('name') || `guest ${Math.floor(Math.random() * 1000)}`;
const config = await (await fetch('/config.json')).json();
const echo = new Echo({
  broadcaster: 'pusher',
  ...config,
  cluster: '',
  forceTLS: false,
  enabledTransports: ['ws'],
  auth: { headers: { 'x-name': name } },
});
const people = new Set();
let typing;

function draw({ name: by, text }) {
  const item = document.createElement('li');
  const who = document.createElement('strong');
  who.textContent = by;
  item.append(who, text);
  $('messages').append(item);
  $('messages').scrollTop = $('messages').scrollHeight;
}

function drawPeople() {
  $('people').textContent = [...people].sort().join(', ');
}

function showTyping(text) {
  clearTimeout(typing);
  $('typing').textContent = text;
  typing = setTimeout(() => { $('typing').textContent = ''; }, TYPING_SHOWN_MS);
}

echo.connector.pusher.connection.bind('state_change', ({ current }) => { $('status').textContent = current; });

const room = echo.join('room.1')
  .here((members) => {
    people.clear();
    members.forEach((member) => people.add(member.name));
    drawPeople();
  })
  .joining((member) => { people.add(member.name); drawPeople(); })
  .leaving((member) => { people.delete(member.name); drawPeople(); })
  .listen('MessageSent', (message) => { showTyping(''); draw(message); })
  .listenForWhisper('typing', (who) => showTyping(`${who.name} is typing…`));

$('text').addEventListener('input', () => room.whisper('typing', { name }));

$('composer').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  draw({ name, text });
  const answer = await fetch('/messages', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-name': name, 'x-socket-id': echo.socketId() },
    body: JSON.stringify({ text }),
  });
  if (!answer.ok) draw({ name: 'this page', text: `That was not sent (${answer.status}).` });
});
