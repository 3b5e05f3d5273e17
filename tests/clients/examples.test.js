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

  // Each has heard of the first changes when it has dropped what it knew before: news that come later would empty what is read below.
  const items = ['tea', 'salt'];
  for (const worker of [1, 2, 3]) for (const item of items) while ((await get(worker, item)).from !== 'memory');
  assert.deepEqual(await put(1, 'tea', '3'), { price: '3', told: 3 });
  await put(1, 'salt', '1');
  for (const worker of [1, 2, 3]) {
    for (const item of items) await program.line(new RegExp(`^worker ${worker} dropped item:${item}, changed by worker 1$`));
  }
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
  assert.equal(program.lines.filter((line) => line.endsWith('changed by worker 2')).length, 3);
});

test('jobs: what a killed worker leaves is claimed and finished, and nothing is done again after its ACK', async (t) => {
  let lines;
  // On a machine with other things to do the victim may be killed when it has finished everything, and a worker that stands
  // still for a second is taken for dead, and robbed: then it is told anew.
  const isDisturbed = () => lines.some((line) => /which leaves 0 behind$|came too late/.test(line));
  for (let told = 0; told < 5 && (told === 0 || isDisturbed()); told += 1) {
    const program = start(t, ['node', 'jobs/jobs.js']);
    const { code, errors } = await program.end();
    assert.equal(code, 0, errors);
    assert.equal(errors, '');
    ({ lines } = program);
  }
  const said = lines.flatMap((line, at) => {
    const [, worker, what, job] = /^(one|two|three) (began|claimed|finished) (\d+)$/.exec(line) ?? [];
    return worker ? [{ worker, what, job: Number(job), at }] : [];
  });
  const jobs = Array.from({ length: 30 }, (_, index) => index + 1);
  const are = (what, job) => said.filter((line) => line.what === what && line.job === job);

  for (const job of jobs) {
    const finished = are('finished', job);
    assert.equal(finished.length, 1, `job ${job} is finished once`);
    assert.ok(are('began', job).length <= 1, `job ${job} is new to one worker, or none that lived to say so`);
    assert.ok(are('began', job).length + are('claimed', job).length >= 1);
    const later = said.filter((line) => line.job === job && line.at > finished[0].at);
    assert.deepEqual(later, [], `nobody touches job ${job} after its ACK`);
  }

  const killed = lines.findIndex((line) => line.startsWith('killed two'));
  const left = Number(/^killed two, which leaves (\d+) behind$/.exec(lines[killed])[1]);
  assert.ok(left >= 1, 'it was killed in the middle of something');
  assert.deepEqual(said.filter(({ worker, at }) => worker === 'two' && at > killed), []);
  assert.ok(said.filter(({ what, worker }) => what === 'claimed' && worker !== 'two').length >= left);
  const broken = said.filter(({ worker, what, job }) => worker === 'two' && what === 'began'
    && are('finished', job)[0].worker !== 'two');
  assert.ok(broken.length >= 1);
  for (const { job } of broken) assert.notEqual(are('claimed', job)[0].worker, 'two');

  const end = lines.filter((line) => line.includes('results'));
  assert.deepEqual(end, ['30 results, 0 pending', `results ${jobs.map((job) => job * job).join(' ')}`]);
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

  describe('events', () => {
    /** One command at the bank's counter: its exit code and what it said. */
    async function bank(t, ...words) {
      const program = start(t, [python, 'events/bank.py', ...words]);
      const { code, errors } = await program.end();
      return [code, program.lines.join('\n') || errors.trim()];
    }

    test('balances are rebuilt from the beginning, followed at the tail, and never below what happened', async (t) => {
      assert.deepEqual(await bank(t, 'balances'), [0, '0 events: nobody has anything']);
      const follower = start(t, [python, 'events/bank.py', 'follow']);
      await follower.line(/^0 events: nobody has anything$/);

      assert.deepEqual(await bank(t, 'deposit', 'ada', '100'), [0, 'deposit: ada 100']);
      assert.deepEqual(await bank(t, 'transfer', 'ada', 'bob', '30'), [0, 'transfer: ada 70, bob 30']);
      assert.deepEqual(await bank(t, 'withdraw', 'bob', '50'), [1, 'refused: bob has 30']);
      assert.deepEqual(await bank(t, 'balances'), [0, '2 events: ada 70, bob 30']);
      await follower.line(/^transfer: ada 70, bob 30$/);
      assert.deepEqual(follower.lines.slice(1), ['deposit: ada 100', 'transfer: ada 70, bob 30'], 'what was refused never happened');

      // Who wasn't there replays everything and is where the others are.
      await follower.stop();
      assert.deepEqual(await bank(t, 'withdraw', 'bob', '10'), [0, 'withdraw: ada 70, bob 20']);
      const again = start(t, [python, 'events/bank.py', 'follow']);
      await again.line(/^3 events: ada 70, bob 20$/);
      assert.deepEqual(await bank(t, 'deposit', 'eve', '1'), [0, 'deposit: ada 70, bob 20, eve 1']);
      await again.line(/^deposit: ada 70, bob 20, eve 1$/);
      assert.equal(again.lines.length, 2, 'and hears only what is new');
    });

    test('of four who withdraw all at the same moment one gets it', async (t) => {
      await bank(t, 'deposit', 'rich', '60');
      const answers = await Promise.all([1, 2, 3, 4].map(() => bank(t, 'withdraw', 'rich', '60')));
      assert.deepEqual(answers.map(([code]) => code).sort(), [0, 1, 1, 1]);
      for (const [code, said] of answers) if (code === 1) assert.equal(said, 'refused: rich has 0');
    });
  });

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
