// The other nodes of a server under test: with STERNA_TEST_NODES=3 each server of these tests is a node of a cluster with
// `cluster-keys`, one that does not lead. Clients see no difference; a crash is that of the node that leads.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

/** How many nodes each server of the tests is one of; 1: it is alone. */
export const NODES = Number(process.env.STERNA_TEST_NODES ?? 1);

const PATIENCE_MS = 60_000;
const PAUSE_MS = 20;

/** Waits until `look` answers something. */
export async function eventually(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await pause(PAUSE_MS);
  }
}

/** What a server answers to one command, as text; '' if it is not there. */
export async function ask(server, ...words) {
  const socket = net.connect(server.port, server.host);
  socket.on('error', () => {});
  let text = '';
  socket.on('data', (data) => { text += data; });
  socket.write(`AUTH ${server.password}\r\n${words.join(' ')}\r\nQUIT\r\n`);
  await new Promise((settle) => { socket.once('close', settle); });
  return text;
}

const leads = async (server) => (await ask(server, 'INFO', 'cluster')).includes('cluster_keys:me');

let nats;
let clusters = 0;

/** The NATS server that all clusters of this process share. */
async function natsUrl(freePort, spawnTied) {
  nats ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sterna-nats-'));
    const port = await freePort();
    const file = join(folder, 'nats.conf');
    writeFileSync(file, `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${folder}", sync_interval: always }\n`);
    const server = spawnTied(process.env.NATS_SERVER, ['-c', file], { stdio: 'ignore' });
    server.unref();
    process.once('exit', () => { server.kill('SIGKILL'); rmSync(folder, { recursive: true, force: true }); });
    return `nats://127.0.0.1:${port}`;
  })();
  return nats;
}

/** Makes a cluster's log, and answers the words that each of its nodes is started with. */
export async function makeCluster({ BINARY, freePort, spawnTied }) {
  const url = await natsUrl(freePort, spawnTied);
  clusters += 1;
  const name = `clients-${process.pid}-${clusters}`;
  const init = ['cluster', 'init', '--url', url, '--name', name, '--replicas', '1'];
  await eventually('a log', () => promisify(execFile)(BINARY, init).then(() => true, () => false));
  return ['--cluster-url', url, '--cluster-name', name, '--cluster-keys', 'yes', '--appendonly', 'yes'];
}

/** Waits until one of these leads. */
export const awaitLeader = (servers) => eventually('a node to lead', async () => {
  for (const server of servers) if (await leads(server)) return server;
  return undefined;
});

/** Waits until this one passes on what concerns keys. */
export const awaitFollower = (server) => eventually('a node that follows', async () =>
  (await ask(server, 'INFO', 'cluster')).includes('cluster_keys:other')
    && (await ask(server, 'CLUSTER', 'INFO')).includes('cluster_state:ok'));
