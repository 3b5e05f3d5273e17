// Three nodes whose keys are those of all. Clients that know of clusters read from replicas, and go on when the node that leads is
// killed: what was acknowledged is there.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import Redis5 from 'ioredis5';
import Redis6 from 'ioredis6';
import { createCluster as createCluster5 } from 'redis5';
import { createCluster as createCluster6 } from 'redis6';
import { ask, awaitLeader, eventually, makeCluster } from './nodes.js';
import { BINARY, IS_STERNA, TestServer, freePort, spawnTied } from './server.js';

const skip = IS_STERNA && process.env.NATS_SERVER ? false : 'needs NATS_SERVER; ./test installs one';
const nodes = [];
const RETRY_MS = 100;

if (!skip) {
  const words = await makeCluster({ BINARY, freePort, spawnTied });
  for (let n = 0; n < 3; n += 1) nodes.push(await TestServer.start(after, [...words, '--appendfsync', 'always']));
  await awaitLeader(nodes);
  await joined();
}

/** Waits until every node knows all, and who leads. */
async function joined() {
  for (const node of nodes) {
    const slots = async () => (await ask(node, 'CLUSTER', 'NODES')).match(/ connected/g)?.length === 3;
    await eventually('the nodes to know each other', async () =>
      (await slots()) && (await ask(node, 'CLUSTER', 'INFO')).includes('cluster_state:ok'));
  }
}

const redisOptions = () => ({ password: nodes[0].password, tls: { ca: nodes.map(({ ca }) => ca) } });
const connectIoredis = async (t, Redis, options) => {
  const startup = nodes.map(({ host, tlsPort: port }) => ({ host, port }));
  const cluster = new Redis.Cluster(startup, { redisOptions: redisOptions(), ...options });
  cluster.on('error', () => {});
  t.after(() => cluster.disconnect());
  await once(cluster, 'ready');
  return cluster;
};

/** What a client says whose patience is over, or whose line broke; the program goes on with its next write. */
const GIVEN_UP = /Too many Cluster|CLUSTERDOWN|onnection|closed|ECONN|Socket|slots cache|ailed/;

/** Writes numbers one after the other until it is told to stop. */
function write(set, name) {
  const writer = { name, acknowledged: [], stop: false };
  writer.ended = (async () => {
    for (let n = 0; !writer.stop; n += 1) {
      try {
        await set(`${name}:${n}`, String(n));
        writer.acknowledged.push(n);
      } catch (error) {
        assert.match(String(error), GIVEN_UP);
        await new Promise((settle) => { setTimeout(settle, RETRY_MS); });
      }
    }
  })();
  return writer;
}

for (const [name, Redis] of [['ioredis 5', Redis5], ['ioredis 6', Redis6]]) {
  test(`${name}'s Cluster reads from replicas, and is sent to the node that leads for writes`, { skip }, async (t) => {
    const cluster = await connectIoredis(t, Redis, { scaleReads: 'slave' });
    assert.equal(cluster.nodes('master').length, 1);
    assert.equal(cluster.nodes('slave').length, 2);
    assert.equal(await cluster.set(name, 'v'), 'OK');
    await eventually('the copies', async () => (await cluster.get(name)) === 'v');
    // A replica that is told to read its copies sends writers on.
    const [replica] = cluster.nodes('slave');
    await assert.rejects(replica.set(name, 'w'), /^ReplyError: MOVED \d+ 127\.0\.0\.1:\d+$/);
    assert.equal(await replica.cluster('COUNTKEYSINSLOT', await replica.cluster('KEYSLOT', name)), 1);
  });
}

async function connectNodeRedis(t, createCluster) {
  const socket = { tls: true, ca: nodes.map(({ ca }) => ca) };
  const rootNodes = nodes.map(({ host, tlsPort }) => ({ url: `rediss://${host}:${tlsPort}` }));
  const cluster = createCluster({ rootNodes, useReplicas: true, defaults: { password: nodes[0].password, socket } });
  cluster.on('error', () => {});
  t.after(() => cluster.destroy());
  return cluster.connect();
}

for (const [name, createCluster] of [['node-redis 5', createCluster5], ['node-redis 6', createCluster6]]) {
  test(`${name}'s cluster reads from replicas`, { skip }, async (t) => {
    const cluster = await connectNodeRedis(t, createCluster);
    assert.equal(cluster.replicas.length, 2);
    await cluster.set(name, 'v');
    await eventually('the copies', async () => (await cluster.get(name)) === 'v');
  });
}

test('clients of clusters write through a failover, and a plain one stays where it is', { skip }, async (t) => {
  const leader = await awaitLeader(nodes);
  const node = nodes.find((other) => other !== leader);
  const plain = new Redis6(node.url, { tls: { ca: node.ca } });
  const subscribed = plain.duplicate();
  t.after(() => Promise.all([plain.quit(), subscribed.quit()]));
  await subscribed.subscribe('news');
  assert.equal(await plain.set('plain', 'v'), 'OK');

  const writers = [];
  for (const [name, Redis] of [['ioredis 5', Redis5], ['ioredis 6', Redis6]]) {
    const cluster = await connectIoredis(t, Redis);
    writers.push(write((key, value) => cluster.set(key, value), name));
  }
  for (const [name, createCluster] of [['node-redis 5', createCluster5], ['node-redis 6', createCluster6]]) {
    const cluster = await connectNodeRedis(t, createCluster);
    writers.push(write((key, value) => cluster.set(key, value), name));
  }
  // A client with a write under way may be closed; one that reads or listens is not.
  const reader = new Redis6(node.url, { tls: { ca: node.ca } });
  t.after(() => reader.quit());
  const readerId = await reader.client('ID');
  const more = (than) => () => writers.every(({ acknowledged }, at) => acknowledged.length > than[at]);
  await eventually('writes', more(writers.map(() => 20)));
  await leader.crash();
  const before = writers.map(({ acknowledged }) => acknowledged.length);
  assert.equal(await reader.get('plain'), 'v', 'a read waits for a node that leads');
  await eventually('writes after the failover', more(before.map((count) => count + 20)));
  for (const writer of writers) writer.stop = true;
  await Promise.all(writers.map(({ ended }) => ended));
  for (const { name, acknowledged } of writers) {
    const values = await Promise.all(acknowledged.map((n) => plain.get(`${name}:${n}`)));
    assert.deepEqual(values, acknowledged.map(String), name);
  }
  assert.equal(await reader.client('ID'), readerId);
  const said = once(subscribed, 'message');
  await plain.publish('news', 'still here');
  assert.deepEqual(await said, ['news', 'still here']);
});
