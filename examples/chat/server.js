// One chat server of several: node server.js NAME PORT (0: any free port).
//
//   browser ──Socket.IO──► this server ──PUBLISH chat:room──► Sterna
//   browser ◄─Socket.IO─── every server ◄──PSUBSCRIBE chat:*──┘
//
// A server never hands a message to its own browsers directly. It publishes, and what comes back through the
// subscription is what everybody sees, in the same order on every server.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { Server } from 'socket.io';
import { connect } from '../connection.js';
import { ROOMS, cleanName, cleanText } from './rules.js';

const [name = 'north', port = '3000'] = process.argv.slice(2);

const app = express();
app.use(express.static(fileURLToPath(new URL('page', import.meta.url))));
const http = createServer(app);
const io = new Server(http);

const publisher = connect(`chat-${name}-publisher`);
const subscriber = connect(`chat-${name}-subscriber`);

/** Room → its latest messages, for those who join later. Each server sees every message, so each can keep its own. */
const history = new Map(ROOMS.map((room) => [room, []]));
const HISTORY_MAX = 50;

const publish = (room, event) => publisher.publish(`chat:${room}`, JSON.stringify(event));

subscriber.on('pmessage', (_pattern, channel, json) => {
  const room = channel.slice('chat:'.length);
  if (!history.has(room)) return;
  const event = JSON.parse(json);
  if (event.type !== 'typing') {
    const kept = history.get(room);
    kept.push(event);
    if (kept.length > HISTORY_MAX) kept.shift();
  }
  // The page shows every room's unread count, so all browsers get all rooms.
  io.emit('event', { room, ...event });
});

io.on('connection', (socket) => {
  let person;

  socket.on('hello', (claimed, reply) => {
    person = cleanName(claimed);
    if (!person || typeof reply !== 'function') return socket.disconnect();
    reply({ server: name, rooms: ROOMS, history: Object.fromEntries(history) });
  });

  socket.on('say', (room, text) => {
    const said = cleanText(text);
    if (!person || !said || !history.has(room)) return;
    publish(room, { type: 'message', name: person, text: said, at: Date.now(), server: name });
  });

  socket.on('typing', (room) => {
    if (person && history.has(room)) publish(room, { type: 'typing', name: person });
  });
});

await subscriber.psubscribe('chat:*');
http.listen(Number(port), '127.0.0.1', () => {
  console.log(`chat server ${name} is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
