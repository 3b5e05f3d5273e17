// One worker of the queue: node worker.js NAME [JOB]. In the middle of its JOBth job it dies, if one is given.
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { connect } from '../connection.js';
import { LOCK_MS, QUEUE } from './queue.js';

const [name = 'one', diesAt] = process.argv.slice(2);
const WORK_MS = 60;
/** How often a job may be found abandoned before it counts as failed. */
const STALLED_MAX = 5;

let begun = 0;

async function send(job) {
  const what = job.name === 'digest' ? 'digest' : job.id;
  const late = Date.now() - (job.timestamp + (job.opts.delay ?? 0));
  console.log(`${name} began ${what}, attempt ${job.attemptsMade + 1}, ${late} ms after its time`);
  await pause(WORK_MS);
  begun += 1;
  // As when a machine loses its power: the job stays among the active ones until its lock is stale.
  if (begun === Number(diesAt)) process.kill(process.pid, 'SIGKILL');
  if (job.attemptsMade < (job.data.refusals ?? 0)) throw new Error('the mailbox is full');
  return { by: name };
}

const worker = new Worker(QUEUE, send, {
  connection: connect(`bullmq-worker-${name}`),
  lockDuration: LOCK_MS,
  stalledInterval: LOCK_MS,
  maxStalledCount: STALLED_MAX,
});
worker.on('failed', (job, error) => console.log(`${name} failed ${job?.id}, attempt ${job?.attemptsMade}: ${error.message}`));
worker.on('stalled', (id) => console.log(`${name} found ${id} abandoned`));
worker.on('error', (error) => console.error(`${name}: ${error.message}`));
await worker.waitUntilReady();
process.send?.('ready');

process.once('SIGTERM', () => worker.close().then(() => process.exit(0)));
process.once('disconnect', () => process.exit(0));
