// What client libraries depend on, down to the byte. Each test names who would notice.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { NODES } from './nodes.js';
import { IS_STERNA, TestServer } from './server.js';
import { Wire } from './wire.js';

const server = await TestServer.start(after);

/** Redis 7.0, as Debian packages it, has no CLIENT SETINFO and pushes before it answers. Newer ones do as we do. */
const OLD = IS_STERNA ? false : 'differs between versions of Redis';

async function connect(t, protocol) {
  const wire = await Wire.open((stop) => t.after(stop), server);
  wire.command('AUTH', server.password);
  await wire.expect('+OK\r\n');
  if (protocol === 3) {
    wire.command('HELLO', '3');
    await wire.expect('%7\r\n');
    await skipHello(wire);
  }
  return wire;
}

/** Reads the rest of a HELLO map and answers its names in order. */
async function skipHello(wire) {
  const names = [];
  for (let pair = 0; pair < 7; pair += 1) {
    const name = await wire.text();
    names.push(name);
    if (name === 'proto' || name === 'id') await wire.line(/^:\d+$/);
    else if (name === 'modules') await wire.line(/^\*\d+$/);
    else await wire.text();
  }
  return names;
}

test('HELLO with AUTH and SETNAME in one command answers the whole map (node-redis, redis-py 8)', async (t) => {
  const wire = await Wire.open((stop) => t.after(stop), server);
  wire.command('HELLO', '3', 'AUTH', 'default', server.password, 'SETNAME', 'whole');
  await wire.expect('%7\r\n$6\r\nserver\r\n');
  await wire.text();
  await wire.expect('$7\r\nversion\r\n');
  assert.match(await wire.text(), /^\d+\.\d+\.\d+/);
  await wire.expect('$5\r\nproto\r\n:3\r\n$2\r\nid\r\n');
  await wire.line(/^:\d+$/);
  await wire.expect(NODES > 1 ? '$4\r\nmode\r\n$7\r\ncluster\r\n' : '$4\r\nmode\r\n$10\r\nstandalone\r\n');
  await wire.expect('$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n');
  wire.command('CLIENT', 'GETNAME');
  await wire.expect('$5\r\nwhole\r\n');
});

test('HELLO with AUTH as an inline command, before anything else (fred)', async (t) => {
  const wire = await Wire.open((stop) => t.after(stop), server);
  wire.send(`HELLO 3 AUTH default ${server.password}\r\n`);
  await wire.expect('%7\r\n');
  assert.deepEqual(await skipHello(wire), ['server', 'version', 'proto', 'id', 'mode', 'role', 'modules']);
  await wire.quiet();
});

test('before authentication every command but HELLO and AUTH is refused', async (t) => {
  const wire = await Wire.open((stop) => t.after(stop), server);
  wire.command('SUBSCRIBE', 'x');
  await wire.expect('-NOAUTH Authentication required.\r\n');
  wire.send('PING\r\n');
  await wire.expect('-NOAUTH Authentication required.\r\n');
  wire.command('HELLO', '3');
  await wire.line(/^-NOAUTH HELLO must be called with the client already authenticated, otherwise /);
  wire.command('AUTH', 'wrong');
  await wire.line(/^-WRONGPASS invalid username-password pair or user is disabled\.$/);
  wire.command('HELLO', '3', 'AUTH', 'default', 'wrong');
  await wire.line(/^-WRONGPASS /);
});

test('a version that does not exist is NOPROTO', async (t) => {
  const wire = await connect(t);
  wire.command('HELLO', '4');
  await wire.expect('-NOPROTO unsupported protocol version\r\n');
});

test('MAINT_NOTIFICATIONS is an error, not a promise (redis-py 8, node-redis)', async (t) => {
  const wire = await connect(t, 3);
  wire.command('CLIENT', 'MAINT_NOTIFICATIONS', 'ON', 'moving-endpoint-type', 'internal-ip');
  await wire.expect("-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n");
});

test('names and option words in any case (ioredis sends lower case)', { skip: OLD }, async (t) => {
  const wire = await connect(t);
  wire.command('client', 'setinfo', 'lib-name', 'mine');
  wire.command('client', 'setname', 'lower');
  await wire.expect('+OK\r\n+OK\r\n');
  wire.command('pubsub', 'numsub', 'x');
  await wire.expect('*2\r\n$1\r\nx\r\n:0\r\n');
  wire.command('sUbScRiBe', 'x');
  await wire.expect('*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
});

test('an unknown command is named as it was typed (BullMQ, ioredis 6)', async (t) => {
  const wire = await connect(t);
  wire.command('NoSuch', 'a', 'b');
  await wire.expect("-ERR unknown command 'NoSuch', with args beginning with: 'a' 'b' \r\n");
  wire.command('PUBLISH', 'a');
  await wire.expect("-ERR wrong number of arguments for 'publish' command\r\n");
  wire.command('AUTH', 'a', 'b', 'c');
  await wire.expect('-ERR syntax error\r\n');
  wire.command('AUTH');
  await wire.expect("-ERR wrong number of arguments for 'auth' command\r\n");
});

test('confirmations count channels and patterns together, sharded channels apart', async (t) => {
  const wire = await connect(t);
  wire.command('SUBSCRIBE', 'a', 'b', 'a');
  await wire.expect(
    '*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n');
  wire.command('PSUBSCRIBE', 'p*');
  await wire.expect('*3\r\n$10\r\npsubscribe\r\n$2\r\np*\r\n:3\r\n');
  wire.command('SSUBSCRIBE', 's');
  await wire.expect('*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n');
  wire.command('UNSUBSCRIBE', 'never');
  await wire.expect('*3\r\n$11\r\nunsubscribe\r\n$5\r\nnever\r\n:3\r\n');
  wire.command('PUNSUBSCRIBE', 'a');
  await wire.expect('*3\r\n$12\r\npunsubscribe\r\n$1\r\na\r\n:3\r\n');
});

for (const protocol of [2, 3]) {
  const [array, none] = protocol === 3 ? ['>', '_\r\n'] : ['*', '$-1\r\n'];

  test(`UNSUBSCRIBE without a name, RESP${protocol} (FastStream, rq, ioredis)`, async (t) => {
    const wire = await connect(t, protocol);
    for (const kind of ['unsubscribe', 'punsubscribe', 'sunsubscribe']) {
      wire.command(kind.toUpperCase());
      await wire.expect(`${array}3\r\n$${kind.length}\r\n${kind}\r\n${none}:0\r\n`);
    }
    wire.command('SUBSCRIBE', 'only');
    await wire.expect(`${array}3\r\n$9\r\nsubscribe\r\n$4\r\nonly\r\n:1\r\n`);
    wire.command('UNSUBSCRIBE');
    await wire.expect(`${array}3\r\n$11\r\nunsubscribe\r\n$4\r\nonly\r\n:0\r\n`);
    // With nothing left it is an ordinary connection again.
    wire.command('GET', 'nothing');
    await wire.expect(none);
  });
}

test('PING while subscribed, as health checks send it (redis-py, valkey-py)', async (t) => {
  const two = await connect(t);
  two.command('SUBSCRIBE', 'x');
  await two.expect('*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
  two.command('PING', 'redis-py-health-check');
  await two.expect('*2\r\n$4\r\npong\r\n$21\r\nredis-py-health-check\r\n');
  two.command('PING');
  await two.expect('*2\r\n$4\r\npong\r\n$0\r\n\r\n');

  const three = await connect(t, 3);
  three.command('SUBSCRIBE', 'x');
  await three.expect('>3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
  three.command('PING');
  await three.expect('+PONG\r\n');
  three.command('PING', 'valkey-py-health-check');
  await three.expect('$22\r\nvalkey-py-health-check\r\n');
});

test('RESP2 subscriber mode refuses other commands by their names, RESP3 allows them', async (t) => {
  const two = await connect(t);
  two.command('SUBSCRIBE', 'x');
  await two.expect('*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
  two.command('GET', 'k');
  await two.expect(
    "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n");
  two.command('RESET');
  await two.expect('+RESET\r\n');

  const three = await connect(t, 3);
  three.command('SUBSCRIBE', 'x');
  await three.expect('>3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
  three.command('GET', 'k');
  await three.expect('_\r\n');
});

test('publishing to oneself answers the count first and pushes after it', { skip: OLD }, async (t) => {
  const wire = await connect(t, 3);
  wire.command('SUBSCRIBE', 'self');
  await wire.expect('>3\r\n$9\r\nsubscribe\r\n$4\r\nself\r\n:1\r\n');
  wire.command('PSUBSCRIBE', 'se*');
  await wire.expect('>3\r\n$10\r\npsubscribe\r\n$3\r\nse*\r\n:2\r\n');
  wire.command('PUBLISH', 'self', 'hi');
  // Once for the channel and once for the pattern, and counted as two.
  await wire.expect(
    ':2\r\n>3\r\n$7\r\nmessage\r\n$4\r\nself\r\n$2\r\nhi\r\n>4\r\n$8\r\npmessage\r\n$3\r\nse*\r\n$4\r\nself\r\n$2\r\nhi\r\n');
  await wire.quiet();
});

test('NUMSUB and SHARDNUMSUB are flat arrays in RESP3 too (Socket.IO)', async (t) => {
  const listener = await connect(t);
  listener.command('SUBSCRIBE', 'room');
  await listener.expect('*3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n');
  listener.command('SSUBSCRIBE', 'shard');
  await listener.expect('*3\r\n$10\r\nssubscribe\r\n$5\r\nshard\r\n:1\r\n');
  const wire = await connect(t, 3);
  wire.command('PUBSUB', 'NUMSUB', 'room', 'none');
  await wire.expect('*4\r\n$4\r\nroom\r\n:1\r\n$4\r\nnone\r\n:0\r\n');
  wire.command('PUBSUB', 'SHARDNUMSUB', 'shard');
  await wire.expect('*2\r\n$5\r\nshard\r\n:1\r\n');
});

test('INFO has the fields that clients read, in lines that end in CRLF', async (t) => {
  const wire = await connect(t);
  wire.command('INFO');
  const lines = (await wire.text()).split('\r\n');
  assert.ok(lines.every((line) => !line.includes('\n')), 'no bare line feed');
  const fields = new Map(lines.filter((line) => line.includes(':')).map((line) => line.split(/:(.*)/s, 2)));
  for (const name of [
    'redis_version', 'loading', 'role', 'maxmemory_policy', 'used_memory', 'used_memory_human', 'connected_clients',
    'blocked_clients', 'total_commands_processed', 'total_connections_received', 'pubsub_channels', 'pubsub_patterns',
    'uptime_in_seconds',
  ]) assert.ok(fields.has(name), name);
  assert.match(fields.get('redis_version'), /^(?:[7-9]|\d\d)\.\d+\.\d+$/);
  assert.equal(fields.get('loading'), '0');
  assert.equal(fields.get('role'), 'master');
  assert.ok(Number(fields.get('connected_clients')) >= 1);
  assert.ok(Number(fields.get('used_memory')) > 0);

  wire.command('info', 'REPLICATION');
  assert.match(await wire.text(), /^# Replication\r\nrole:master\r\n/);
  wire.command('SET', 'k', 'v');
  await wire.expect('+OK\r\n');
  wire.command('INFO', 'keyspace');
  assert.match(await wire.text(), /^# Keyspace\r\ndb0:keys=1,expires=0,/);
});

test('QUIT says OK and closes (ioredis, BullMQ)', async (t) => {
  const wire = await connect(t);
  wire.command('SUBSCRIBE', 'x');
  await wire.expect('*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
  wire.command('QUIT');
  await wire.expect('+OK\r\n');
  await wire.end();
});

test('CLIENT KILL closes a subscriber at once, and its subscriptions are gone', async (t) => {
  const victim = await connect(t);
  victim.command('CLIENT', 'ID');
  const [, id] = await victim.line(/^:(\d+)$/);
  victim.command('SUBSCRIBE', 'doomed');
  await victim.expect('*3\r\n$9\r\nsubscribe\r\n$6\r\ndoomed\r\n:1\r\n');
  const wire = await connect(t);
  wire.command('CLIENT', 'KILL', 'ID', id);
  await wire.expect(':1\r\n');
  await victim.end();
  wire.command('PUBLISH', 'doomed', 'x');
  await wire.expect(':0\r\n');
  wire.command('CLIENT', 'KILL', 'ID', id);
  await wire.expect(':0\r\n');
});
