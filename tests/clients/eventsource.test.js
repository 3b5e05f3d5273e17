// `eventsource`, what browsers have, for Node: messages of channels, and a server that is started again.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import Tcp from 'ioredis5';
import { IS_STERNA, TestServer, freePort } from './server.js';

const skip = IS_STERNA ? false : 'Redis speaks no HTTP';
const port = await freePort();
const server = skip ? undefined : await TestServer.start(after, ['--http-port', String(port)]);

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
  const deadline = Date.now() + 10_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error('it has not come about');
    await tick();
  }
}
