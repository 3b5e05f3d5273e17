// Pages that chat directly: pusher-js in a real browser, on a channel of Sterna's, and a service that does nothing but sign.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import Service from 'pusher';
import Tcp from 'ioredis5';
import { TestServer, freePort } from '../clients/server.js';
import { openBrowser } from './pages.js';

const [key, secret, port] = ['app-key', 'app-secret', await freePort()];
const service = new Service({ appId: '1', key, secret, host: '127.0.0.1', port: String(port), useTLS: false });
const library = createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.min.js');

const PAGE = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>Direct</title>
<p id="status">connecting</p><p id="here"></p><ul id="said"></ul><script src="/pusher.js"></script><script>
const name = new URLSearchParams(location.search).get('name');
const pusher = new Pusher('${key}', {
  cluster: '', wsHost: '127.0.0.1', wsPort: ${port}, forceTLS: false, enabledTransports: ['ws'],
  channelAuthorization: { endpoint: '/auth?name=' + encodeURIComponent(name), transport: 'ajax' },
});
const room = pusher.subscribe('presence-room');
const show = (user, text) => {
  const line = document.createElement('li');
  line.textContent = user + ': ' + text;
  document.getElementById('said').append(line);
};
const count = () => { document.getElementById('here').textContent = room.members.count + ' here'; };
pusher.connection.bind('state_change', ({ current }) => { document.getElementById('status').textContent = current; });
window.joined = 0;
room.bind('pusher:subscription_succeeded', () => { window.joined += 1; });
for (const event of ['subscription_succeeded', 'member_added', 'member_removed']) room.bind('pusher:' + event, count);
room.bind('client-said', ({ text }, { user_id }) => show(user_id, text));
room.bind('message', (text) => show('redis', text));
window.say = (text) => { show(name, text); room.trigger('client-said', { text }); };
</script>`;

/** Serves the page and the library, and signs. */
async function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (pathname === '/pusher.js') return response.end(await readFile(library));
  if (pathname !== '/auth') return response.setHeader('content-type', 'text/html').end(PAGE);
  let body = '';
  for await (const piece of request) body += piece;
  const asked = new URLSearchParams(body);
  const user = { user_id: searchParams.get('name') };
  response.end(JSON.stringify(service.authorizeChannel(asked.get('socket_id'), asked.get('channel_name'), user)));
}

test('two pages chat directly, know of each other, and are there again when they are told to', async (t) => {
  const pages = http.createServer(serve).listen(0, '127.0.0.1');
  t.after(() => { pages.closeAllConnections(); pages.close(); });
  await once(pages, 'listening');
  const origin = `http://127.0.0.1:${pages.address().port}`;
  const server = await TestServer.start((stop) => t.after(stop), [
    '--http-port', String(port), '--pusher-app', `1 ${key} ${secret}`, '--http-allow-origin', origin,
  ]);
  const open = await openBrowser((close) => t.after(close));
  const [ada, bob] = [await open(`${origin}/?name=ada`), await open(`${origin}/?name=bob`)];
  const here = (page, text) => page.locator('#here', { hasText: text }).waitFor();
  const heard = (page, text) => page.locator('#said li', { hasText: text }).waitFor();
  await Promise.all([here(ada, '2 here'), here(bob, '2 here')]);
  await ada.evaluate(() => window.say('Hello <b>Bob</b>'));
  await heard(bob, 'ada: Hello <b>Bob</b>');
  await bob.evaluate(() => window.say('Hello Ada'));
  await heard(ada, 'bob: Hello Ada');
  assert.deepEqual(await ada.locator('#said li').allTextContents(), ['ada: Hello <b>Bob</b>', 'bob: Hello Ada']);

  const redis = new Tcp({ host: '127.0.0.1', port: server.port, password: server.password, retryStrategy: () => null });
  t.after(() => redis.disconnect());
  // They are closed, and come again to an app that takes more events.
  await redis.config('SET', 'pusher-app', `1 ${key} ${secret} client-events 20`);
  await Promise.all([ada, bob].map((page) => page.waitForFunction(() => window.joined === 2)));
  assert.equal(await redis.publish('presence-room', 'from Redis'), 2);
  await Promise.all([heard(ada, 'redis: from Redis'), heard(bob, 'redis: from Redis')]);
  await bob.close();
  await here(ada, '1 here');
});
