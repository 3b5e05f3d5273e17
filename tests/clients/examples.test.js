// Each example program, started by the command its README gives, against a server over TLS with a password.
// The chats run in a browser: see ../browser.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Program } from './program.js';
import { TestServer } from './server.js';

const server = await TestServer.start(after);
const start = (t, command, env) => Program.start((stop) => t.after(stop), server, command, env);

/** Runs a program to its end. Two connections print into one output, so lines are compared per direction, in order. */
async function run(t, command) {
  const program = start(t, command);
  const { code, errors } = await program.end();
  assert.equal(code, 0, errors);
  assert.equal(errors, '');
  const beginning = (word) => program.lines.filter((line) => line.startsWith(word));
  return { sent: beginning('sent'), received: beginning('received'), lines: program.lines };
}

test('pubsub: both channels arrive in order, the third never', async (t) => {
  const { sent, received, lines } = await run(t, ['node', 'pubsub/pubsub.js']);
  assert.deepEqual(sent, [
    'sent      notifications  to 1 subscriber',
    'sent      chat:general  to 1 subscriber',
    'sent      chat:private  to 0 subscribers',
    'sent      notifications  to 1 subscriber',
  ]);
  assert.deepEqual(received, [
    'received  notifications  Version 1.2 is live',
    'received  chat:general  Grüße, everyone 👋',
    'received  notifications  That was all',
  ]);
  assert.equal(lines.length, 8);
});

test('patterns: pattern, channel and message of what matches, and nothing else', async (t) => {
  const { sent, received } = await run(t, ['node', 'patterns/patterns.js']);
  assert.deepEqual(sent, [
    'sent      chat:general  to 1',
    'sent      chat:rust  to 1',
    'sent      chat  to 0',
    'sent      news:chat:general  to 0',
    'sent      chat:  to 1',
    'sent      chat:general:announcements  to 1',
  ]);
  assert.deepEqual(received, [
    'received  chat:*  chat:general  Good morning',
    'received  chat:*  chat:rust  Anyone else up early?',
    'received  chat:*  chat:  The star also stands for nothing at all',
    'received  chat:*  chat:general:announcements  and for anything, colons included',
  ]);
});

/** An open stream of server-sent events; `next` waits for one, `seen` are all so far. */
async function listen(t, url) {
  const stop = new AbortController();
  t.after(() => stop.abort());
  const response = await fetch(url, { signal: stop.signal });
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const seen = [];
  let text = '';
  const read = async () => {
    const { value, done } = await reader.read();
    assert.ok(!done, 'the stream stays open');
    text += value;
    const parts = text.split('\n\n');
    text = parts.pop();
    for (const part of parts) if (part.startsWith('data: ')) seen.push(JSON.parse(part.slice('data: '.length)));
  };
  // The comment that opens the stream: from here on this listener misses nothing.
  await read();
  let taken = 0;
  const next = async () => {
    while (seen.length === taken) await read();
    return seen[taken++];
  };
  return { next, seen };
}

test('notifications: a user hears their own and the global ones, nobody else\'s', async (t) => {
  const program = start(t, ['node', 'notifications/notifications.js'], { PORT: '0' });
  const [, api] = await program.line(/api is on (\S+)/);
  const [, shop] = await program.line(/service is on (\S+)/);
  const [seven, sevenAgain, eight] = [
    await listen(t, `${api}/users/7/notifications`),
    await listen(t, `${api}/users/7/notifications`),
    await listen(t, `${api}/users/8/notifications`),
  ];
  const post = async (path, form) => {
    const response = await fetch(`${shop}${path}`, { method: 'POST', body: new URLSearchParams(form) });
    return [response.status, await response.text()];
  };

  assert.deepEqual(await post('/orders', { user: '7', item: 'tea' }), [201, 'ordered; 1 API server(s) told\n']);
  assert.deepEqual(await post('/orders', { user: '9', item: 'nobody home' }), [201, 'ordered; 1 API server(s) told\n']);
  assert.deepEqual(await post('/orders', { user: 'x:notifications', item: 'no' }), [400, 'user and item, please\n']);
  assert.deepEqual(await post('/announcements', { text: 'Free shipping' }), [201, 'announced; 1 API server(s) told\n']);

  const tea = { channel: 'user:7:notifications', type: 'order', item: 'tea' };
  const free = { channel: 'global:notifications', type: 'announcement', text: 'Free shipping' };
  for (const listener of [seven, sevenAgain]) {
    assert.deepEqual([await listener.next(), await listener.next()], [tea, free]);
  }
  assert.deepEqual(await eight.next(), free, 'the first thing user 8 hears is the announcement');
  assert.deepEqual(eight.seen, [free]);
});

test('cache: an update on one worker empties the others, and only that key', async (t) => {
  const program = start(t, ['node', 'cache/cache.js'], { PORT: '0' });
  const urls = [];
  for (const number of [1, 2, 3]) urls.push((await program.line(new RegExp(`worker ${number} is on (\\S+)`)))[1]);
  const get = async (worker, item) => (await fetch(`${urls[worker - 1]}/items/${item}`)).json();
  const put = async (worker, item, price) =>
    (await fetch(`${urls[worker - 1]}/items/${item}`, { method: 'PUT', body: new URLSearchParams({ price }) })).json();

  assert.deepEqual(await put(1, 'tea', '3'), { price: '3', told: 3 });
  await put(1, 'salt', '1');
  for (const worker of [1, 2, 3]) {
    for (const [item, price] of [['tea', '3'], ['salt', '1']]) {
      assert.deepEqual(await get(worker, item), { price, from: 'database', worker });
      assert.deepEqual(await get(worker, item), { price, from: 'memory', worker });
    }
  }

  assert.deepEqual(await put(2, 'tea', '4'), { price: '4', told: 3 });
  for (const worker of [1, 2, 3]) await program.line(new RegExp(`^worker ${worker} dropped item:tea, changed by worker 2$`));
  for (const worker of [1, 2, 3]) {
    assert.deepEqual(await get(worker, 'tea'), { price: '4', from: 'database', worker });
    assert.deepEqual(await get(worker, 'salt'), { price: '1', from: 'memory', worker }, 'the other key stayed');
  }
  assert.equal(program.lines.filter((line) => line.includes('dropped')).length, 3);
});

test('reconnect with ioredis: after a kill and after a restart it subscribes again and goes on', async (t) => {
  const own = await TestServer.start((stop) => t.after(stop));
  const program = Program.start((stop) => t.after(stop), own, ['node', 'reconnect/reconnect.js']);
  await program.line(/^tick 1$/);
  const killed = await program.line(/^killed client \d+$/);
  const lost = await program.line(/^connection lost$/);
  const back = await program.line(/^subscribed$/, Math.max(killed.number, lost.number));
  await program.line(/^tick \d+$/, back.number);

  const before = program.lines.length;
  await own.restart();
  const again = await program.line(/^subscribed$/, before);
  await program.line(/^tick \d+$/, again.number);

  const ticks = program.lines.flatMap((line) => /^tick (\d+)$/.exec(line)?.[1] ?? []).map(Number);
  assert.deepEqual(ticks, [...new Set(ticks)].sort((a, b) => a - b), 'every tick once, in order');
  program.interrupt();
  assert.equal((await program.end()).code, 0);
});

describe('python', () => {
  const python = process.env.PYTHON ?? 'python3';
  for (const file of ['in_thread.py', 'with_asyncio.py']) {
    for (const protocol of [2, 3]) {
      test(`${file} over RESP${protocol}`, async (t) => {
        const { sent, received, lines } = await run(t, [python, `python/${file}`, String(protocol)]);
        assert.equal(lines[0], `subscribed over RESP${protocol}`);
        assert.deepEqual(sent, [
          'sent      notifications  to 1',
          'sent      chat:general  to 1',
          'sent      weather  to 0',
          'sent      chat:general  to 1',
        ]);
        assert.deepEqual(received, [
          'received  -  notifications  Version 1.2 is live',
          'received  chat:*  chat:general  Grüße, everyone 👋',
          'received  chat:*  chat:general  goodbye',
        ]);
      });
    }
  }

  test('reconnect with redis-py: after a kill and after a restart it subscribes again and goes on', async (t) => {
    const own = await TestServer.start((stop) => t.after(stop));
    const program = Program.start((stop) => t.after(stop), own, [python, 'reconnect/reconnect.py']);
    await program.line(/^tick 1$/);
    const killed = await program.line(/^killed client \d+$/);
    // The listener may notice before the killer says so.
    const first = await program.line(/^subscribed$/);
    const back = await program.line(/^subscribed$/, first.number + 1);
    await program.line(/^tick \d+$/, Math.max(back.number, killed.number));

    const before = program.lines.length;
    await own.restart();
    const again = await program.line(/^subscribed$/, before);
    await program.line(/^tick \d+$/, again.number);
    const ticks = program.lines.flatMap((line) => /^tick (\d+)$/.exec(line)?.[1] ?? []).map(Number);
    assert.deepEqual(ticks, [...new Set(ticks)].sort((a, b) => a - b), 'every tick once, in order');
    program.interrupt();
    await program.end();
  });
});
