// The other nodes of a server under test: with STERNA_TEST_NODES=3 each server of these tests is a node of a cluster with
// `cluster-keys`, one that does not lead. Clients see no difference; a crash is that of the node that leads. With STERNA_TEST_GROUPS=3
// their keys are in three groups, of which each node leads one; a crash is that of another node.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

/** How many nodes each server of the tests is one of; 1: it is alone. */
export const NODES = Number(process.env.STERNA_TEST_NODES ?? 1);

/** In how many groups their keys are: each node leads one of three. */
export const GROUPS = Number(process.env.STERNA_TEST_GROUPS ?? 1);

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

const leads = async (server) => /cluster_keys[:=]me/.test(await ask(server, 'INFO', 'cluster'));

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
  const init = ['cluster', 'init', '--url', url, '--name', name, '--replicas', '1', '--groups', String(GROUPS)];
  await eventually('a log', () => promisify(execFile)(BINARY, init).then(() => true, () => false));
  const keys = ['--cluster-keys', 'yes', '--cluster-groups', String(GROUPS), '--appendonly', 'yes'];
  return ['--cluster-url', url, '--cluster-name', name, ...keys];
}

/** Waits until one of these leads. */
export const awaitLeader = (servers) => eventually('a node to lead', async () => {
  for (const server of servers) if (await leads(server)) return server;
  return undefined;
});

/** Waits until this one passes on what concerns keys; of several groups it leads some by then, and each is led. */
export const awaitFollower = (server) => eventually('a node that follows', async () => {
  const [info, state] = [await ask(server, 'INFO', 'cluster'), await ask(server, 'CLUSTER', 'INFO')];
  return /cluster_keys[:=]other/.test(info) && (GROUPS === 1 || /cluster_keys=me/.test(info)) && state.includes('cluster_state:ok');
});
