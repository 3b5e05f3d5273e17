// examples/cluster as its README starts it: three NATS servers and three nodes, TLS and passwords between all of them.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import Redis from 'ioredis6';
import { eventually } from './nodes.js';
import { Program } from './program.js';
import { BINARY, IS_STERNA, freePort } from './server.js';

const skip = IS_STERNA && process.env.NATS_SERVER ? false : 'needs NATS_SERVER; ./test installs one';

async function freePorts() {
  const ports = [];
  for (let n = 0; n < 3; n += 1) ports.push(await freePort());
  return ports;
}

test('three nodes have the same keys over TLS, and go on without the one that leads', { skip }, async (t) => {
  const [ports, nats, http, routes, monitors] = [
    await freePorts(), await freePorts(), await freePorts(), await freePorts(), await freePorts(),
  ];
  const program = Program.start((stop) => t.after(stop), { env: process.env }, ['./cluster/start.sh'], {
    STERNA: BINARY, PORTS: ports.join(' '), HTTP_PORTS: http.join(' '), NATS_PORTS: nats.join(' '), ROUTE_PORTS: routes.join(' '),
    MONITOR_PORTS: monitors.join(' '),
  });
  const [, config] = await program.line(/cluster status (\S+)/);
  const clients = ports.map((port) => new Redis(port, { retryStrategy: () => 50, maxRetriesPerRequest: null, lazyConnect: true }));
  t.after(() => { for (const client of clients) client.disconnect(); });
  for (const client of clients) client.on('error', () => {});
  await eventually('the nodes to be there', () => Promise.all(clients.map((client) => client.ping())));
  const leads = async (at) => (await clients[at].info('cluster')).includes('cluster_keys:me');
  const leader = await eventually('a node to lead', async () => {
    for (let at = 0; at < 3; at += 1) if (await leads(at)) return { at };
    return undefined;
  });
  const followers = [0, 1, 2].filter((at) => at !== leader.at);
  const id = await clients[followers[0]].xadd('orders', '*', 'n', '1');
  assert.deepEqual(await clients[followers[1]].xrange('orders', '-', '+'), [[id, ['n', '1']]]);
  const subscriber = clients[followers[1]].duplicate();
  subscriber.on('error', () => {});
  t.after(() => subscriber.disconnect());
  await subscriber.subscribe('news');
  const said = once(subscriber, 'message');
  await clients[leader.at].publish('news', 'hello');
  assert.deepEqual(await said, ['news', 'hello']);

  const doctor = await promisify(execFile)(BINARY, [
    'cluster', 'doctor', config, ...monitors.flatMap((port) => ['--monitor', `127.0.0.1:${port}`]),
  ]);
  assert.doesNotMatch(doctor.stdout, /^(warning|error)/m);
  // Who has no certificate of the authority's is not spoken to: a NATS server says so before anything else.
  const stranger = net.connect(nats[0], '127.0.0.1');
  const [greeting] = await once(stranger, 'data');
  stranger.destroy();
  const { tls_required: isRequired, tls_verify: isVerified, auth_required: asks } = JSON.parse(String(greeting).slice('INFO '.length));
  assert.deepEqual([isRequired, isVerified, asks], [true, true, true]);

  const [, pid] = /process_id:(\d+)/.exec(await clients[leader.at].info('server'));
  process.kill(Number(pid), 'SIGKILL');
  await eventually('another node to lead', async () => (await leads(followers[0])) || (await leads(followers[1])));
  assert.deepEqual(await clients[followers[0]].xrange('orders', '-', '+'), [[id, ['n', '1']]]);
  assert.equal(await clients[followers[1]].xlen('orders'), 1);
});
