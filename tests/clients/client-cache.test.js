// Client-side caching: the caches that node-redis brings, and one made of ioredis or iovalkey and two connections.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, test } from 'node:test';
import Redis5 from 'ioredis5';
import Redis6 from 'ioredis6';
import Valkey from 'iovalkey';
import * as redis5 from 'redis5';
import * as redis6 from 'redis6';
import { NODES, ask } from './nodes.js';
import { TestServer } from './server.js';

const server = await TestServer.start(after);

/** How often GET was executed: each node of several counts what it has executed itself. */
async function getsRun() {
  const stats = await Promise.all(server.nodes.map((node) => ask(node, 'INFO', 'commandstats')));
  return [...stats.join('').matchAll(/^cmdstat_get:calls=(\d+)/gm)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

for (const [title, library] of [['node-redis 5', redis5], ['node-redis 6', redis6]]) {
  describe(`${title}'s client cache`, () => {
    const connect = async (t, more = {}) => {
      const client = library.createClient({ url: server.url, socket: { tls: true, ca: server.ca }, RESP: 3, ...more });
      client.on('error', () => {});
      t.after(() => client.isOpen && client.destroy());
      return client.connect();
    };
    const start = async (t) => {
      const cache = new library.BasicClientSideCache();
      const [cached, other] = [await connect(t, { clientSideCache: cache }), await connect(t)];
      await other.flushAll();
      return { cache, cached, other };
    };

    test('a value is asked for once, and again when somebody has changed it', async (t) => {
      const { cache, cached, other } = await start(t);
      await other.mSet({ k: 'one', '{k}still': 'here' });
      assert.deepEqual([await cached.get('k'), await cached.get('{k}still')], ['one', 'here']);
      const before = await getsRun();
      for (let round = 0; round < 10; round += 1) assert.equal(await cached.get('k'), 'one');
      assert.equal(await getsRun(), before, 'the server is not asked');

      const changed = once(cache, 'invalidate');
      await other.set('k', 'two');
      assert.equal(String(await changed), 'k');
      assert.equal(await cached.get('k'), 'two');
      assert.equal(await cached.get('{k}still'), 'here');
      assert.equal(await getsRun(), before + 1, 'only the changed key is asked for');
    });

    test('deleting, expiring, emptying and writing by itself end a copy as well', async (t) => {
      const { cache, cached, other } = await start(t);
      for (const [change, then] of [
        [() => other.del('k'), null],
        [() => other.pExpire('k', 1), null],
        [() => other.multi().set('{k}other', 'x').set('k', 'new').exec(), 'new'],
        [() => cached.set('k', 'own'), 'own'],
        [() => other.flushAll(), null],
      ]) {
        await other.set('k', 'old');
        // The change before this one may have been told of twice: once when it was made, once for this line.
        while ((await cached.get('k')) !== 'old') await once(cache, 'invalidate');
        await change();
        while ((await cached.get('k')) !== then) await once(cache, 'invalidate');
      }
    });

    test('what is read and never changed is never told of', async (t) => {
      const { cache, cached, other } = await start(t);
      await other.set('k', 'v');
      await cached.get('k');
      const told = [];
      cache.on('invalidate', (key) => told.push(String(key)));
      await other.set('unread', 'x');
      await other.set('k', 'w');
      while (told.length === 0) await once(cache, 'invalidate');
      await other.set('k', 'x');
      await cached.ping();
      assert.deepEqual(told, ['k']);
    });
  });
}

for (const [title, Client, forListener = {}] of [
  ['ioredis 5', Redis5],
  // In RESP3 ioredis 6 passes over pushes that it doesn't know, so the listener is to speak RESP2.
  ['ioredis 6', Redis6, { protocol: 2 }],
  ['iovalkey', Valkey],
]) {
  describe(`a cache made of ${title} and a redirection`, { skip: NODES > 1 && 'one of several nodes refuses REDIRECT' }, () => {
    const connect = async (t, more = {}) => {
      const client = new Client(server.url, { tls: { ca: server.ca }, ...more });
      client.on('error', () => {});
      t.after(() => client.disconnect());
      await once(client, 'ready');
      return client;
    };
    /** A reader, whose copies are ended by what a second connection hears. */
    const start = async (t, ...options) => {
      const [reader, listener, other] = [await connect(t), await connect(t, forListener), await connect(t)];
      await other.flushall();
      const id = await listener.client('ID');
      const told = [];
      let wake = () => {};
      listener.on('message', (channel, keys) => { told.push([channel, keys]); wake(); });
      await listener.subscribe('__redis__:invalidate');
      assert.equal(await reader.client('TRACKING', 'ON', 'REDIRECT', id, ...options), 'OK');
      assert.equal(await reader.client('GETREDIR'), id);
      const until = async (count) => {
        while (told.length < count) await new Promise((settle) => { wake = settle; });
        return told.map(([channel, keys]) => {
          assert.equal(channel, '__redis__:invalidate');
          return keys;
        });
      };
      return { reader, other, until, told };
    };

    test('keys that were read are told of once, others never', async (t) => {
      const { reader, other, until } = await start(t);
      await reader.mget('a', 'b');
      await other.mset('unread', 1, 'a', 1);
      await other.set('a', 2);
      await other.set('b', 1);
      assert.deepEqual(await until(2), ['a', 'b']);
      await reader.get('a');
      await other.flushall();
      assert.deepEqual(await until(3), ['a', 'b', ''], 'null: everything');
      await reader.set('a', 1);
      await other.set('b', 1);
      await reader.get('b');
      await other.set('b', 2);
      assert.deepEqual(await until(4), ['a', 'b', '', 'b']);
    });

    test('broadcasting tells of everything under a prefix', async (t) => {
      const { reader, other, until } = await start(t, 'BCAST', 'PREFIX', 'user:');
      await other.set('item:1', 1);
      await other.set('user:1', 1);
      await until(1);
      await other.mset('user:3', 1, 'user:2', 1, 'use', 1);
      assert.deepEqual(await until(2), ['user:1', 'user:2,user:3']);
      assert.equal(await reader.client('TRACKING', 'OFF'), 'OK');
      await other.set('user:1', 2);
      await reader.client('TRACKING', 'ON', 'REDIRECT', await reader.client('ID'), 'BCAST');
      assert.equal((await until(2)).length, 2);
    });
  });
}
