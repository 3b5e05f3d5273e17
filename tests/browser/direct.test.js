// Pages that chat directly: pusher-js in a real browser, on a channel of Sterna's, and a service that does nothing but sign;
// and the examples of such pages, started by the commands that their READMEs give.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import Service from 'pusher';
import Tcp from 'ioredis5';
import { Program } from '../clients/program.js';
import { DURABLE, TestServer, freePort } from '../clients/server.js';
import { layLine } from './line.js';
import { openBrowser } from './pages.js';

const open = await openBrowser(after);
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
  await Promise.all([ada, bob].map((page) => page.waitForFunction(() => window.joined > 1)));
  assert.equal(await redis.publish('presence-room', 'from Redis'), 2);
  await Promise.all([heard(ada, 'redis: from Redis'), heard(bob, 'redis: from Redis')]);
  await bob.close();
  await here(ada, '1 here');
});

/** The page of chat-direct behind a server of files, Sterna behind a line, and what makes tokens. */
async function startChat(t) {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-keys-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const port = await freePort();
  const line = await layLine(t, port);
  const files = ['python3', '-u', '-m', 'http.server', '0', '--bind', '127.0.0.1', '--directory', 'chat-direct/page'];
  const [, origin] = await Program.start((stop) => t.after(stop), { env: process.env }, files).line(/(http:[^)]+)\/\)/);
  const env = { ...process.env, KEYS: join(folder, 'keys.json'), SERVER: line.url, PAGE: origin };
  const program = fileURLToPath(new URL('../../examples/chat-direct/token.js', import.meta.url));
  const linkFor = (name, ...seconds) =>
    execFileSync('node', [program, name, ...seconds], { env, encoding: 'utf8' }).trim().split('\n').at(-1);
  linkFor('whoever makes the key');
  const server = await TestServer.start((stop) => t.after(stop), [
    ...DURABLE, '--http-port', String(port), '--http-token-keys', env.KEYS, '--http-allow-origin', origin,
    '--retain', 'room:* maxlen 200 maxage 86400',
  ]);
  return { server, line, linkFor };
}

const hasStatus = (page, text) => page.locator('#status', { hasText: text }).waitFor();
const areHere = (page, names) =>
  page.waitForFunction((text) => document.getElementById('people').textContent === text, names);
const arrived = (page, text) => page.locator('#messages li', { hasText: text }).waitFor();
const texts = (page) => page.locator('#messages .text').allTextContents();

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
  await arrived(page, text);
}

test('chat-direct: history, presence, and nothing missed when a line is cut, the server is started again, a token ends', async (t) => {
  const { server, line, linkFor } = await startChat(t);
  const [ada, bob] = [await open(linkFor('ada')), await open(linkFor('bob'))];
  await Promise.all([areHere(ada, 'ada, bob'), areHere(bob, 'ada, bob')]);
  const said = ['Hello <b>Bob</b>', 'Grüße, Ada 👋'];
  await say(ada, said[0]);
  await arrived(bob, said[0]);
  await say(bob, said[1]);
  await arrived(ada, said[1]);

  // Who comes late reads what was said, and leaves again.
  const eve = await open(linkFor('eve'));
  await arrived(eve, said[1]);
  assert.deepEqual(await texts(eve), said);
  await Promise.all([areHere(ada, 'ada, bob, eve'), areHere(eve, 'ada, bob, eve')]);
  for (const page of [ada, bob, eve]) assert.deepEqual(page.faults, []);
  await eve.goto('about:blank');
  await areHere(ada, 'ada, bob');

  let redis;
  const connect = () => {
    redis?.disconnect();
    redis = new Tcp(server.plainUrl);
  };
  t.after(() => redis.disconnect());
  const publish = async (text) => {
    await redis.publish('room:lobby', JSON.stringify({ name: 'redis', text, at: Date.now() }));
    said.push(text);
  };
  connect();
  line.cut();
  await Promise.all([hasStatus(ada, 'reconnecting'), hasStatus(bob, 'reconnecting')]);
  await publish('while the line was cut');
  line.mend();
  await Promise.all([arrived(ada, said.at(-1)), arrived(bob, said.at(-1))]);

  await publish('before it was started again');
  await server.restart();
  connect();
  await publish('after it was');
  await Promise.all([arrived(ada, said.at(-1)), arrived(bob, said.at(-1))]);

  // A token that ends soon, and the next one, which is pasted.
  const carol = await open(linkFor('carol', '2'));
  await hasStatus(carol, 'token ended');
  await publish('while no token was valid');
  await carol.getByLabel('Your token has ended').fill(linkFor('carol'));
  await carol.keyboard.press('Enter');
  await hasStatus(carol, 'connected');
  await hasStatus(ada, 'connected');
  await say(ada, 'That was all');
  said.push('That was all');
  for (const page of [ada, bob, carol]) {
    await arrived(page, 'That was all');
    assert.deepEqual(await texts(page), said);
    assert.equal(await page.locator('.gap').count(), 0);
  }
});

test('laravel-echo: who is here, what is said, who is typing, and again after the server was started anew', async (t) => {
  const [port, own] = [await freePort(), await freePort()];
  const origin = `http://127.0.0.1:${own}`;
  const server = await TestServer.start((stop) => t.after(stop), [
    '--http-port', String(port), '--http-allow-origin', origin, '--pusher-app', `1 ${key} ${secret}`,
  ]);
  const program = Program.start((stop) => t.after(stop), server, ['node', 'laravel-echo/server.js'], {
    PORT: String(own), PUSHER_PORT: String(port),
  });
  await program.line(/the page is on/);
  const [ada, bob] = [await open(`${origin}/?name=ada`), await open(`${origin}/?name=bob`)];
  await Promise.all([areHere(ada, 'ada, bob'), areHere(bob, 'ada, bob')]);
  // It is shown for some seconds only, so it is looked for from before.
  const shown = bob.getByText('ada is typing…').waitFor();
  await ada.getByLabel('Message', { exact: true }).pressSequentially('Hi');
  await shown;
  await ada.keyboard.press('Enter');
  await arrived(bob, 'Hi');
  await say(bob, '<i>Hello</i> Ada');
  await arrived(ada, '<i>Hello</i> Ada');
  for (const page of [ada, bob]) {
    assert.deepEqual(await page.locator('#messages li').allTextContents(), ['adaHi', 'bob<i>Hello</i> Ada']);
    assert.deepEqual(page.faults, []);
  }
  await server.restart();
  const eve = await open(`${origin}/?name=eve`);
  await Promise.all([ada, bob, eve].map((page) => areHere(page, 'ada, bob, eve')));
  await say(ada, 'after that');
  await arrived(bob, 'after that');
  await bob.close();
  await areHere(ada, 'ada, eve');
});
