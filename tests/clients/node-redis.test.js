// node-redis 5 and 6, each in RESP2 and RESP3.
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import * as redis5 from 'redis5';
import * as redis6 from 'redis6';
import { TestServer } from './server.js';

const server = await TestServer.start(after);
const admin = redis5.createClient({ url: server.plainUrl });
admin.on('error', () => {});
await admin.connect();
after(() => admin.destroy());

// Counts of subscribers are those of the test at hand when those of the tests before are gone.
beforeEach(async () => { while ((await admin.sendCommand(['CLIENT', 'LIST', 'TYPE', 'pubsub'])).trim()); });

/** Collects calls of a listener; `until` waits for a number of them. */
function collector() {
  const heard = [];
  let wake = () => {};
  const listener = (message, channel) => { heard.push([channel, message]); wake(); };
  const until = async (count) => {
    while (heard.length < count) await new Promise((settle) => { wake = settle; });
    return heard;
  };
  return { listener, heard, until };
}

for (const [title, { createClient }] of [['node-redis 5', redis5], ['node-redis 6', redis6]]) {
  for (const RESP of [2, 3]) {
    const connect = async (t, more = {}) => {
      const client = createClient({ url: server.url, socket: { tls: true, ca: server.ca }, RESP, ...more });
      client.on('error', () => {});
      t.after(() => client.isOpen && client.destroy());
      return client.connect();
    };

    describe(`${title}, RESP${RESP}`, () => {
      test('the handshake: password, name, library', async (t) => {
        const client = await connect(t, { name: 'named' });
        assert.equal(await client.clientGetName(), 'named');
        const { name, user } = await client.clientInfo();
        assert.deepEqual([name, user], ['named', 'default']);
        assert.equal(await client.ping(), 'PONG');
      });

      test('a wrong password is refused', async (t) => {
        const socket = { tls: true, ca: server.ca, reconnectStrategy: false };
        await assert.rejects(connect(t, { url: server.urlWith('guess'), socket }), /WRONGPASS/);
      });

      test('channels, patterns and sharded channels', async (t) => {
        const [subscriber, publisher] = [await connect(t), await connect(t)];
        const { listener, heard, until } = collector();
        await subscriber.subscribe(['a', 'b'], listener);
        await subscriber.pSubscribe('a*', listener);
        await subscriber.sSubscribe('s', listener);
        assert.equal(await publisher.publish('a', 'one'), 2);
        assert.equal(await publisher.publish('s', 'nobody'), 0);
        assert.equal(await publisher.publish('b', 'two'), 1);
        assert.equal(await publisher.sPublish('s', 'three'), 1);
        await until(4);
        assert.deepEqual(heard, [['a', 'one'], ['a', 'one'], ['b', 'two'], ['s', 'three']]);

        await subscriber.unsubscribe('a');
        assert.equal(await publisher.publish('a', 'four'), 1);
        await subscriber.pUnsubscribe('a*');
        assert.equal(await publisher.publish('a', 'five'), 0);
        await subscriber.sUnsubscribe('s');
        assert.equal(await publisher.sPublish('s', 'six'), 0);
        await until(5);
        assert.deepEqual(heard.slice(4), [['a', 'four']]);
        await subscriber.unsubscribe();
      });

      test('binary messages arrive as they were sent', async (t) => {
        const [subscriber, publisher] = [await connect(t), await connect(t)];
        const { listener, until } = collector();
        const bytes = Buffer.from([0, 13, 10, 255, 42, 36, 10]);
        await subscriber.subscribe('bytes', listener, true);
        await publisher.publish('bytes', bytes);
        assert.deepEqual((await until(1))[0], [Buffer.from('bytes'), bytes]);
      });

      if (RESP === 3) {
        test('one connection subscribes and runs commands', async (t) => {
          const client = await connect(t);
          const { listener, until } = collector();
          await client.subscribe('a', listener);
          await client.set('key', 'value');
          assert.equal(await client.get('key'), 'value');
          assert.equal(await client.publish('a', 'to myself'), 1);
          assert.deepEqual(await until(1), [['a', 'to myself']]);
        });
      }

      test('PUBSUB', async (t) => {
        const [subscriber, client] = [await connect(t), await connect(t)];
        await subscriber.subscribe('seen', () => {});
        await subscriber.pSubscribe('p*', () => {});
        assert.deepEqual(await client.pubSubChannels('se*'), ['seen']);
        assert.deepEqual({ ...(await client.pubSubNumSub(['seen', 'not'])) }, { seen: 1, not: 0 });
        assert.ok((await client.pubSubNumPat()) >= 1);
      });

      test('MULTI answers in order', async (t) => {
        const client = await connect(t);
        assert.deepEqual(await client.multi().set('m', '1').incr('m').get('m').exec(), ['OK', 2, '2']);
      });

      test('killed while subscribed, it comes back with its subscriptions', async (t) => {
        const name = `victim-${title.at(-1)}-${RESP}`;
        const [subscriber, publisher] = [await connect(t, { name }), await connect(t)];
        const { listener, until } = collector();
        await subscriber.subscribe('back', listener);
        const victim = (await publisher.clientList()).find((client) => client.name === name);
        const ready = new Promise((settle) => subscriber.once('ready', settle));
        assert.equal(await publisher.sendCommand(['CLIENT', 'KILL', 'ID', String(victim.id)]), 1);
        await ready;
        assert.equal(await publisher.publish('back', 'again'), 1);
        assert.deepEqual(await until(1), [['back', 'again']]);
      });

      test('close() waits for what is under way', async () => {
        const client = createClient({ url: server.url, socket: { tls: true, ca: server.ca }, RESP });
        await client.connect();
        const answer = client.echo('last words');
        await client.close();
        assert.equal(await answer, 'last words');
        assert.equal(client.isOpen, false);
      });
    });
  }
}
