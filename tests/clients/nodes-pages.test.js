// Pages and subscriptions that resume, where several nodes have the same keys: what holds on another node, and through a failover.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { EventSource } from 'eventsource';
import Redis from 'ioredis6';
import { awaitFollower, awaitLeader, eventually, makeCluster } from './nodes.js';
import { BINARY, IS_STERNA, TestServer, freePort, spawnTied } from './server.js';

const skip = IS_STERNA && process.env.NATS_SERVER ? false : 'needs NATS_SERVER; ./test installs one';
const nodes = [];

if (!skip) {
  const words = [...await makeCluster({ BINARY, freePort, spawnTied }), '--retain', 'kept:*', '--resume-window', '60'];
  for (let n = 0; n < 3; n += 1) {
    const httpPort = await freePort();
    const node = await TestServer.start(after, [...words, '--appendfsync', 'always', '--http-port', String(httpPort)]);
    nodes.push(Object.assign(node, { httpPort }));
  }
  await roles();
}

/** The node that leads, and the others, once they know it. */
async function roles() {
  const leader = await awaitLeader(nodes);
  const followers = nodes.filter((node) => node !== leader);
  for (const node of followers) await awaitFollower(node);
  return { leader, followers };
}

const connect = (t, node, options = {}) => {
  const client = new Redis(node.plainUrl, options);
  client.on('error', () => {});
  t.after(() => client.disconnect());
  return client;
};

/** A page at a node: the messages of a channel, and what it was told when it was opened. */
async function open(t, node, query, lastId) {
  const headers = lastId ? { 'last-event-id': lastId } : {};
  const source = new EventSource(`http://127.0.0.1:${node.httpPort}/v1/events?${query}&_token=${node.password}`, {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
  });
  t.after(() => source.close());
  const page = { source, messages: [], ids: [], resumes: [] };
  source.addEventListener('message', (event) => { page.messages.push(JSON.parse(event.data)); page.ids.push(event.lastEventId); });
  source.addEventListener('resume', (event) => page.resumes.push({ ...JSON.parse(event.data), id: event.lastEventId }));
  await eventually('the page to be open', () => page.resumes.length === 1 || (!query.includes('kept') && source.readyState === source.OPEN));
  return page;
}

const texts = (page) => page.messages.map(({ message }) => message);

test('a page at any node gets what is published at any, each message once and in its publisher\'s order', { skip }, async (t) => {
  const { leader, followers } = await roles();
  const pages = [];
  for (const node of nodes) pages.push(await open(t, node, 'channel=kept:all'));
  for (const [name, node] of [['leader', leader], ['follower', followers[0]]]) {
    const publisher = connect(t, node);
    for (let n = 0; n < 20; n += 1) await publisher.publish('kept:all', `${name} ${n}`);
  }
  for (const page of pages) {
    await eventually('all messages', () => page.messages.length >= 40);
    for (const name of ['leader', 'follower']) {
      const own = texts(page).filter((text) => text.startsWith(name));
      assert.deepEqual(own, Array.from({ length: 20 }, (_, n) => `${name} ${n}`));
    }
  }
  // They are remembered once, and every node has them.
  for (const node of nodes) {
    const client = connect(t, node);
    assert.equal(await client.xlen('channel:kept:all'), 40);
  }
});

test('a page that comes back to its node misses nothing; at another node it is told that it may have', { skip }, async (t) => {
  const { leader, followers } = await roles();
  const publisher = connect(t, leader);
  const page = await open(t, leader, 'channel=kept:own');
  assert.equal(page.resumes[0].recovered, false);
  await publisher.publish('kept:own', 'one');
  await eventually('a message', () => page.messages.length === 1);
  page.source.close();
  await publisher.publish('kept:own', 'two');

  const again = await open(t, leader, 'channel=kept:own', page.ids[0]);
  assert.equal(again.resumes[0].recovered, true);
  await eventually('what it has missed', () => again.messages.length === 1);
  assert.deepEqual(texts(again), ['two']);

  const elsewhere = await open(t, followers[0], 'channel=kept:own', page.ids[0]);
  assert.equal(elsewhere.resumes[0].recovered, false);
  await publisher.publish('kept:own', 'three');
  await eventually('what comes now', () => elsewhere.messages.length === 1);
  assert.deepEqual(texts(elsewhere), ['three']);
  // What it has missed it can read, since keys are those of all nodes.
  const history = await connect(t, followers[0]).xrange('channel:kept:own', '-', '+');
  assert.equal(history.length, 3);
});

/** A subscriber with a name, and what it has been sent. One that its test leaves is detached, too, for as long as the window is. */
async function subscriber(t, node, name) {
  const client = connect(t, node, { connectionName: name, retryStrategy: null });
  const got = [];
  client.on('message', (channel, text) => got.push(text));
  await client.subscribe('news');
  return { client, got };
}

const detached = async (t, node) => Number(/detached_clients:(\d+)/.exec(await connect(t, node).info('clients'))[1]);

test('a subscription resumes at the node that it broke on, with what any node has published, and at no other', { skip }, async (t) => {
  const { leader, followers: [node, other] } = await roles();
  const first = await subscriber(t, node, 'phone');
  const before = await detached(t, node);
  first.client.stream.destroy();
  await eventually('the connection to be detached', async () => (await detached(t, node)) > before);
  await connect(t, leader).publish('news', 'missed');
  await connect(t, other).publish('news', 'missed, too');

  const elsewhere = await subscriber(t, other, 'phone');
  await connect(t, other).publish('news', 'now');
  await eventually('what comes now', () => elsewhere.got.length > 0);
  assert.deepEqual(elsewhere.got, ['now']);
  assert.equal(await detached(t, node), before + 1, 'another node knows nothing of it');

  const back = await subscriber(t, node, 'phone');
  await eventually('what it has missed', () => back.got.length === 3);
  assert.deepEqual(back.got.toSorted(), ['missed', 'missed, too', 'now']);
  assert.equal(await detached(t, node), before);
});

test('pages and detached subscriptions of other nodes outlive the node that leads', { skip }, async (t) => {
  const { leader, followers: [node] } = await roles();
  const page = await open(t, node, 'channel=kept:on');
  const first = await subscriber(t, node, 'tablet');
  const before = await detached(t, node);
  first.client.stream.destroy();
  await eventually('the connection to be detached', async () => (await detached(t, node)) > before);
  await leader.crash();
  const publisher = connect(t, node, { maxRetriesPerRequest: null });
  await publisher.publish('news', 'while nobody leads');
  // It is remembered, so it waits for a node that leads.
  await publisher.publish('kept:on', 'when one leads');
  await eventually('the message', () => page.messages.length === 1);
  assert.deepEqual(texts(page), ['when one leads']);
  assert.equal(page.resumes.length, 1, 'its line was not cut');
  const back = await subscriber(t, node, 'tablet');
  await eventually('what it has missed', () => back.got.length === 1);
  assert.deepEqual(back.got, ['while nobody leads']);
});
