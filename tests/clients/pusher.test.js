// pusher-js, Laravel Echo, and Pusher's SDK for Node, as they are in a page and a service.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, test } from 'node:test';
import Echo from 'laravel-echo';
import Service from 'pusher';
import Pusher from 'pusher-js';
import Tcp from 'ioredis5';
import { IS_STERNA, TestServer, freePort } from './server.js';

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';
const port = await freePort();
const [key, secret] = ['app-key', 'app-secret'];
const server = skip ? undefined : await TestServer.start(after, [
  '--http-port', String(port), '--pusher-app', `1 ${key} ${secret}`,
]);
const service = new Service({ appId: '1', key, secret, host: '127.0.0.1', port: String(port), useTLS: false });

/** A page whose user is `id`; it is closed after the test. */
function open(t, id) {
  const user = { id, user_id: id, user_info: { name: `user ${id}` } };
  const page = new Pusher(key, {
    cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) =>
        done(null, service.authorizeChannel(socketId, channelName, channelName.startsWith('presence-') ? user : undefined)),
    },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, service.authenticateUser(socketId, user)) },
  });
  t.after(() => page.disconnect());
  return page;
}

/** The data of the next event of this name. */
const next = (source, event) => new Promise((done) => {
  const once = (data) => { source.unbind(event, once); done(data); };
  source.bind(event, once);
});

async function join(page, name) {
  const channel = page.subscribe(name);
  if (!channel.subscribed) await next(channel, 'pusher:subscription_succeeded');
  return channel;
}

describe('pusher-js and the SDK for Node', { skip }, () => {
  test('a channel is one for pages, services and Redis', async (t) => {
    const redis = new Tcp({ host: '127.0.0.1', port: server.port, password: server.password });
    t.after(() => redis.disconnect());
    const [one, other] = await Promise.all([join(open(t, '1'), 'news'), join(open(t, '2'), 'news')]);
    let heard = [next(one, 'sold'), next(other, 'sold')];
    await service.trigger('news', 'sold', { item: 7 });
    assert.deepEqual(await Promise.all(heard), [{ item: 7 }, { item: 7 }]);
    heard = [next(one, 'message'), next(other, 'e')];
    assert.equal(await redis.publish('news', 'plain'), 2);
    assert.equal(await redis.publish('news', '{"event":"e","data":[1]}'), 2);
    assert.deepEqual(await Promise.all(heard), ['plain', [1]]);
    heard = [next(one, 'one'), next(other, 'two')];
    await service.triggerBatch([
      { channel: 'news', name: 'one', data: 'text' }, { channel: 'news', name: 'two', data: { a: 1 } },
    ]);
    assert.deepEqual(await Promise.all(heard), ['text', { a: 1 }]);
    const told = await service.get({ path: '/channels/news', params: { info: 'subscription_count' } });
    assert.deepEqual(await told.json(), { occupied: true, subscription_count: 2 });
    await assert.rejects(service.trigger('news', 'long', 'x'.repeat(10241)), (error) => error.status === 413);
    const wrong = new Service({ appId: '1', key, secret: 'other', host: '127.0.0.1', port: String(port), useTLS: false });
    await assert.rejects(wrong.trigger('news', 'e', 1), (error) => error.status === 401);
  });

  test('pages speak to each other, and know who is there', async (t) => {
    const [ada, bob] = [await join(open(t, 'ada'), 'presence-room'), await join(open(t, 'bob'), 'presence-room')];
    assert.deepEqual([bob.members.count, bob.members.me.id, bob.members.get('ada').info.name], [2, 'bob', 'user ada']);
    const heard = new Promise((done) => ada.bind('client-typed', (data, more) => done([data, more.user_id])));
    bob.trigger('client-typed', { text: 'hi' });
    assert.deepEqual(await heard, [{ text: 'hi' }, 'bob']);
    const users = await service.get({ path: '/channels/presence-room/users' });
    assert.deepEqual(await users.json(), { users: [{ id: 'ada' }, { id: 'bob' }] });
    const left = next(ada, 'pusher:member_removed');
    bob.pusher.disconnect();
    assert.equal((await left).id, 'bob');
    assert.equal(ada.members.count, 1);
  });

  test('an encrypted channel is read by its members alone, and a cache channel tells the last event', async (t) => {
    const master = Buffer.alloc(32, 7).toString('base64');
    const sealed = new Service({
      appId: '1', key, secret, host: '127.0.0.1', port: String(port), useTLS: false, encryptionMasterKeyBase64: master,
    });
    await service.trigger('cache-price', 'price', { eur: 5 });
    const page = open(t, '1');
    const channel = page.subscribe('cache-price');
    assert.deepEqual(await next(channel, 'price'), { eur: 5 });
    await next(page.subscribe('private-cache-none'), 'pusher:cache_miss');
    const redis = new Tcp({ host: '127.0.0.1', port: server.port, password: server.password });
    t.after(() => redis.disconnect());
    await redis.subscribe('private-encrypted-a');
    const seen = once(redis, 'message');
    await sealed.trigger('private-encrypted-a', 'secret', { text: 'hidden' });
    const [, text] = await seen;
    assert.ok(text.includes('ciphertext') && !text.includes('hidden'), text);
  });

  test('a user who has signed in is reached', async (t) => {
    const page = open(t, '7');
    page.signin();
    await page.user.signinDonePromise;
    await next(page.user.serverToUserChannel, 'pusher:subscription_succeeded');
    const heard = next(page.user, 'greeting');
    await service.sendToUser('7', 'greeting', { text: 'hi' });
    assert.deepEqual(await heard, { text: 'hi' });
    // Without a page of his: the library keeps a timer of 30 seconds for each page that is sent away.
    const answer = await service.terminateUserConnections('8');
    assert.equal(answer.status, 200);
  });

  test('a page that was closed to come again is there again with its channels', async (t) => {
    const redis = new Tcp({ host: '127.0.0.1', port: server.port, password: server.password });
    t.after(() => redis.disconnect());
    const page = open(t, '1');
    const channel = await join(page, 'news');
    const again = next(channel, 'pusher:subscription_succeeded');
    await redis.config('SET', 'pusher-app', `1 ${key} ${secret} client-events 20`);
    await again;
    // Those of the tests before may be noticed to have left only now.
    while (Number((await redis.pubsub('NUMSUB', 'news'))[1]) !== 1);
    const heard = next(channel, 'e');
    assert.equal(await redis.publish('news', '{"event":"e","data":1}'), 1);
    assert.equal(await heard, 1);
  });
});

describe('Laravel Echo', { skip }, () => {
  test('channels, whispers and presence are as in its documentation', async (t) => {
    const echo = (id) => new Echo({ broadcaster: 'pusher', key, cluster: '', client: open(t, id) });
    const [ada, bob] = [echo('ada'), echo('bob')];
    const joined = new Promise((done) => {
      ada.join('hall').here((users) => {
        if (users.length === 1) bob.join('hall');
      }).joining((user) => done(user.name));
    });
    assert.equal(await joined, 'user bob');
    const order = new Promise((done) => ada.channel('orders').subscribed(done));
    await order;
    const shipped = new Promise((done) => ada.channel('orders').listen('.shipped', done));
    await service.trigger('orders', 'shipped', { id: 5 });
    assert.deepEqual(await shipped, { id: 5 });
    const [one, other] = [ada, bob].map((side) => side.private('chat'));
    await Promise.all([one, other].map((channel) => new Promise((done) => channel.subscribed(done))));
    const whispered = new Promise((done) => other.listenForWhisper('typing', done));
    one.whisper('typing', { name: 'ada' });
    assert.deepEqual(await whispered, { name: 'ada' });
    const leaving = new Promise((done) => ada.join('hall').leaving((user) => done(user.name)));
    bob.leave('hall');
    assert.equal(await leaving, 'user bob');
  });
});
