// One chat server of several: node server.js NAME PORT (0: any free port).
//
//   browser ──Socket.IO──► this server ──a script: XADD history:room, PUBLISH chat:room──► Sterna
//   browser ◄─Socket.IO─── every server ◄──PSUBSCRIBE chat:* typing:*──────────────────────┤
//   joining ◄────────────────────────────XREVRANGE history:room + - COUNT 50───────────────┘
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { Server } from 'socket.io';
import { connect } from '../connection.js';
import { ROOMS, cleanName, cleanText } from '../chat/rules.js';
import { Joining } from './joining.js';

const [name = 'north', port = '3050'] = process.argv.slice(2);

const app = express();
app.use(express.static(fileURLToPath(new URL('../chat/page', import.meta.url))));
const http = createServer(app);
const io = new Server(http);

const client = connect(`history-${name}`);
const subscriber = connect(`history-${name}-subscriber`);

const SHOWN = 50;
/** Kept a room, about: `~` lets the server drop whole blocks, which costs next to nothing. */
const KEPT = 1000;

/** Socket → what it has been given, or waits for, since it said hello. */
const people = new Map();

/** One script, so that the live message carries its entry's ID, and neither is without the other. */
client.defineCommand('say', {
  numberOfKeys: 1,
  lua: `local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[2])
        return redis.call('PUBLISH', ARGV[3], id .. ' ' .. ARGV[2])`,
});

async function history(room) {
  const newestFirst = await client.xrevrange(`history:${room}`, '+', '-', 'COUNT', SHOWN);
  return newestFirst.reverse().map(([id, [, json]]) => [id, JSON.parse(json)]);
}

subscriber.on('pmessage', (_pattern, channel, message) => {
  const [kind, room] = channel.split(':');
  if (!ROOMS.includes(room)) return;
  if (kind === 'typing') return io.emit('event', { room, ...JSON.parse(message) });
  const end = message.indexOf(' ');
  const [id, event] = [message.slice(0, end), JSON.parse(message.slice(end))];
  for (const [socket, joining] of people) if (joining.passes(room, id, event)) socket.emit('event', { room, ...event });
});

io.on('connection', (socket) => {
  socket.on('hello', async (claimed, reply) => {
    const person = cleanName(claimed);
    if (!person || typeof reply !== 'function' || people.has(socket)) return socket.disconnect();
    const joining = new Joining();
    people.set(socket, joining);
    try {
      const histories = await Promise.all(ROOMS.map(async (room) => [room, await history(room)]));
      reply({ server: name, rooms: ROOMS, history: joining.complete(histories) });
      socket.data.name = person;
    } catch (error) {
      console.error(error.message);
      socket.disconnect();
    }
  });

  socket.on('disconnect', () => people.delete(socket));

  socket.on('say', (room, text) => {
    const said = cleanText(text);
    if (!socket.data.name || !said || !ROOMS.includes(room)) return;
    const event = { type: 'message', name: socket.data.name, text: said, at: Date.now(), server: name };
    client.say(`history:${room}`, KEPT, JSON.stringify(event), `chat:${room}`).catch((error) => console.error(error.message));
  });

  socket.on('typing', (room) => {
    if (!socket.data.name || !ROOMS.includes(room)) return;
    client.publish(`typing:${room}`, JSON.stringify({ type: 'typing', name: socket.data.name }));
  });
});

await subscriber.psubscribe('chat:*', 'typing:*');
http.listen(Number(port), '127.0.0.1', () => {
  console.log(`chat server ${name} is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
