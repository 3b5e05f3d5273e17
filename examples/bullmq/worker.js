// One worker of the queue: node worker.js NAME
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { connect } from '../connection.js';
import { LOCK_MS, QUEUE } from './queue.js';

const [name = 'one'] = process.argv.slice(2);
const WORK_MS = 60;
/** How often a job may be found abandoned before it counts as failed. */
const STALLED_MAX = 5;

async function send(job) {
  const what = job.name === 'digest' ? 'digest' : job.id;
  const late = Date.now() - (job.timestamp + (job.opts.delay ?? 0));
  console.log(`${name} began ${what}, attempt ${job.attemptsMade + 1}, ${late} ms after its time`);
  process.send?.({ began: job.id });
  await pause(WORK_MS);
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

process.once('SIGTERM', () => worker.close().then(() => process.exit(0)));
process.once('disconnect', () => process.exit(0));
