// The dashboard in a real browser: who gets in, its figures against INFO, tails, groups, and a server that goes and comes back.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import Tcp from 'ioredis5';
import { IS_STERNA, TestServer, freePort } from '../clients/server.js';
import { openBrowser } from './pages.js';

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';
/** Where pictures go, if somebody wants to see them. */
const PICTURES = process.env.STERNA_PICTURES;

let server;
let origin;
let open;
let tcp;

if (!skip) {
  const port = await freePort();
  server = await TestServer.start(after, ['--http-port', String(port), '--appendonly', 'yes']);
  origin = `http://127.0.0.1:${port}/`;
  open = await openBrowser(after);
  tcp = new Tcp(server.plainUrl, { retryStrategy: () => 100, maxRetriesPerRequest: null });
  tcp.on('error', () => {});
  after(() => tcp.disconnect());
}

async function signIn(page, password = server.password, user = 'default') {
  await page.fill('#user', user);
  await page.fill('#password', password);
  await page.click('#sign-in button');
}

/** A page that is signed in and shows figures. */
async function watching(t) {
  const page = await open(origin);
  t.after(() => page.close());
  await signIn(page);
  await page.waitForSelector('#state[data-state="live"]');
  return page;
}

async function picture(page, name) {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
}

/** Publishes to some channels, with subscribers of all kinds, until the test is over. */
async function traffic(t) {
  const subscribers = Array.from({ length: 6 }, () => new Tcp(server.plainUrl, { connectionName: 'reader' }));
  t.after(() => subscribers.forEach((one) => one.disconnect()));
  await Promise.all(subscribers.map((one, i) => one.subscribe('news', `room:${i}`)));
  await subscribers[0].psubscribe('room:*');
  let i = 0;
  const timer = setInterval(() => {
    for (let n = 0; n < 20; n += 1) tcp.publish('news', `headline ${i += 1} with the word ${i % 10 === 0 ? 'storm' : 'calm'}`).catch(() => {});
    tcp.publish(`room:${i % 6}`, 'hi').catch(() => {});
    tcp.xadd('orders', '*', 'item', String(i)).catch(() => {});
  }, 20);
  t.after(() => clearInterval(timer));
}

const infoOf = async (section, field) => {
  const text = await tcp.info(section);
  return Number(text.match(new RegExp(`^${field}:(.*)$`, 'm'))?.[1]);
};

test('a wrong password is refused, a right one gets in, and neither is in a URL, a cookie or a store', { skip }, async (t) => {
  const page = await open(origin);
  t.after(() => page.close());
  await signIn(page, 'wrong');
  await page.waitForFunction(() => document.querySelector('#refusal').textContent.includes('WRONGPASS'));
  await tcp.call('ACL', 'SETUSER', 'reader', 'on', '>pw', '+@read', '~*', '&*');
  await signIn(page, 'pw', 'reader');
  await page.waitForFunction(() => document.querySelector('#refusal').textContent.includes('NOPERM'));
  assert.ok(await page.isHidden('#inside'));
  await picture(page, 'sign-in');
  await signIn(page);
  await page.waitForSelector('#state[data-state="live"]');
  assert.ok(await page.isHidden('#door'));
  assert.ok(page.requested.every((url) => url.startsWith(origin) && !url.includes(server.password)), page.requested.join(' '));
  const kept = await page.evaluate(() => [document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage), location.href, document.querySelector('#password').value].join(' '));
  assert.ok(!kept.includes(server.password), kept);
  // A refused request is told of in the console, and nothing else is.
  assert.deepEqual(page.faults.filter((fault) => !/40[13]/.test(fault)), []);
});

test('figures are those of INFO under load, on a desk and on a phone, dark and light', { skip }, async (t) => {
  await tcp.xgroup('CREATE', 'orders', 'shipping', '$', 'MKSTREAM').catch(() => {});
  await traffic(t);
  const page = await watching(t);
  const figure = (name) => page.textContent(`[data-figure="${name}"]`);
  // Of a second each, and both of the same load: near each other.
  let shown;
  let counted;
  for (let tries = 0; tries < 60; tries += 1) {
    const [from, at] = [await infoOf('messages', 'published_messages'), performance.now()];
    await page.waitForTimeout(1500);
    counted = ((await infoOf('messages', 'published_messages')) - from) / ((performance.now() - at) / 1000);
    const text = await figure('published');
    shown = Number.parseFloat(text) * (text.includes('k/s') ? 1000 : 1);
    if (counted > 0 && Math.abs(shown - counted) < 0.2 * counted) break;
  }
  assert.ok(Math.abs(shown - counted) < 0.2 * counted, `${shown} shown, ${counted} counted`);
  await page.waitForFunction(() => /ms|µs/.test(document.querySelector('[data-figure="p99"]').textContent));
  assert.match(await figure('fan-out'), /×/);
  await page.waitForFunction(() => document.querySelectorAll('.chart path[d*="L"]').length >= 5);
  assert.match(await page.textContent('#part-journal'), /LSN\d+/);
  assert.match(await page.textContent('#part-kinds'), /subscribers \(RESP2\)/);
  if (PICTURES) await page.waitForTimeout(15_000);
  await page.hover('.chart svg');
  await page.waitForSelector('.tip:not([hidden])');
  assert.match(await page.textContent('.tip'), /published: .*\/s/);
  await page.mouse.move(0, 0);
  await page.waitForSelector('.tip', { state: 'hidden' });
  await page.focus('.chart svg');
  await page.keyboard.press('ArrowLeft');
  await page.waitForSelector('.tip:not([hidden])');
  await picture(page, 'overview-light');
  await page.click('#theme');
  await picture(page, 'overview-dark');
  await page.focus('#tab-overview');
  await page.keyboard.press('ArrowRight');
  await page.waitForSelector('[data-list="Channel"] td.name');
  assert.equal(await page.textContent('[data-list="Channel"] tbody td.name'), 'news');
  assert.match(await page.textContent('[data-list="Pattern"]'), /room:\*/);
  await picture(page, 'channels-dark');
  await page.click('[data-list="Channel"] button:text("by subscribers")');
  await page.waitForFunction(() => document.querySelector('[data-list="Channel"] tbody tr').textContent.startsWith('news6'));
  await page.click('#theme');
  await picture(page, 'channels-light');
  await page.setViewportSize({ width: 390, height: 800 });
  for (const view of ['overview', 'channels', 'streams', 'tail']) {
    await page.click(`#tab-${view}`);
    await page.waitForTimeout(300);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${view} is ${wide} pixels wider than a phone`);
    const cut = await page.evaluate(() => [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length);
    assert.equal(cut, 0, `${view} has tables that a phone shows in part`);
    await picture(page, `${view}-phone`);
  }
  await page.click('#theme');
  await page.click('#tab-overview');
  await picture(page, 'overview-phone-dark');
  assert.deepEqual(page.faults, []);
});

test('a tail is filtered and paused, a message is published, and a busy channel drowns nobody', { skip }, async (t) => {
  const page = await watching(t);
  await page.click('#tab-tail');
  await page.fill('#tail-name', 'chat');
  await page.click('#view-tail button:text-is("Start")');
  const subscribed = async () => (await tcp.pubsub('NUMSUB', 'chat'))[1] === 1;
  while (!(await subscribed())) await page.waitForTimeout(20);
  await page.fill('#publish-to', 'chat');
  await page.fill('#publish-text', 'hello <b>there</b>');
  await page.click('#view-tail button:text-is("Send")');
  await page.waitForFunction(() => document.querySelector('#publish-outcome').textContent === 'Sent to 1 subscriber.');
  await page.waitForSelector('#lines li:has-text("hello <b>there</b>")');
  await tcp.publish('chat', 'a storm');
  await page.waitForSelector('#lines li:has-text("a storm")');
  await page.fill('#tail-filter', 'STORM');
  await page.waitForFunction(() => document.querySelectorAll('#lines li').length === 1);
  await picture(page, 'tail-light');
  await page.fill('#tail-filter', '');
  await page.click('#view-tail button:text-is("Pause")');
  await tcp.publish('chat', 'unseen');
  await page.waitForFunction(() => document.querySelector('#tail-status').textContent.includes('paused, 1 since'));
  assert.ok(!(await page.textContent('#lines')).includes('unseen'));
  await page.click('#view-tail button:text-is("Go on")');
  const burst = tcp.pipeline();
  for (let i = 0; i < 20_000; i += 1) burst.publish('chat', `burst ${i}`);
  await burst.exec();
  await page.waitForSelector('#lines li:has-text("burst 19999")');
  assert.ok((await page.locator('#lines li').count()) <= 500);
  await page.click('#view-tail button:text-is("Stop")');
  while (await subscribed()) await page.waitForTimeout(20);
  assert.deepEqual(page.faults, []);
});

test('a group is looked into, an entry claimed and acknowledged', { skip }, async (t) => {
  await tcp.xgroup('CREATE', 'jobs', 'workers', '0', 'MKSTREAM');
  const id = await tcp.xadd('jobs', '*', 'task', 'paint');
  await tcp.xadd('jobs', '*', 'task', 'sand');
  await tcp.xreadgroup('GROUP', 'workers', 'anna', 'STREAMS', 'jobs', '>');
  const page = await watching(t);
  await page.click('#tab-streams');
  await page.click('#view-streams button:text-is("jobs")');
  await page.waitForSelector('#stream-detail td:has-text("anna")');
  await page.click(`[data-key="Show ${id}"]`);
  await page.waitForSelector('#entry-said pre:has-text("paint")');
  await page.fill('#claim-for', 'bert');
  await page.click(`[data-key="Claim ${id}"]`);
  await page.waitForFunction(() => document.querySelector('#entry-said').textContent.includes('bert’s now'));
  const owner = async () => (await tcp.xpending('jobs', 'workers', id, id, 1))[0]?.[1];
  assert.equal(await owner(), 'bert');
  await picture(page, 'streams-light');
  await page.click(`[data-key="Acknowledge ${id}"]`);
  await page.waitForFunction(() => document.querySelector('#entry-said').textContent.includes('is acknowledged'));
  assert.equal(await owner(), undefined);
  assert.equal((await tcp.xpending('jobs', 'workers'))[0], 1);
  assert.deepEqual(page.faults, []);
});

test('a page says that the server is gone, and goes on when it is back', { skip }, async (t) => {
  const page = await watching(t);
  await server.stop();
  await page.waitForSelector('#cut:not([hidden])');
  assert.equal(await page.getAttribute('#state', 'data-state'), 'cut');
  await picture(page, 'disconnected-light');
  await server.run();
  await page.waitForSelector('#state[data-state="live"]', { timeout: 60_000 });
  assert.ok(await page.isHidden('#cut'));
  await page.click('#leave');
  assert.ok(await page.isHidden('#inside'));
});
