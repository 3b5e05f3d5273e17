// Two nodes of a cluster. Socket.IO with its servers on both: rooms reach the other node, and counts are of both. Clients that know of
// clusters, and such that don't, where one node leads the keys: at either node they see the same.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import Redis6 from 'ioredis6';
import { Server } from 'socket.io';
import { createCluster } from 'redis6';
import { io as connectClient } from 'socket.io-client';
import { freePort, IS_STERNA, spawnTied, TestServer } from './server.js';

const NATS = process.env.NATS_SERVER;
const skip = IS_STERNA && NATS ? false : 'needs NATS_SERVER; ./test installs one';
const nodes = [];
/** The same where the first one leads the keys. */
const led = [];
/** A busy machine may need longer than the adapters' 5 s. */
const ANSWER_MS = 60_000;
const classic = (publisher, subscriber) => createAdapter(publisher, subscriber, { requestsTimeout: ANSWER_MS });

if (!skip) {
  const port = await freePort();
  const nats = spawnTied(NATS, ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  after(() => nats.kill());
  const words = ['--cluster-url', `nats://127.0.0.1:${port}`];
  for (let n = 0; n < 2; n += 1) nodes.push(await TestServer.start(after, words));
  for (let n = 0; n < 2; n += 1) {
    const leader = (node) => `${node.host}:${(led[0] ?? node).port}`;
    const options = (node) => [...words, '--cluster-name', 'led', '--cluster-leader', leader(node)];
    led.push(await TestServer.start(after, options));
    // A node that has just started has yet to hear who leads.
    const client = new Redis6(led[n].url, { tls: { ca: led[n].ca } });
    await eventually(async () => (await client.cluster('INFO')).includes('cluster_state:ok'));
    await client.quit();
  }
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

/** What every client is asked to do, by words of the protocol. */
async function exercise(ask, close, name) {
  const key = (n) => `{${name}}:${n}`;
  for (let n = 0; n < 20; n += 1) assert.equal(await ask(['SET', `${name}:${n}`, String(n)]), 'OK');
  const values = await Promise.all(Array.from({ length: 20 }, (_, n) => ask(['GET', `${name}:${n}`])));
  assert.deepEqual(values, Array.from({ length: 20 }, (_, n) => String(n)));
  assert.equal(await ask(['RPUSH', key('list'), 'a', 'b']), 2);
  assert.equal(await ask(['EVAL', "return redis.call('LLEN', KEYS[1])", '1', key('list')]), 2);
  assert.deepEqual(await ask(['BLPOP', key('list'), '0']), [key('list'), 'a']);
  await close();
}

for (const [place, at] of [['leads', 0], ['does not lead', 1]]) {
  test(`ioredis and its Cluster at a node that ${place}`, { skip }, async () => {
    const node = led[at];
    const redisOptions = { password: node.password, tls: { ca: led.map(({ ca }) => ca) } };
    const cluster = new Redis6.Cluster([{ host: node.host, port: node.tlsPort }], { redisOptions });
    await once(cluster, 'ready');
    const results = await cluster.multi().set('{t}:1', 'x').get('{t}:1').exec();
    assert.deepEqual(results, [[null, 'OK'], [null, 'x']]);
    await exercise(([command, ...args]) => cluster.call(command, ...args), () => cluster.quit(), `ioredis-cluster-${at}`);
    const alone = new Redis6(node.url, { tls: { ca: node.ca } });
    assert.deepEqual(await alone.multi().incr('n').incrby('n', 2).del('n').exec(), [[null, 1], [null, 3], [null, 1]]);
    await exercise(([command, ...args]) => alone.call(command, ...args), () => alone.quit(), `ioredis-${at}`);
  });

  test(`node-redis's cluster at a node that ${place}`, { skip }, async () => {
    const node = led[at];
    const socket = { tls: true, ca: led.map(({ ca }) => ca) };
    const url = `rediss://${node.host}:${node.tlsPort}`;
    const cluster = createCluster({ rootNodes: [{ url }], defaults: { password: node.password, socket } });
    await cluster.connect();
    const ask = (args) => cluster.sendCommand(args[0] === 'EVAL' ? args[3] : args[1], false, args);
    await exercise(ask, () => cluster.close(), `node-redis-cluster-${at}`);
  });
}
