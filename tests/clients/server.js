// A server of its own for each test file: 127.0.0.1, free ports, TLS with a certificate made here, a password.
//
//   STERNA_BIN   the binary; target/release/sterna unless set. A Redis or Valkey server with TLS works too:
//                STERNA_BIN=/usr/bin/redis-server checks the tests themselves.
//   STERNA_TEST_NODES  3: each server is a node that does not lead, of a cluster of three with `cluster-keys`; see nodes.js.
//   STERNA_TEST_GROUPS  3: with the keys of such a cluster in three groups.
//   STERNA_TEST_TLS   "no" for a server that was built without TLS: the files that connect by `url` alone run against
//                it over plain TCP.
import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GROUPS, NODES, awaitFollower, awaitLeader, makeCluster } from './nodes.js';

export const BINARY = process.env.STERNA_BIN ?? fileURLToPath(new URL('../../target/release/sterna', import.meta.url));
export const IS_STERNA = basename(BINARY) === 'sterna';
const HAS_TLS = process.env.STERNA_TEST_TLS !== 'no';

/** With these, what was acknowledged is on the disk: a server that is killed has lost none of it. */
export const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];

const PASSWORD = 'secret';
const START_MS = 60_000;
const STOP_MS = 60_000;

/** Starts a program that ends with this process, however that ends. */
export function spawnTied(file, args, options) {
  return spawn('setpriv', ['--pdeathsig', 'KILL', file, ...args], options);
}

/** Below the ports that the kernel gives to connections and to listeners that name none, and above those that browsers refuse. */
const PORTS = [12_000, 32_000];

/** A port that is free, and that no other test is given: a UDP socket of the same number says so to them. */
export async function freePort() {
  for (;;) {
    const port = randomInt(...PORTS);
    const mark = dgram.createSocket('udp4');
    const probe = net.createServer();
    try {
      mark.bind(port, '127.0.0.1');
      await once(mark, 'listening');
      probe.listen(port, '127.0.0.1');
      await once(probe, 'listening');
    } catch {
      mark.close();
      continue;
    }
    mark.unref();
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

/** Makes a certificate for 127.0.0.1 and localhost in `folder`; it is its own authority. */
function makeCertificate(folder) {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=sterna test', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert,
  ], { stdio: 'pipe' });
  return { cert, key };
}

export class TestServer {
  /**
   * Starts one and stops it, whatever happens, when the test (or file, with `after`) is over. `extra`: more words for its command line,
   * or a function that says them once the ports are known.
   */
  static async start(after, extra = []) {
    const server = new TestServer(extra);
    after(() => server.close());
    await server.#findPorts();
    if (NODES > 1) await server.#startOthers();
    await server.run();
    if (NODES > 1) await awaitFollower(server);
    return server;
  }

  async #findPorts() {
    this.port = await freePort();
    this.tlsPort = await freePort();
  }

  /** The other nodes of its cluster, of which one leads. They are started as this one is, but for the ports that it says. */
  async #startOthers() {
    this.#cluster = await makeCluster({ BINARY, freePort, spawnTied });
    const words = typeof this.#extra === 'function' ? this.#extra(this) : this.#extra;
    const ports = words.flatMap((word, at) => (/^--(http-port|unixsocket)$/.test(word) ? [at, at + 1] : []));
    for (let n = 1; n < NODES; n += 1) {
      const other = new TestServer(words.filter((_, at) => !ports.includes(at)));
      other.#cluster = this.#cluster;
      this.#others.push(other);
      await other.#findPorts();
      await other.run();
    }
    await awaitLeader(this.#others);
  }

  /** The words of its cluster, if it is one of several. */
  #cluster = [];
  #others = [];
  #extra;
  #process;
  #log = '';

  constructor(extra) {
    this.#extra = extra;
    this.folder = mkdtempSync(join(tmpdir(), 'sterna-clients-'));
    Object.assign(this, makeCertificate(this.folder));
    this.ca = readFileSync(this.cert);
    this.password = PASSWORD;
    this.host = '127.0.0.1';
  }

  /** This one, and the other nodes of its cluster. */
  get nodes() { return [this, ...this.#others]; }
  get url() { return this.urlWith(this.password); }
  urlWith(password) {
    return HAS_TLS ? `rediss://:${password}@${this.host}:${this.tlsPort}` : `redis://:${password}@${this.host}:${this.port}`;
  }
  get plainUrl() { return `redis://:${this.password}@${this.host}:${this.port}`; }
  /** What a program needs to find this server, for its environment. */
  get env() { return { ...process.env, REDIS_URL: this.url, REDIS_CA: this.cert }; }

  async run() {
    const options = [
      '--bind', this.host, '--port', String(this.port), '--requirepass', this.password, '--dir', this.folder,
      ...(HAS_TLS ? this.#tlsOptions() : []), ...(IS_STERNA ? ['--threads', '2'] : ['--save', '']),
      ...(typeof this.#extra === 'function' ? this.#extra(this) : this.#extra), ...this.#cluster,
    ];
    const started = spawnTied(BINARY, options, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = started;
    for (const output of [started.stdout, started.stderr]) output.on('data', (data) => { this.#log += data; });
    let failure;
    started.once('error', (error) => { failure = error; });
    const deadline = Date.now() + START_MS;
    while (!(await this.#accepts())) {
      if (failure) throw failure;
      if (started.exitCode !== null || Date.now() > deadline) throw new Error(`${BINARY} did not start:\n${this.#log}`);
      await pause(10);
    }
  }

  #tlsOptions() {
    return [
      '--tls-port', String(this.tlsPort), '--tls-cert-file', this.cert, '--tls-key-file', this.key,
      '--tls-auth-clients', 'no', ...(IS_STERNA ? [] : ['--tls-ca-cert-file', this.cert]),
    ];
  }

  async #accepts() {
    const socket = net.connect(HAS_TLS ? this.tlsPort : this.port, this.host);
    const accepted = await new Promise((settle) => {
      socket.once('connect', () => settle(true));
      socket.once('error', () => settle(false));
    });
    socket.destroy();
    return accepted;
  }

  /** Ends the process in order and answers its exit code. */
  async stop() {
    const running = this.#process;
    if (!running || running.pid === undefined) return undefined;
    if (running.exitCode === null && running.signalCode === null) {
      const exited = once(running, 'exit');
      running.kill('SIGTERM');
      const forced = setTimeout(() => running.kill('SIGKILL'), STOP_MS);
      await exited;
      clearTimeout(forced);
    }
    return running.exitCode;
  }

  /** The same ports and certificate again, as after a deployment. */
  async restart() {
    await this.stop();
    await this.run();
  }

  /** SIGKILL in the middle of whatever it does, and a new process on the same files and ports. */
  async crash() {
    if (this.#others.length) {
      // The node that leads: this one's clients stay.
      const leader = await awaitLeader(GROUPS > 1 ? this.#others : this.nodes);
      if (leader !== this) return leader.crash();
    }
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
    await this.run();
  }

  async close() {
    for (const node of this.nodes) await node.stop();
    for (const { folder } of this.#others) rmSync(folder, { recursive: true, force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}
