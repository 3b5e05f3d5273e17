// @upstash/redis, the client of edge functions that have no TCP, against the HTTP port.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Redis } from '@upstash/redis';
import Tcp from 'ioredis5';
import { IS_STERNA, TestServer, freePort } from './server.js';

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';
const port = await freePort();
const server = skip ? undefined : await TestServer.start(after, ['--http-port', String(port)]);

const client = (more = {}) => new Redis({
  url: `http://127.0.0.1:${port}`, token: server.password, enableTelemetry: false, ...more,
});

describe('@upstash/redis', { skip }, () => {
  test('values of every type come back as they were', async () => {
    const redis = client();
    await redis.flushall();
    assert.equal(await redis.set('text', 'héllo\n"x"'), 'OK');
    assert.equal(await redis.get('text'), 'héllo\n"x"');
    assert.equal(await redis.set('object', { a: [1, null, 'x'] }, { exat: 4_000_000_000, nx: true }), 'OK');
    assert.deepEqual(await redis.get('object'), { a: [1, null, 'x'] });
    assert.equal(await redis.set('object', 'other', { nx: true }), null);
    assert.ok(await redis.ttl('object') > 1_000_000_000);
    assert.equal(await redis.get('none'), null);
    assert.equal(await redis.incrby('n', 41) + await redis.exists('n', '{n}none'), 42);
    assert.equal(await redis.hset('hash', { name: 'x', tags: ['a', 'b'] }), 2);
    assert.deepEqual(await redis.hgetall('hash'), { name: 'x', tags: ['a', 'b'] });
    assert.equal(await redis.zadd('board', { score: 1.5, member: 'a' }, { score: 2, member: 'b' }), 2);
    assert.deepEqual(await redis.zrange('board', 0, -1, { rev: true, withScores: true }), ['b', 2, 'a', 1.5]);
    assert.equal(await redis.rpush('list', 'a', { b: 1 }), 2);
    assert.deepEqual(await redis.lrange('list', 0, -1), ['a', { b: 1 }]);
    assert.equal(await redis.type('list'), 'list');
    assert.deepEqual(await redis.mget('text', '{text}none'), ['héllo\n"x"', null]);
    const [next, keys] = await redis.scan(0, { match: 'h*', count: 100 });
    assert.deepEqual([Number(next), keys], [0, ['hash']]);
    assert.equal(await redis.ping(), 'PONG');
  });

  test('streams, scripts, and values without base64', async () => {
    const redis = client({ responseEncoding: false });
    await redis.flushall();
    const id = await redis.xadd('s', '*', { item: '7' });
    assert.deepEqual(await redis.xrange('s', '-', '+'), { [id]: { item: 7 } });
    assert.equal(await redis.eval('return ARGV[1] .. KEYS[1]', ['k'], ['a']), 'ak');
    const script = redis.createScript('return {1, "two", false}');
    assert.deepEqual(await script.exec([], []), [1, 'two', null]);
    assert.equal(await redis.set('k', 'OK'), 'OK');
    assert.equal(await redis.get('k'), 'OK');
  });

  test('pipelines and transactions answer in order, and errors name their command', async () => {
    const redis = client();
    await redis.flushall();
    const pipeline = redis.pipeline().set('a', 1).incr('a').get('none').hset('h', { x: 1 });
    assert.deepEqual(await pipeline.exec(), ['OK', 2, null, 1]);
    assert.deepEqual(await redis.multi().incr('a').lrange('l', 0, -1).exec(), [3, []]);
    await assert.rejects(redis.multi().incr('a').lpush('a', 'x').exec(), /Command 2 \[ lpush \] failed: WRONGTYPE/);
    assert.equal(await redis.get('a'), 4);
    await assert.rejects(redis.lpush('a', 'x'), /WRONGTYPE/);
    await assert.rejects(client({ token: 'wrong', retry: false }).get('a'), /WRONGPASS/);
    // Commands that are sent one by one are joined to a pipeline by the client itself.
    const joined = client({ enableAutoPipelining: true });
    assert.deepEqual(await Promise.all([joined.incr('b'), joined.incr('b'), joined.get('a')]), [1, 2, 4]);
  });

  test('a subscription gets what any client publishes', async (t) => {
    const redis = client();
    const subscriber = redis.subscribe(['news', 'other']);
    const patterns = redis.psubscribe('n*');
    t.after(() => Promise.all([subscriber.unsubscribe(), patterns.unsubscribe()]));
    const [messages, matched] = [[], []];
    subscriber.on('message', ({ channel, message }) => messages.push([channel, message]));
    patterns.on('pmessage', ({ pattern, channel, message }) => matched.push([pattern, channel, message]));
    const tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    while (await tcp.publish('news', '"ready"') < 2 || await tcp.publish('other', '"ready"') < 1) await tick();
    await redis.publish('news', { from: 'http', n: 1 });
    await tcp.publish('news', JSON.stringify({ from: 'tcp', n: 2 }));
    await until(() => matched.length > 0 && messages.length > 0 && JSON.stringify(messages).includes('tcp')
      && JSON.stringify(matched).includes('tcp'));
    const real = (list) => list.map((entry) => entry.at(-1)).filter((message) => message !== 'ready');
    assert.deepEqual(real(messages), [{ from: 'http', n: 1 }, { from: 'tcp', n: 2 }]);
    assert.deepEqual(real(matched), [{ from: 'http', n: 1 }, { from: 'tcp', n: 2 }]);
  });

  test('a user of ACL is named by the token', async (t) => {
    const tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    await tcp.call('ACL', 'SETUSER', 'edge', 'on', '>pw', '+get', '+set', '~edge:*');
    const redis = client({ token: 'edge:pw', retry: false });
    assert.equal(await redis.set('edge:k', 'v'), 'OK');
    await assert.rejects(redis.set('k', 'v'), /NOPERM/);
    await assert.rejects(redis.del('edge:k'), /NOPERM/);
  });
});

const tick = () => new Promise((settle) => { setTimeout(settle, 10); });

async function until(isSo) {
  const deadline = Date.now() + 60_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error('it has not come about');
    await tick();
  }
}
