// One chat server of several: node server.js NAME PORT (0: any free port).
//
//   browser ──Socket.IO──► this server ──XADD socket.io──► Sterna
//   browser ◄─Socket.IO─── every server ◄──XREAD BLOCK─────┘
//
// Each message carries its entry ID to the browser. Who comes back names the last one it has; the adapter finds the
// session by its secret (a key that expires) and what came after by XRANGE.
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { Server } from 'socket.io';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { connect } from '../connection.js';
import { ROOMS, cleanName, cleanText } from '../chat/rules.js';

const [name = 'north', port = '3040'] = process.argv.slice(2);
const connectionName = `recovery-${name}`;
const client = connect(connectionName);

const app = express();
app.use(express.static(fileURLToPath(new URL('../chat/page', import.meta.url))));
const http = createServer(app);
const io = new Server(http, {
  adapter: createAdapter(client, { maxLen: 10_000 }),
  connectionStateRecovery: { maxDisconnectionDuration: Number(process.env.RECOVERY_MS ?? 120_000) },
});

io.on('connection', (socket) => {
  // Name and rooms came back with the session, and the adapter has sent what was missed.
  if (socket.recovered) console.log(`${name}: ${socket.data.name} is back`);

  socket.on('hello', (claimed, reply) => {
    const person = cleanName(claimed);
    if (!person || typeof reply !== 'function') return socket.disconnect();
    if (!socket.recovered) console.log(`${name}: ${person} joins`);
    socket.data.name = person;
    socket.join(ROOMS);
    reply({ server: name, rooms: ROOMS, history: {} });
  });

  socket.on('say', (room, text) => {
    const said = cleanText(text);
    if (!socket.data.name || !said || !ROOMS.includes(room)) return;
    io.to(room).emit('event', {
      room, type: 'message', name: socket.data.name, text: said, at: Date.now(), server: name,
    });
  });

  // Typing is for this server's own browsers: nobody wants to be told later who was typing then.
  socket.on('typing', (room) => {
    if (!socket.data.name || !ROOMS.includes(room)) return;
    socket.local.to(room).emit('event', { room, type: 'typing', name: socket.data.name });
  });

  socket.on('disconnect', () => console.log(`${name}: ${socket.data.name} is gone`));
});

// The adapter reads on a connection of its own, with the same name, and doesn't say when it has begun.
const isReading = async () => (await client.client('LIST')).split('\n')
  .some((line) => line.includes(` name=${connectionName} `) && line.includes(' cmd=xread '));
while (!(await isReading())) await pause(10);
http.listen(Number(port), '127.0.0.1', () => {
  console.log(`chat server ${name} is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
