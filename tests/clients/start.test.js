// The server as a newcomer meets it: started by hand, with a certificate of its own making, and stopped.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis5';
import { Program } from './program.js';
import { BINARY, IS_STERNA, TestServer, freePort, spawnTied } from './server.js';
import { Wire } from './wire.js';

const skip = IS_STERNA ? false : 'about Sterna itself';

/** Runs the binary in a folder of its own until `pattern` has appeared in what it prints. */
async function startByHand(t, options, pattern) {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-start-'));
  const env = { ...process.env, HOME: folder, XDG_STATE_HOME: join(folder, 'state'), XDG_DATA_HOME: join(folder, 'data') };
  const program = spawnTied(BINARY, options, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(async () => {
    if (program.exitCode === null && program.signalCode === null) {
      program.kill('SIGTERM');
      await once(program, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  });
  let text = '';
  await new Promise((settle, fail) => {
    for (const output of [program.stdout, program.stderr]) {
      output.on('data', (data) => { text += data; if (pattern.test(text)) settle(); });
    }
    program.once('exit', () => fail(new Error(`ended before printing ${pattern}:\n${text}`)));
  });
  return { folder, program, text: () => text };
}

async function accepting(port) {
  for (;;) {
    const socket = net.connect(port, '127.0.0.1');
    const [event] = await Promise.race([
      once(socket, 'connect').then(() => ['connect']),
      once(socket, 'error').then(() => ['error']),
    ]).catch(() => ['error']);
    socket.destroy();
    if (event === 'connect') return;
    await new Promise(setImmediate);
  }
}

test('--tls-self-signed says where the certificate is, and clients that trust it connect', { skip }, async (t) => {
  const tlsPort = await freePort();
  const options = ['--tls-self-signed', '--port', '0', '--tls-port', String(tlsPort), '--requirepass', 'secret'];
  const certificate = /(\/\S+\.(?:pem|crt))\b/;
  const server = await startByHand(t, options, certificate);
  await accepting(tlsPort);

  // Several paths may be printed; the certificate is the one that holds a certificate.
  const paths = server.text().match(new RegExp(certificate, 'g'));
  const path = paths.find((candidate) => readFileSync(candidate, 'utf8').includes('BEGIN CERTIFICATE'));
  assert.ok(path, server.text());
  const url = `rediss://:secret@127.0.0.1:${tlsPort}`;
  const client = new Redis(url, { tls: { ca: readFileSync(path) } });
  t.after(() => client.disconnect());
  assert.equal(await client.ping(), 'PONG');
  await client.quit();

  // The examples' instructions, in both languages.
  const env = { ...process.env, REDIS_URL: url, REDIS_CA: path };
  for (const command of [['node', 'pubsub/pubsub.js'], [process.env.PYTHON ?? 'python3', 'python/in_thread.py']]) {
    const { code, errors } = await Program.start((stop) => t.after(stop), { env }, command).end();
    assert.equal(code, 0, errors);
  }
  // NODE_EXTRA_CA_CERTS instead of REDIS_CA, where no certificate is found that a server of this user has made before.
  const extra = { ...process.env, REDIS_URL: url, NODE_EXTRA_CA_CERTS: path, XDG_DATA_HOME: server.folder };
  assert.equal((await Program.start((stop) => t.after(stop), { env: extra }, ['node', 'pubsub/pubsub.js']).end()).code, 0);
});

test('the examples trust what the server made without being told, and say in a sentence what is wrong', { skip }, async (t) => {
  const tlsPort = await freePort();
  const options = ['--tls-self-signed', '--port', '0', '--tls-port', String(tlsPort), '--requirepass', 'secret'];
  const server = await startByHand(t, options, /\.crt\b/);
  await accepting(tlsPort);
  const { REDIS_CA, NODE_EXTRA_CA_CERTS, ...rest } = process.env;
  const XDG_DATA_HOME = join(server.folder, 'data');
  const at = (port, password) => `rediss://:${password}@127.0.0.1:${port}`;
  const cases = [
    [{ REDIS_URL: at(tlsPort, 'secret'), XDG_DATA_HOME }, 0, /^$/],
    [{ REDIS_URL: at(tlsPort, 'secret'), XDG_DATA_HOME: server.folder }, 1, /^the certificate of .* is not trusted.*\n$/],
    [{ REDIS_URL: at(tlsPort, 'guess'), XDG_DATA_HOME }, 1, /^the server at .* wants another password.*\n$/],
    [{ REDIS_URL: at(await freePort(), 'secret'), XDG_DATA_HOME }, 1, /^there is no server at .*\n$/],
  ];
  const commands = [['node', 'pubsub/pubsub.js'], [process.env.PYTHON ?? 'python3', 'python/in_thread.py']];
  await Promise.all(cases.flatMap(([env, expected, says]) => commands.map(async (command) => {
    const { code, errors } = await Program.start((stop) => t.after(stop), { env: { ...rest, ...env } }, command).end();
    assert.equal(code, expected, errors);
    assert.match(errors, says);
  })));
});

test('SIGTERM and SIGINT end it in order: connections closed, exit code 0', { skip }, async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const port = await freePort();
    const server = await startByHand(t, ['--port', String(port), '--threads', '2'], new RegExp(`\\b${port}\\b`));
    await accepting(port);
    const client = new Redis(port, '127.0.0.1', { retryStrategy: null });
    t.after(() => client.disconnect());
    await client.subscribe('a');
    const ended = once(client, 'end');
    server.program.kill(signal);
    const [code, killedBy] = await once(server.program, 'exit');
    assert.deepEqual([code, killedBy], [0, null]);
    await ended;
  }
});

test('what cannot work is one clear line and a failure', { skip }, async (t) => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const missing = '/nowhere/cert.pem';
  for (const [options, says] of [
    [['--port', String(taken.address().port)], new RegExp(String(taken.address().port))],
    [['--port', '0', '--tls-port', '1', '--tls-cert-file', missing, '--tls-key-file', missing], /\/nowhere\/cert\.pem/],
    [['--port', 'seven'], /port/],
  ]) {
    const { code, printed } = await new Promise((settle) => {
      execFile(BINARY, options, { timeout: 60_000 }, (error, stdout, stderr) => {
        settle({ code: error?.code ?? 0, printed: stdout + stderr });
      });
    });
    assert.ok(Number.isInteger(code) && code > 0, `${options.join(' ')}: exit code ${code}\n${printed}`);
    assert.match(printed, says);
  }
});

test('plain TCP, TLS and a Unix socket are one server', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-socket-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'socket');
  const server = await TestServer.start((stop) => t.after(stop), ['--unixsocket', path]);
  const plain = new Redis(server.plainUrl);
  const local = new Redis(path, { password: server.password });
  t.after(() => { plain.disconnect(); local.disconnect(); });
  // ioredis 5 drops a connection on which SUBSCRIBE overtakes its own ready check.
  await once(plain, 'ready');
  const over = await Wire.open((stop) => t.after(stop), server);
  over.command('AUTH', server.password);
  over.command('SUBSCRIBE', 'all');
  await over.expect('+OK\r\n*3\r\n$9\r\nsubscribe\r\n$3\r\nall\r\n:1\r\n');
  assert.equal(await plain.subscribe('all'), 1);
  assert.equal(await local.publish('all', 'hello'), 2);
  await over.expect('*3\r\n$7\r\nmessage\r\n$3\r\nall\r\n$5\r\nhello\r\n');
});
