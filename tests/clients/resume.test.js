// Subscriptions that resume: ioredis and node-redis, unchanged, whose line is cut under load.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Redis5 from 'ioredis5';
import Redis6 from 'ioredis6';
import { createClient as createClient5 } from 'redis5';
import { createClient as createClient6 } from 'redis6';
import { IS_STERNA, TestServer, spawnTied } from './server.js';

const CUTS = Number(process.env.STERNA_TEST_CUTS ?? 2);
const CUT_MS = 2000;
const PATIENCE_MS = 60_000;
const NOTICES = '__sterna__:resume';
const CHANNELS = ['a', 'b', 'p1'];

/** line.py, which says how a line is cut. */
class Line {
  static async to(after, port) {
    const line = new Line(port);
    after(() => line.#process.kill());
    line.port = Number(await line.#next());
    return line;
  }

  #process;
  #lines;

  constructor(port) {
    this.#process = spawnTied('python3', [fileURLToPath(new URL('line.py', import.meta.url)), String(port)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  async #next() { return (await this.#lines.next()).value; }
  async say(word) {
    this.#process.stdin.write(`${word}\n`);
    assert.equal(await this.#next(), word);
  }
}

function ioredis(Client, options = {}) {
  return async (t, server, line, tls, hear) => {
    const client = new Client({
      host: server.host, port: line.port, password: server.password, connectionName: 'listener', retryStrategy: () => 100,
      ...(tls ? { tls: { ca: server.ca } } : {}), ...options,
    });
    t.after(() => client.disconnect());
    client.on('error', () => {});
    client.on('message', hear);
    client.on('pmessage', (pattern, channel, message) => hear(channel, message));
    await client.subscribe('a', 'b');
    await client.psubscribe('p*');
  };
}

function nodeRedis(create, options = {}) {
  return async (t, server, line, tls, hear) => {
    const client = create({
      url: `${tls ? 'rediss' : 'redis'}://${server.host}:${line.port}`, password: server.password, name: 'listener',
      socket: { reconnectStrategy: () => 100, ...(tls ? { tls: true, ca: server.ca } : {}) }, ...options,
    });
    t.after(() => client.destroy());
    client.on('error', () => {});
    await client.connect();
    const listener = (message, channel) => hear(channel, message);
    await client.subscribe(['a', 'b'], listener);
    await client.pSubscribe('p*', listener);
  };
}

describe('each message comes once though the line is cut', { skip: !IS_STERNA, concurrency: 2 }, () => {
  for (const [title, listen] of [
    ['ioredis 5', ioredis(Redis5)],
    ['ioredis 6, RESP3', ioredis(Redis6)],
    ['ioredis 6, RESP2', ioredis(Redis6, { protocol: 2 })],
    ['node-redis 5, RESP2', nodeRedis(createClient5)],
    ['node-redis 5, RESP3', nodeRedis(createClient5, { RESP: 3 })],
    ['node-redis 6', nodeRedis(createClient6)],
  ]) {
    for (const tls of [false, true]) {
      test(`${title}${tls ? ', TLS' : ''}`, async (t) => {
        const server = await TestServer.start((close) => t.after(close), ['--resume-window', '60', '--resume-buffer', '16mb']);
        const line = await Line.to((stop) => t.after(stop), tls ? server.tlsPort : server.port);
        const publisher = new Redis5({ host: server.host, port: server.port, password: server.password });
        t.after(() => publisher.disconnect());
        const heard = new Map([...CHANNELS, NOTICES].map((channel) => [channel, []]));
        await listen(t, server, line, tls, (channel, message) => heard.get(channel).push(message));
        let count = 0;
        const publishFor = async (ms) => {
          for (const until = Date.now() + ms; Date.now() < until; count += 1) {
            await Promise.all(CHANNELS.map((channel) => publisher.publish(channel, String(count))));
            await pause(1);
          }
        };
        for (let cut = 0; cut < CUTS; cut += 1) {
          await publishFor(300);
          await Promise.all([line.say('cut'), publishFor(CUT_MS)]);
          await line.say('mend');
          const resumed = async () => Number(/resumed_clients:(\d+)/.exec(await publisher.info('clients'))[1]);
          for (const until = Date.now() + PATIENCE_MS; (await resumed()) <= cut && Date.now() < until;) await publishFor(100);
        }
        for (const channel of CHANNELS) await publisher.publish(channel, 'end');
        const has = (channel) => heard.get(channel).at(-1) === 'end';
        for (const until = Date.now() + PATIENCE_MS; !CHANNELS.every(has) && Date.now() < until;) await pause(20);
        assert.deepEqual(heard.get(NOTICES), []);
        const expected = [...Array.from({ length: count }, (_, number) => String(number)), 'end'];
        for (const channel of CHANNELS) {
          const got = heard.get(channel);
          const wrong = got.findIndex((message, at) => message !== expected[at]);
          assert.deepEqual([got.length, wrong], [expected.length, -1], `${channel}: ${got.slice(wrong - 2, wrong + 3)} of ${count}`);
        }
        assert.ok(Number(/resumed_clients:(\d+)/.exec(await publisher.info('clients'))[1]) >= CUTS);
      });
    }
  }
});
