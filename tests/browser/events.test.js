// A page that listens to the server itself, in a real browser: its line is cut, the server is started again, its token ends.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, test } from 'node:test';
import Tcp from 'ioredis5';
import { DURABLE, IS_STERNA, TestServer, freePort } from '../clients/server.js';
import { layLine } from './line.js';
import { openBrowser } from './pages.js';

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';

/** Listens, and keeps what it hears; `at` says where, and gives a new address when one is refused. */
const PAGE = `<!doctype html><title>listening</title><script>
  window.messages = [];
  window.resumes = [];
  let lastId = '';
  window.listen = async (next) => {
    const source = new EventSource(await next(lastId));
    window.source = source;
    const take = (list) => (event) => { lastId = event.lastEventId; list.push(JSON.parse(event.data)); };
    source.onmessage = take(window.messages);
    source.addEventListener('resume', take(window.resumes));
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(() => window.listen(next), 100); };
  };
</script>`;

/** Serves the page; answers its origin. */
async function servePage(t) {
  const pages = http.createServer((_, answer) => answer.end(PAGE)).listen(0, '127.0.0.1');
  await once(pages, 'listening');
  t.after(() => pages.close());
  return `http://127.0.0.1:${pages.address().port}`;
}

test('a page misses nothing when its line is cut, the server is started again, or its token ends', { skip }, async (t) => {
  const origin = await servePage(t);
  const port = await freePort();
  const server = await TestServer.start(after, [
    ...DURABLE, '--http-port', String(port), '--http-allow-origin', origin, '--retain', 'news',
  ]);
  const secret = randomBytes(32);
  const keys = join(server.folder, 'keys.json');
  writeFileSync(keys, JSON.stringify({ kty: 'oct', k: secret.toString('base64url') }));
  let tcp = new Tcp(server.plainUrl);
  t.after(() => tcp.disconnect());
  await tcp.config('SET', 'http-token-keys', keys);
  const line = await layLine(t, port);
  const open = await openBrowser(after);
  const page = await open(origin);
  await page.exposeFunction('at', (lastId) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = { exp: Math.floor(Date.now() / 1000) + 4, channels: ['news'], streams: ['orders'] };
    const message = `${part({ alg: 'HS256' })}.${part(claims)}`;
    const token = `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
    return `${line.url}/v1/events?channel=news&stream=orders&last_event_id=${lastId}&_token=${token}`;
  });
  await page.evaluate(() => window.listen(window.at));
  await page.waitForFunction(() => window.resumes.length > 0);
  const sent = [];
  const say = async (text) => { await tcp.publish('news', text); sent.push(text); };
  const heard = () => page.waitForFunction((last) => window.messages.at(-1)?.message === last, sent.at(-1));
  await say('first');
  await heard();
  line.cut();
  await say('while it was cut');
  line.mend();
  await say('after that');
  await heard();
  await say('before it was started again');
  await server.restart();
  tcp.disconnect();
  tcp = new Tcp(server.plainUrl);
  await tcp.config('SET', 'http-token-keys', keys);
  await say('after it was');
  await heard();
  // A token ends meanwhile.
  const before = await page.evaluate(() => window.resumes.length);
  for (let n = 0; await page.evaluate(() => window.resumes.length) < before + 1; n++) {
    await say(`while a token ends: ${n}`);
    await new Promise((settle) => { setTimeout(settle, 50); });
  }
  await say('last');
  await heard();
  assert.deepEqual(await page.evaluate(() => window.messages.map(({ message }) => message)), sent);
  const recovered = await page.evaluate(() => window.resumes.map((resume) => resume.recovered));
  assert.deepEqual(recovered, [false, ...recovered.slice(1).fill(true)]);
});
