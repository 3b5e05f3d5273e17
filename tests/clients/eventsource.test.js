// `eventsource`, what browsers have, for Node, and `@microsoft/fetch-event-source`: messages of channels, a server that is started
// again, and lines that are cut.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import Tcp from 'ioredis5';
import { fetchEventSource } from '@microsoft/fetch-event-source';
import { DURABLE, IS_STERNA, TestServer, freePort } from './server.js';

// What fetch-event-source takes for granted: a window, and a page that is seen.
globalThis.window ??= globalThis;
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';
const port = await freePort();
const server = skip
  ? undefined
  : await TestServer.start(after, [...DURABLE, '--http-port', String(port), '--retain', 'kept:*']);

/** The messages of a stream, as they come. */
function listen(t, query) {
  const source = new EventSource(`http://127.0.0.1:${port}/v1/events?${query}&_token=${server.password}`);
  const messages = [];
  source.addEventListener('message', (event) => messages.push(JSON.parse(event.data)));
  t.after(() => source.close());
  return { source, messages };
}

describe('eventsource', { skip }, () => {
  test('a page gets the messages of its channels and patterns', async (t) => {
    const { messages } = listen(t, 'channel=news&pattern=chat:*');
    const tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    while (await tcp.publish('news', 'ready') < 1) await tick();
    await tcp.publish('chat:1', 'grüße\r\n"x"');
    await tcp.publish('other', 'not for it');
    await tcp.publish('news', 'last');
    await until(() => messages.at(-1)?.message === 'last');
    assert.deepEqual(messages, [
      { channel: 'news', message: 'ready' },
      { channel: 'chat:1', message: 'grüße\r\n"x"', pattern: 'chat:*' },
      { channel: 'news', message: 'last' },
    ]);
  });

  test('a page comes back by itself when the server has been started again', async (t) => {
    const { source, messages } = listen(t, 'channel=news');
    await until(() => source.readyState === source.OPEN);
    await server.restart();
    const tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    while (await tcp.publish('news', 'again') < 1) await tick();
    await until(() => messages.length > 0);
    assert.deepEqual(messages[0], { channel: 'news', message: 'again' });
  });

  test('a page misses nothing of what is remembered while the server is started again', async (t) => {
    const { source, messages } = listen(t, 'channel=kept:a&channel=kept:b&stream=orders');
    const resumes = [];
    source.addEventListener('resume', (event) => resumes.push(JSON.parse(event.data)));
    await until(() => resumes.length === 1);
    assert.equal(resumes[0].recovered, false);
    let tcp = new Tcp(server.plainUrl);
    for (let n = 0; n < 100; n++) await tcp.publish(`kept:${'ab'[n % 2]}`, n);
    await tcp.quit();
    await server.restart();
    tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    for (let n = 100; n < 150; n++) await tcp.publish(`kept:${'ab'[n % 2]}`, n);
    await tcp.xadd('orders', '*', 'n', 1);
    await until(() => resumes.length > 1 && messages.length === 151);
    assert.equal(resumes[1].recovered, true);
    for (const [first, letter] of [[0, 'a'], [1, 'b']]) {
      const own = messages.filter(({ channel }) => channel === `kept:${letter}`).map(({ message }) => Number(message));
      assert.deepEqual(own, Array.from({ length: 75 }, (_, n) => 2 * n + first));
    }
    assert.deepEqual(messages.find(({ stream }) => stream)?.fields, { n: '1' });
  });

  test('fetch-event-source sends the last id as well', async (t) => {
    const [messages, resumes, stop] = [[], [], new AbortController()];
    t.after(() => stop.abort());
    const url = `http://127.0.0.1:${port}/v1/events?channel=kept:fetch`;
    const done = fetchEventSource(url, {
      signal: stop.signal,
      headers: { Authorization: `Bearer ${server.password}` },
      openWhenHidden: true,
      onmessage: ({ event, data }) => (event === 'resume' ? resumes : messages).push(JSON.parse(data)),
      onerror: () => 100,
      onclose: () => { throw new Error('come again'); },
    });
    await until(() => resumes.length === 1);
    const tcp = new Tcp(server.plainUrl);
    t.after(() => tcp.quit());
    await tcp.publish('kept:fetch', '1');
    await until(() => messages.length === 1);
    // Those of the tests before may be noticed to have left only now.
    let pages = [];
    while (pages.length !== 1) pages = [...(await tcp.client('LIST')).matchAll(/^id=(\d+) .*lib-name=http-events/gm)];
    await tcp.client('KILL', 'ID', pages[0][1]);
    await tcp.publish('kept:fetch', '2');
    await until(() => messages.length === 2);
    assert.equal(resumes.at(-1).recovered, true);
    assert.deepEqual(messages.map(({ message }) => message), ['1', '2']);
    stop.abort();
    await done;
  });

  test('who may not listen is refused, and does not come back', async (t) => {
    const source = new EventSource(`http://127.0.0.1:${port}/v1/events?channel=news&_token=wrong`);
    t.after(() => source.close());
    const error = await new Promise((settle) => { source.addEventListener('error', settle); });
    assert.equal(error.code, 401);
    assert.equal(source.readyState, source.CLOSED);
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
