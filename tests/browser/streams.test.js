// Chats that remember, in a real browser: one that is gone for a while misses nothing, one that comes late finds the
// last 50 messages.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { io as connectClient } from 'socket.io-client';
import { Program } from '../clients/program.js';
import { TestServer } from '../clients/server.js';
import { Joining } from '../../examples/history/joining.js';
import { openBrowser } from './pages.js';

const server = await TestServer.start(after);
const open = await openBrowser(after);

async function startChat(t, command, env = {}) {
  const chat = Program.start((stop) => t.after(stop), server, command, { PORT: '0', ...env });
  const urls = [];
  for (const name of ['north', 'south']) {
    const [, url] = await chat.line(new RegExp(`server ${name} is on (http://\\S+)`));
    urls.push(url);
  }
  return { chat, urls };
}

/** What lies between a browser and its server: can be cut, and mended to lead elsewhere. */
class Line {
  static async lay(t, url) {
    const line = new Line(url);
    line.#listener.listen(0, '127.0.0.1');
    await once(line.#listener, 'listening');
    t.after(() => { line.cut(); line.#listener.close(); });
    return line;
  }

  #to;
  #sockets = new Set();
  #listener = net.createServer((near) => {
    if (!this.#to) return near.destroy();
    const far = net.connect(this.#to.port, this.#to.hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      this.#sockets.add(one);
      one.on('error', () => {});
      one.once('close', () => { this.#sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });

  constructor(url) { this.#to = new URL(url); }

  get url() { return `http://127.0.0.1:${this.#listener.address().port}`; }

  cut() {
    this.#to = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(url) { this.#to = new URL(url); }
}

async function join(page, name) {
  await page.getByLabel('What should people call you?').fill(name);
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await page.locator('#status[data-state="connected"]').waitFor();
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

const bubbles = (page) => page.locator('.bubble').allTextContents();
const arrived = (page, text) => page.locator('.bubble', { hasText: text }).waitFor();

/** Ada loses her line to the north, Bob talks on in the south, and Ada's line comes back: to the south. */
async function leaveAndReturn(t, env, whileAway) {
  const { chat, urls: [north, south] } = await startChat(t, ['node', 'recovery/recovery.js'], env);
  const line = await Line.lay(t, north);
  const [ada, bob] = [await open(line.url), await open(south)];
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await join(ada, 'Ada');
  await join(bob, 'Bob');
  await say(bob, 'before');
  await arrived(ada, 'before');

  line.cut();
  await ada.locator('#status[data-state="reconnecting"]').waitFor();
  await chat.line(/^north: Ada is gone$/);
  await whileAway(bob);
  assert.deepEqual(await bubbles(ada), ['before'], 'nothing reaches a page that is gone');
  line.mend(south);
  await ada.locator('#status[data-state="connected"]').waitFor();
  return { chat, ada, bob };
}

test('a browser that was gone comes back to the other server and has every message, once and in order', async (t) => {
  const { chat, ada, bob } = await leaveAndReturn(t, {}, async (bob) => {
    for (const text of ['one', 'two', 'three']) await say(bob, text);
    await bob.locator('[data-room=random]').click();
    await say(bob, 'and a tern');
    await arrived(bob, 'and a tern');
  });
  await chat.line(/^south: Ada is back$/);
  await arrived(ada, 'three');
  assert.equal(await ada.locator('#me-server').textContent(), 'server south');

  // What is said next comes live, after what was missed.
  await bob.locator('[data-room=general]').click();
  await say(bob, 'welcome back');
  await arrived(ada, 'welcome back');
  assert.deepEqual(await bubbles(ada), ['before', 'one', 'two', 'three', 'welcome back']);
  await ada.locator('[data-room=random]').click();
  await arrived(ada, 'and a tern');
  assert.deepEqual(await bubbles(ada), ['and a tern']);
  assert.deepEqual(chat.lines.filter((line) => line.endsWith('Ada joins')), ['north: Ada joins']);
});

test('a browser that was gone for longer than its session is kept joins anew', async (t) => {
  const { chat, ada, bob } = await leaveAndReturn(t, { RECOVERY_MS: '1' }, async (bob) => {
    await say(bob, 'unheard');
    await arrived(bob, 'unheard');
  });
  await chat.line(/^south: Ada joins$/);
  await say(bob, 'heard');
  await arrived(ada, 'heard');
  assert.deepEqual(await bubbles(ada), ['before', 'heard']);
});

/** A client without a page: joins, and answers what it was given and what it hears. */
async function chatter(t, url, name) {
  const socket = connectClient(url, { transports: ['websocket'], forceNew: true });
  t.after(() => socket.disconnect());
  const heard = [];
  socket.on('event', (event) => heard.push(event.text));
  await once(socket, 'connect');
  const { history } = await socket.emitWithAck('hello', name);
  return { socket, heard, history: (room) => history[room].map(({ text }) => text) };
}

test('whichever connection is ahead, whoever joins gets each event once', () => {
  const entries = ['9-0', '9-1', '10-0'].map((id) => [id, id]);
  const joining = new Joining();
  // Live events are ahead of the history, which was cut off before the first of them ...
  for (const id of ['8-7', '9-0', '10-0', '10-1']) assert.equal(joining.passes('general', id, id), false);
  assert.deepEqual(joining.complete([['general', entries], ['random', []]]), {
    general: ['9-0', '9-1', '10-0', '10-1'],
    random: [],
  });
  // ... or the history is ahead of them.
  for (const id of ['9-0', '9-1', '10-0']) assert.equal(joining.passes('general', id, id), false);
  for (const id of ['10-1', '10-10', '11-0']) assert.equal(joining.passes('general', id, id), true);
  assert.equal(joining.passes('random', '1-0', 'first'), true);
});

test('who joins a chat with a history gets the last 50, the rest live, and neither twice', async (t) => {
  const { chat, urls: [north, south] } = await startChat(t, ['node', 'history/history.js']);
  const ada = await chatter(t, north, 'Ada');
  assert.deepEqual(ada.history('general'), []);
  const texts = Array.from({ length: 60 }, (_, index) => `message ${index + 1}`);
  for (const text of texts) ada.socket.emit('say', 'general', text);
  ada.socket.emit('say', 'random', 'elsewhere');

  // Some join while it goes on: each must have one unbroken run of messages, wherever its history ends.
  const early = await Promise.all([north, south, south].map((url, index) => chatter(t, url, `early ${index}`)));
  while (!ada.heard.includes('elsewhere')) await once(ada.socket, 'event');
  for (const one of early) {
    while (!one.heard.includes('elsewhere') && !one.history('random').length) await once(one.socket, 'event');
    const has = [...one.history('general'), ...one.heard.filter((text) => text !== 'elsewhere')];
    assert.deepEqual(has, texts.slice(texts.length - has.length));
    assert.ok(has.length >= 50);
  }

  // A page that comes late, after the chat's servers were started anew: they keep nothing, the stream does.
  await chat.stop();
  const { urls: [, southAgain] } = await startChat(t, ['node', 'history/history.js']);
  const bob = await open(southAgain);
  t.after(() => bob.close());
  await join(bob, 'Bob');
  await arrived(bob, 'message 60');
  assert.deepEqual(await bubbles(bob), texts.slice(10));
  await say(bob, 'thank you');
  await arrived(bob, 'thank you');
  assert.deepEqual(await bubbles(bob), [...texts.slice(10), 'thank you']);
  await bob.locator('[data-room=random]').click();
  assert.deepEqual(await bubbles(bob), ['elsewhere']);
  assert.deepEqual(bob.faults, []);
});
