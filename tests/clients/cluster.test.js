// Socket.IO with its servers on two nodes of a cluster: rooms reach the other node, and counts are of both.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import Redis6 from 'ioredis6';
import { Server } from 'socket.io';
import { io as connectClient } from 'socket.io-client';
import { freePort, IS_STERNA, spawnTied, TestServer } from './server.js';

const NATS = process.env.NATS_SERVER;
const skip = IS_STERNA && NATS ? false : 'needs NATS_SERVER; ./test installs one';
const nodes = [];
/** A busy machine may need longer than the adapters' 5 s. */
const ANSWER_MS = 60_000;
const classic = (publisher, subscriber) => createAdapter(publisher, subscriber, { requestsTimeout: ANSWER_MS });

if (!skip) {
  const port = await freePort();
  const nats = spawnTied(NATS, ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  after(() => nats.kill());
  const words = ['--cluster-url', `nats://127.0.0.1:${port}`];
  for (let n = 0; n < 2; n += 1) nodes.push(await TestServer.start(after, words));
}

/** Waits until `question` answers yes. Each try is an exchange with the server, so it doesn't spin. */
async function eventually(question) {
  while (!(await question())) await new Promise(setImmediate);
}

/** A server of Socket.IO on a node, and a browser in `room` there. */
async function startServer(t, adapter, node, room) {
  const connect = async () => {
    const client = new Redis6(node.url, { tls: { ca: node.ca } });
    client.on('error', () => {});
    await once(client, 'ready');
    return client;
  };
  const [publisher, subscriber] = [await connect(), await connect()];
  const http = createServer();
  const io = new Server(http, { adapter: adapter(publisher, subscriber) });
  io.on('connection', (socket) => socket.join(room));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const browser = connectClient(`http://127.0.0.1:${http.address().port}`, { transports: ['websocket'], forceNew: true });
  await once(browser, 'connect');
  t.after(async () => {
    browser.disconnect();
    await io.close();
    await Promise.all([publisher.quit(), subscriber.quit()]);
  });
  return { io, browser };
}

for (const [kind, adapter] of [['classic', classic], ['sharded', createShardedAdapter]]) {
  test(`${kind} adapter: rooms and counts cover both nodes`, { skip }, async (t) => {
    const one = await startServer(t, adapter, nodes[0], 'red');
    const two = await startServer(t, adapter, nodes[1], 'blue');
    await eventually(async () => (await one.io.of('/').adapter.serverCount()) === 2);
    await eventually(async () => (await one.io.timeout(ANSWER_MS).in('blue').fetchSockets()).length === 1);
    assert.deepEqual(
      (await two.io.timeout(ANSWER_MS).fetchSockets()).map(({ id }) => id).sort(),
      [one.browser.id, two.browser.id].sort(),
    );
    const said = once(two.browser, 'said');
    one.io.to('blue').emit('said', 'from the other node');
    assert.deepEqual(await said, ['from the other node']);
    two.io.on('count', (answer) => answer(42));
    assert.deepEqual(await one.io.serverSideEmitWithAck('count'), [42]);
  });
}
