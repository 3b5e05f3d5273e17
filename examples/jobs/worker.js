// One worker of a consumer group: node worker.js NAME
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from '../connection.js';
import { GROUP, STREAM, fieldsOf, resultKey } from './queue.js';

const [name = 'one'] = process.argv.slice(2);
const client = connect(`jobs-worker-${name}`);

/** Entries taken at a time. What is taken waits for this worker, so a few, not many. */
const BATCH = 3;
const WORK_MS = 60;
/** Who is silent for so long is taken for dead. Far above BATCH × WORK_MS, or the living would be robbed. */
const CLAIM_AFTER_MS = 1000;
/** How long to wait for new jobs before looking again for those of the dead. */
const BLOCK_MS = 300;

/** The square: a job whose result doesn't depend on who does it, or how often. */
async function work({ number }) {
  await pause(WORK_MS);
  return Number(number) ** 2;
}

async function run([id, flat], how) {
  const job = fieldsOf(flat);
  console.log(`${name} ${how} ${job.number}`);
  process.send?.({ began: id });
  const result = await work(job);
  // One transaction: nobody ever sees a result without its acknowledgement, or the other way round.
  const [[, stored]] = await client.multi().set(resultKey(id), result, 'NX').xack(STREAM, GROUP, id).exec();
  console.log(`${name} ${stored ? 'finished' : 'came too late for'} ${job.number}`);
}

/** Entries that somebody took and left. Each becomes this worker's, its idle time starts anew. */
async function leftOver() {
  const [, entries] = await client.xautoclaim(STREAM, GROUP, name, CLAIM_AFTER_MS, '0-0', 'COUNT', BATCH);
  return entries;
}

async function fresh() {
  const read = await client.xreadgroup('GROUP', GROUP, name, 'COUNT', BATCH, 'BLOCK', BLOCK_MS, 'STREAMS', STREAM, '>');
  return read?.[0][1] ?? [];
}

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));

while (true) {
  for (const entry of await leftOver()) await run(entry, 'claimed');
  for (const entry of await fresh()) await run(entry, 'began');
}
