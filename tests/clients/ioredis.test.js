// ioredis 5 and 6 and its Valkey twin: the same program on each.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, beforeEach, describe, test } from 'node:test';
import Redis5 from 'ioredis5';
import Redis6 from 'ioredis6';
import Valkey from 'iovalkey';
import { TestServer } from './server.js';

const server = await TestServer.start(after);
const admin = new Redis5(server.plainUrl);
admin.on('error', () => {});
after(() => admin.disconnect());

// Counts of subscribers are those of the test at hand when those of the tests before are gone.
beforeEach(async () => { while ((await admin.client('LIST', 'TYPE', 'pubsub')).trim()); });

for (const [title, Client, options] of [
  ['ioredis 5', Redis5, {}],
  ['ioredis 6, RESP3', Redis6, {}],
  ['ioredis 6, RESP2', Redis6, { protocol: 2 }],
  ['iovalkey', Valkey, {}],
]) {
  const connect = (t, { url = server.url, ...more } = {}) => {
    const client = new Client(url, { tls: { ca: server.ca }, ...options, ...more });
    client.errors = [];
    client.on('error', (error) => client.errors.push(error));
    t.after(() => client.disconnect());
    return client;
  };

  describe(title, () => {
    test('the handshake sets a name, and the ready check passes', async (t) => {
      const client = connect(t, { connectionName: 'named' });
      await once(client, 'ready');
      assert.equal(await client.client('GETNAME'), 'named');
      assert.equal(await client.ping(), 'PONG');
      assert.deepEqual(client.errors, []);
    });

    test('a wrong password is WRONGPASS, an untrusted certificate no connection', async (t) => {
      const wrong = connect(t, { url: server.urlWith('guess'), retryStrategy: null });
      await assert.rejects(wrong.ping());
      assert.match(String(wrong.errors[0]?.message), /WRONGPASS/);
      const untrusting = connect(t, { tls: {}, retryStrategy: null });
      await assert.rejects(untrusting.ping());
      assert.match(String(untrusting.errors[0]?.code), /SELF_SIGNED|UNABLE_TO_VERIFY/);
    });

    test('channels and patterns: each message once per subscription, binary safe', async (t) => {
      const [subscriber, publisher] = [connect(t), connect(t)];
      const heard = [];
      subscriber.on('messageBuffer', (channel, message) => heard.push([channel.toString(), message]));
      subscriber.on('pmessageBuffer', (pattern, channel, message) =>
        heard.push([pattern.toString(), channel.toString(), message]));
      assert.equal(await subscriber.subscribe('a', 'b'), 2);
      assert.equal(await subscriber.psubscribe('a*'), 3);
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const last = once(subscriber, 'message');
      assert.equal(await publisher.publish('a', bytes), 2);
      assert.equal(await publisher.publish('c', 'nobody'), 0);
      assert.equal(await publisher.publish('b', 'last'), 1);
      await last;
      while (heard.length < 3) await once(subscriber, 'messageBuffer');
      assert.deepEqual(heard, [['a', bytes], ['a*', 'a', bytes], ['b', Buffer.from('last')]]);
    });

    test('unsubscribing: by name, and the last one settles without a name too', async (t) => {
      const [subscriber, publisher] = [connect(t), connect(t)];
      await subscriber.subscribe('a', 'b');
      assert.equal(await subscriber.unsubscribe('a'), 1);
      assert.equal(await publisher.publish('a', 'x'), 0);
      assert.equal(await subscriber.unsubscribe(), 0);
      assert.equal(await publisher.publish('b', 'x'), 0);
      // An ordinary connection again.
      assert.equal(await subscriber.get('nothing'), null);
    });

    test('sharded channels', async (t) => {
      const [subscriber, publisher] = [connect(t), connect(t)];
      const heard = once(subscriber, 'smessage');
      await subscriber.ssubscribe('s');
      assert.equal(await publisher.publish('s', 'another space'), 0);
      assert.equal(await publisher.spublish('s', 'hello'), 1);
      assert.deepEqual(await heard, ['s', 'hello']);
    });

    test('a pipeline and a transaction answer in order', async (t) => {
      const client = connect(t);
      assert.deepEqual(await client.pipeline().set('p', '1').incr('p').get('p').publish('none', 'x').exec(), [
        [null, 'OK'], [null, 2], [null, '2'], [null, 0],
      ]);
      assert.deepEqual(await client.multi().set('m', '1').get('m').exec(), [[null, 'OK'], [null, '1']]);
    });

    test('killed while subscribed, it comes back with its subscriptions', async (t) => {
      const [subscriber, publisher] = [connect(t, { connectionName: 'victim' }), connect(t)];
      await subscriber.subscribe('a');
      await subscriber.psubscribe('p*');
      const clients = await publisher.client('LIST', 'TYPE', 'pubsub');
      const [, id] = /^id=(\d+) .* name=victim /m.exec(clients);
      const back = once(subscriber, 'ready');
      assert.equal(await publisher.client('KILL', 'ID', id), 1);
      await back;
      const heard = [once(subscriber, 'message'), once(subscriber, 'pmessage')];
      // Asked again, each confirmation follows the one that the client sent by itself.
      await subscriber.subscribe('a');
      await subscriber.psubscribe('p*');
      assert.equal(await publisher.publish('a', 'one'), 1);
      assert.equal(await publisher.publish('pp', 'two'), 1);
      assert.deepEqual(await Promise.all(heard), [['a', 'one'], ['p*', 'pp', 'two']]);
    });

    test('quit() resolves, on a subscriber too', async (t) => {
      const client = connect(t);
      await client.subscribe('a');
      const ended = once(client, 'end');
      assert.equal(await client.quit(), 'OK');
      await ended;
    });
  });
}
