// One chat server of several: node server.js NAME PORT (0: any free port).
//
//   browser ──Socket.IO──► this server ──MULTI, XADD history:room, PUBLISH chat:room, EXEC──► Sterna
//   browser ◄─Socket.IO─── every server ◄──PSUBSCRIBE chat:*──────────────────────────────────┤
//   joining ◄────────────────────────────XREVRANGE history:room + - COUNT 50──────────────────┘
import { randomUUID } from 'node:crypto';
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

/** Sockets that wait for their history. */
const joining = new Map();

/** One transaction, so that the stream's order is the order of the live messages, and neither is without the other. */
function say(room, event) {
  const json = JSON.stringify({ id: randomUUID(), ...event });
  return client.multi().xadd(`history:${room}`, 'MAXLEN', '~', KEPT, '*', 'event', json).publish(`chat:${room}`, json).exec();
}

async function history(room) {
  const newestFirst = await client.xrevrange(`history:${room}`, '+', '-', 'COUNT', SHOWN);
  return newestFirst.reverse().map(([, [, json]]) => JSON.parse(json));
}

subscriber.on('pmessage', (_pattern, channel, json) => {
  const room = channel.slice('chat:'.length);
  if (!ROOMS.includes(room)) return;
  const event = JSON.parse(json);
  io.to('joined').emit('event', { room, ...event });
  if (event.type !== 'typing') for (const waiting of joining.values()) waiting.heard(room, event);
});

io.on('connection', (socket) => {
  socket.on('hello', async (claimed, reply) => {
    const person = cleanName(claimed);
    if (!person || typeof reply !== 'function' || joining.has(socket)) return socket.disconnect();
    const waiting = new Joining();
    joining.set(socket, waiting);
    try {
      const rooms = await Promise.all(ROOMS.map(async (room) => [room, await history(room)]));
      // From here to `join` nothing else runs, so no event falls between the two.
      reply({
        server: name,
        rooms: ROOMS,
        history: Object.fromEntries(rooms.map(([room, events]) => [room, waiting.complete(room, events)])),
      });
      socket.data.name = person;
      socket.join('joined');
    } catch (error) {
      console.error(error.message);
      socket.disconnect();
    } finally {
      joining.delete(socket);
    }
  });

  socket.on('say', (room, text) => {
    const said = cleanText(text);
    if (!socket.data.name || !said || !ROOMS.includes(room)) return;
    const event = { type: 'message', name: socket.data.name, text: said, at: Date.now(), server: name };
    say(room, event).catch((error) => console.error(error.message));
  });

  socket.on('typing', (room) => {
    if (!socket.data.name || !ROOMS.includes(room)) return;
    client.publish(`chat:${room}`, JSON.stringify({ type: 'typing', name: socket.data.name }));
  });
});

await subscriber.psubscribe('chat:*');
http.listen(Number(port), '127.0.0.1', () => {
  console.log(`chat server ${name} is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
