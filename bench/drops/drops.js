// What is left of the messages when every client is cut off for two seconds: node bench/drops/drops.js [CLIENTS] [NAME…]
// STERNA_DROPS_CUTS=50 has it happen so many times, a second after the one before.
//
//   publisher ──► server ──► a line that is cut, bytes in flight included, and mended ──► clients
//
// Each client is the library that people use, set up as its guide says, and comes back as it does by itself. Reported is how many
// of the messages each client was given, and how many twice. Needs what ./test installs; STERNA_BIN, REDIS8_SERVER (or
// REDIS_SERVER), VALKEY_SERVER and NATS_SERVER name servers; what is not there is left out.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

// The libraries are those of the tests.
const require = createRequire(new URL('../../tests/', import.meta.url));
const Redis = require('ioredis5');
const { EventSource } = require('eventsource');
const { io } = require('socket.io-client');

const [clients = '50', ...names] = process.argv.slice(2);
const CLIENTS = Number(clients);
const CUTS = Number(process.env.STERNA_DROPS_CUTS ?? 1);
const INTERVAL_MS = 10;
const [BEFORE_MS, CUT_MS, BETWEEN_MS, AFTER_MS, SETTLE_MS] = [2000, 2000, 1000, 3000, 6000];
const HOST = '127.0.0.1';
const STERNA = process.env.STERNA_BIN ?? fileURLToPath(new URL('../../target/release/sterna', import.meta.url));
const REDIS = process.env.REDIS8_SERVER ?? process.env.REDIS_SERVER;
const VALKEY = process.env.VALKEY_SERVER;
const NATS = process.env.NATS_SERVER;

async function freePort() {
  const probe = net.createServer().listen(0, HOST);
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

async function accepts(port) {
  for (;;) {
    const socket = net.connect(port, HOST);
    const is = await new Promise((settle) => {
      socket.once('connect', () => settle(true)).once('error', () => settle(false));
    });
    socket.destroy();
    if (is) return;
    await pause(20);
  }
}

/** A server on a port of its own; `stop` collects what ends it. */
async function serve(stop, command, args) {
  const [port, http] = [await freePort(), await freePort()];
  const folder = mkdtempSync(join(tmpdir(), 'sterna-drops-'));
  const server = spawn(command, args(port, http, folder), { stdio: 'ignore' });
  stop.push(async () => {
    server.kill();
    await once(server, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  await accepts(port);
  return { port, http };
}

const redisArgs = (port, _, folder) => ['--port', port, '--bind', HOST, '--dir', folder, '--save', ''];
const sternaArgs = (...more) => (port, http, folder) => [...redisArgs(port, http, folder), '--http-port', http, ...more];

/**
 * What is cut and mended: line.py of the tests, which says how. It loses what is on its way, and nothing that a kernel has
 * acknowledged; so whatever is missing or comes twice is the doing of the server, or of the library.
 */
async function lay(stop, port) {
  const program = fileURLToPath(new URL('../../tests/clients/line.py', import.meta.url));
  const line = spawn('python3', [program, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
  stop.push(() => line.kill());
  const answers = createInterface(line.stdout)[Symbol.asyncIterator]();
  const say = async (word) => { line.stdin.write(`${word}\n`); await answers.next(); };
  return { port: Number((await answers.next()).value), cut: () => say('cut'), mend: () => say('mend') };
}

/* Publishers: each answers a function that sends a number. */

function byRedis(stop, { port }) {
  const client = new Redis({ host: HOST, port });
  stop.push(() => client.disconnect());
  return (number) => client.publish('news', String(number));
}

function byNats(stop, { port }) {
  const socket = net.connect(port, HOST);
  socket.on('data', (data) => { if (String(data).includes('PING')) socket.write('PONG\r\n'); });
  socket.write('CONNECT {"verbose":false}\r\n');
  stop.push(() => socket.destroy());
  return (number) => socket.write(`PUB news ${String(number).length}\r\n${number}\r\n`);
}

/* Clients: each calls `take` with what it is given, and `ready` when it is subscribed for the first time. */

function respClient(stop, port, take, ready, name) {
  const client = new Redis({
    host: HOST, port, connectionName: name, maxRetriesPerRequest: null, retryStrategy: () => 100,
  });
  client.on('error', () => {});
  client.on('message', (channel, text) => { if (channel === 'news') take(Number(text)); });
  client.subscribe('news').then(ready);
  stop.push(() => client.disconnect());
}

function eventClient(stop, port, take, ready) {
  const source = new EventSource(`http://${HOST}:${port}/v1/events?channel=news&_token=default:secret`);
  source.addEventListener('resume', ready);
  source.onmessage = (event) => take(Number(JSON.parse(event.data).message));
  stop.push(() => source.close());
}

function natsClient(stop, port, take, ready) {
  let socket;
  let isOver = false;
  const open = () => {
    let text = '';
    socket = net.connect(port, HOST);
    socket.write('CONNECT {"verbose":false}\r\nSUB news 1\r\nPING\r\n');
    socket.on('data', (data) => {
      const lines = (text + data).split('\r\n');
      text = lines.pop();
      for (const line of lines) {
        if (line === 'PING') socket.write('PONG\r\n');
        else if (line === 'PONG') ready();
        else if (/^\d+$/.test(line)) take(Number(line));
      }
    });
    socket.on('error', () => {}).on('close', () => { if (!isOver) setTimeout(open, 100); });
  };
  open();
  stop.push(() => { isOver = true; socket.destroy(); });
}

function socketClient(stop, port, take, ready) {
  const socket = io(`http://${HOST}:${port}`, {
    transports: ['websocket'], forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 100,
  });
  socket.on('connect', ready).on('news', (number) => take(number));
  stop.push(() => socket.close());
}

async function socketServer(stop, adapter) {
  const redis = await serve(stop, REDIS, redisArgs);
  const port = await freePort();
  const server = fork(fileURLToPath(new URL('socket-io.js', import.meta.url)), [String(port), String(redis.port), adapter]);
  stop.push(() => server.kill());
  await accepts(port);
  return { port, publish: (number) => server.send(number) };
}

const SYSTEMS = {
  'Sterna, server-sent events': async (stop) => {
    const server = await serve(stop, STERNA, sternaArgs('--requirepass', 'secret', '--retain', 'news maxlen 100000'));
    const redis = new Redis({ host: HOST, port: server.port, password: 'secret' });
    stop.push(() => redis.disconnect());
    return { port: server.http, open: eventClient, publish: (number) => redis.publish('news', String(number)) };
  },
  'Sterna, ioredis, resumed': async (stop) => {
    const server = await serve(stop, STERNA, sternaArgs('--resume-window', '60', '--resume-buffer', '1mb'));
    return { port: server.port, open: respClient, publish: byRedis(stop, server) };
  },
  'Sterna, ioredis, resume-window 0': async (stop) => {
    const server = await serve(stop, STERNA, sternaArgs());
    return { port: server.port, open: respClient, publish: byRedis(stop, server) };
  },
  'Redis, ioredis': REDIS && (async (stop) => {
    const server = await serve(stop, REDIS, redisArgs);
    return { port: server.port, open: respClient, publish: byRedis(stop, server) };
  }),
  'Valkey, ioredis': VALKEY && (async (stop) => {
    const server = await serve(stop, VALKEY, redisArgs);
    return { port: server.port, open: respClient, publish: byRedis(stop, server) };
  }),
  'NATS core': NATS && (async (stop) => {
    const server = await serve(stop, NATS, (port) => ['-a', HOST, '-p', port]);
    return { port: server.port, open: natsClient, publish: byNats(stop, server) };
  }),
  'Socket.IO, Redis adapter': REDIS && (async (stop) => {
    return { ...(await socketServer(stop, 'classic')), open: socketClient };
  }),
  'Socket.IO, Redis streams adapter, recovery': REDIS && (async (stop) => {
    return { ...(await socketServer(stop, 'streams')), open: socketClient };
  }),
};

async function measure(name, start) {
  const stop = [];
  const { port, open, publish } = await start(stop);
  const line = await lay(stop, port);
  const seen = Array.from({ length: CLIENTS }, () => new Map());
  await Promise.all(seen.map((counts, number) => new Promise((ready) => {
    open(stop, line.port, (n) => counts.set(n, (counts.get(n) ?? 0) + 1), ready, `client-${number}`);
  })));
  let sent = 0;
  const timer = setInterval(() => { publish(sent); sent += 1; }, INTERVAL_MS);
  await pause(BEFORE_MS);
  for (let cut = 0; cut < CUTS; cut += 1) {
    if (cut > 0) await pause(BETWEEN_MS);
    await Promise.all([line.cut(), pause(CUT_MS)]);
    await line.mend();
  }
  await pause(AFTER_MS);
  clearInterval(timer);
  await pause(SETTLE_MS);
  const given = seen.reduce((sum, counts) => sum + counts.size, 0);
  const twice = seen.reduce((sum, counts) => sum + [...counts.values()].filter((count) => count > 1).length, 0);
  const whole = seen.filter((counts) => counts.size === sent).length;
  for (const end of stop.reverse()) await end();
  console.log(`| ${name} | ${((100 * given) / (sent * CLIENTS)).toFixed(1)} % | ${whole} of ${CLIENTS} | ${twice} |`);
}

console.log('| | of the messages | clients that missed none | given twice |\n|---|---|---|---|');
for (const [name, start] of Object.entries(SYSTEMS)) {
  if (start && (!names.length || names.some((part) => name.includes(part)))) await measure(name, start);
}
process.exit(0);
