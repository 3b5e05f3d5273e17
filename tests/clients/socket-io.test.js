// Socket.IO's adapters over ioredis and node-redis: what goes through the server, and the questions that need PUBSUB.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, describe, test } from 'node:test';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import Redis5 from 'ioredis5';
import Redis6 from 'ioredis6';
import * as redis5 from 'redis5';
import { Server } from 'socket.io';
import { io as connectClient } from 'socket.io-client';
import { TestServer } from './server.js';

const server = await TestServer.start(after);

/** A busy machine may need longer than the adapters' 5 s. */
const ANSWER_MS = 60_000;
const classic = (publisher, subscriber) => createAdapter(publisher, subscriber, { requestsTimeout: ANSWER_MS });

/** A library as the tests see it: how to connect, and how to leave once everything sent has been answered. */
const ioredis = (Client, options = {}) => ({
  async connect() {
    const client = new Client(server.url, { tls: { ca: server.ca }, ...options });
    client.on('error', () => {});
    await once(client, 'ready');
    return client;
  },
  close: (client) => client.quit(),
});
const nodeRedis = (RESP) => ({
  async connect() {
    const client = redis5.createClient({ url: server.url, socket: { tls: true, ca: server.ca }, RESP });
    client.on('error', () => {});
    return client.connect();
  },
  close: (client) => client.close(),
});

/** Waits until `question` answers yes. Each try is an exchange with the server, so it doesn't spin. */
async function eventually(question) {
  while (!(await question())) await new Promise(setImmediate);
}

async function startServer(t, adapter, library) {
  const [publisher, subscriber] = [await library.connect(), await library.connect()];
  const http = createServer();
  const io = new Server(http, { adapter: adapter(publisher, subscriber) });
  io.on('connection', (socket) => socket.on('join', (room, joined) => { socket.join(room); joined(); }));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.after(async () => {
    await io.close();
    await Promise.all([library.close(publisher), library.close(subscriber)]);
  });
  return { io, url: `http://127.0.0.1:${http.address().port}` };
}

async function startBrowser(t, url, room) {
  const client = connectClient(url, { transports: ['websocket'], forceNew: true });
  t.after(() => client.disconnect());
  await once(client, 'connect');
  if (room) await client.emitWithAck('join', room).catch(() => {});
  client.heard = [];
  client.onAny((name, ...values) => client.heard.push([name, ...values]));
  return client;
}

async function startPair(t, adapter, library) {
  const [one, two] = [await startServer(t, adapter, library), await startServer(t, adapter, library)];
  await eventually(async () => (await one.io.of('/').adapter.serverCount()) === 2);
  const [ada, bob] = [await startBrowser(t, one.url, 'red'), await startBrowser(t, two.url, 'blue')];
  return { one, two, ada, bob };
}

for (const [kind, adapter] of [['classic', classic], ['sharded', createShardedAdapter]]) {
  for (const [name, library] of [
    ['ioredis 5', ioredis(Redis5)],
    ['ioredis 6', ioredis(Redis6)],
    ['node-redis 5, RESP2', nodeRedis(2)],
    ['node-redis 5, RESP3', nodeRedis(3)],
  ]) {
    describe(`${kind} adapter on ${name}`, () => {
      test('rooms reach the other server, and only their members', async (t) => {
        const { one, two, ada, bob } = await startPair(t, adapter, library);
        // The sharded adapter subscribes to a room's channel when it gets its first member.
        await eventually(async () => (await one.io.timeout(ANSWER_MS).in('blue').fetchSockets()).length === 1);
        const done = [once(ada, 'done'), once(bob, 'done')];
        one.io.to('blue').emit('said', 'from one');
        two.io.to('red').emit('said', 'from two', Buffer.from([0, 255]));
        one.io.to('nobody').emit('said', 'lost');
        // One server's messages are ordered; the marks come last from both.
        one.io.emit('mark', 1);
        two.io.emit('mark', 2);
        while ([ada, bob].some(({ heard }) => heard.filter(([name]) => name === 'mark').length < 2)) {
          await Promise.race([once(ada, 'mark'), once(bob, 'mark')]);
        }
        one.io.emit('done');
        await Promise.all(done);
        assert.deepEqual(ada.heard.filter(([name]) => name === 'said'), [['said', 'from two', Buffer.from([0, 255])]]);
        assert.deepEqual(bob.heard.filter(([name]) => name === 'said'), [['said', 'from one']]);
      });

      test('serverCount, fetchSockets, acknowledgements and serverSideEmit cover both servers', async (t) => {
        const { one, two, ada, bob } = await startPair(t, adapter, library);
        assert.equal(await one.io.of('/').adapter.serverCount(), 2);
        assert.deepEqual((await two.io.timeout(ANSWER_MS).fetchSockets()).map(({ id }) => id).sort(), [ada.id, bob.id].sort());

        ada.on('how', (answer) => answer('fine'));
        bob.on('how', (answer) => answer('well'));
        assert.deepEqual((await one.io.timeout(ANSWER_MS).emitWithAck('how')).sort(), ['fine', 'well']);

        two.io.on('count', (answer) => answer(42));
        assert.deepEqual(await one.io.serverSideEmitWithAck('count'), [42]);
      });
    });
  }
}

test('the emitter speaks into a room of the classic adapter', async (t) => {
  const library = ioredis(Redis5);
  const { ada, bob } = await startPair(t, classic, library);
  const publisher = await library.connect();
  t.after(() => library.close(publisher));
  const emitter = new Emitter(publisher);
  const done = [once(ada, 'done'), once(bob, 'done')];
  emitter.to('red').emit('said', 'for red');
  emitter.emit('done');
  await Promise.all(done);
  assert.deepEqual(ada.heard, [['said', 'for red'], ['done']]);
  assert.deepEqual(bob.heard, [['done']]);
});
