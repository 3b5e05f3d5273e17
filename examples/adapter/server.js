// One chat server of several: node server.js NAME PORT KIND (port 0: any free one; kind: classic or sharded).
//
// Unlike ../chat/server.js this one never touches a channel. The adapter carries what is emitted to a room to the
// other servers, and asks them when a question concerns everybody.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { Server } from 'socket.io';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { connect } from '../connection.js';
import { ROOMS, cleanName, cleanText } from '../chat/rules.js';

const [name = 'north', port = '3030', kind = 'classic'] = process.argv.slice(2);
const adapters = { classic: createAdapter, sharded: createShardedAdapter };
if (!adapters[kind]) throw new Error(`the adapter is classic or sharded, not ${kind}`);

const publisher = connect(`adapter-${name}-publisher`);
const subscriber = connect(`adapter-${name}-subscriber`);

const app = express();
app.use(express.static(fileURLToPath(new URL('../chat/page', import.meta.url))));
const http = createServer(app);
const io = new Server(http, { adapter: adapters[kind](publisher, subscriber) });

/** Tells everybody who is here, on whichever server. */
async function showPeople() {
  const sockets = await io.fetchSockets();
  io.emit('people', sockets.map((socket) => socket.data.name).filter(Boolean).sort());
}

io.on('connection', (socket) => {
  socket.on('hello', (claimed, reply) => {
    const person = cleanName(claimed);
    if (!person || typeof reply !== 'function') return socket.disconnect();
    socket.data.name = person;
    socket.join(ROOMS);
    reply({ server: name, rooms: ROOMS, history: {} });
    showPeople().catch(console.error);
  });

  socket.on('say', (room, text) => {
    const said = cleanText(text);
    if (!socket.data.name || !said || !ROOMS.includes(room)) return;
    io.to(room).emit('event', {
      room, type: 'message', name: socket.data.name, text: said, at: Date.now(), server: name,
    });
  });

  socket.on('typing', (room) => {
    if (!socket.data.name || !ROOMS.includes(room)) return;
    socket.to(room).volatile.emit('event', { room, type: 'typing', name: socket.data.name });
  });

  socket.on('disconnect', () => showPeople().catch(console.error));
});

// The adapter has sent its subscriptions already; one more reply on the same connection means that they stand.
await subscriber.subscribe(`adapter-${name}-ready`);
http.listen(Number(port), '127.0.0.1', () => {
  console.log(`chat server ${name} (${kind} adapter) is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
