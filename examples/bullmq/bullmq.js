// Sends mail through a queue: letters, some of which fail at first, reminders for later, a digest that comes again and
// again. Two workers, one of which doesn't survive. Ends when everything has been sent.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { connect } from '../connection.js';
import { QUEUE } from './queue.js';

const LETTERS = 20;
/** Every fifth letter is refused twice before it is accepted. */
const REFUSED_EVERY = 5;
const REFUSALS = 2;
const REMINDERS_AFTER_MS = [400, 800, 1200];
const DIGESTS = 4;
const DIGEST_EVERY_MS = 400;
/** What each worker is told: its name, and in the middle of which job of its own it dies. */
const WORKERS = [['one'], ['two', '3']];
const POLL_MS = 100;

const connection = connect('bullmq-producer');
const queue = new Queue(QUEUE, { connection, defaultJobOptions: { attempts: 4, backoff: { type: 'exponential', delay: 100 } } });
await queue.obliterate({ force: true });

const program = fileURLToPath(new URL('worker.js', import.meta.url));
const [survivor, victim] = WORKERS.map((told) => fork(program, told));
survivor.once('exit', (code) => process.exit(code ?? 1));
victim.once('exit', () => console.log('killed two'));
await Promise.all([once(survivor, 'message'), once(victim, 'message')]);

/** Every job has an ID of its own choosing: whoever adds it again, not knowing whether it arrived, adds nothing. */
async function add(id, data, options = {}) {
  await queue.add('send', data, { jobId: id, ...options });
  console.log(`added ${id}`);
}

await queue.upsertJobScheduler('digest', { every: DIGEST_EVERY_MS, limit: DIGESTS }, { name: 'digest' });
for (const [index, delay] of REMINDERS_AFTER_MS.entries()) await add(`reminder-${index + 1}`, {}, { delay });
for (let number = 1; number <= LETTERS; number += 1) {
  await add(`letter-${number}`, { refusals: number % REFUSED_EVERY === 0 ? REFUSALS : 0 });
}

const expected = LETTERS + REMINDERS_AFTER_MS.length + DIGESTS;
while ((await queue.getCompletedCount()) + (await queue.getFailedCount()) < expected) await pause(POLL_MS);

const counts = await queue.getJobCounts('completed', 'failed', 'active', 'wait', 'delayed');
console.log(`completed ${counts.completed}, failed ${counts.failed}, left ${counts.active + counts.wait + counts.delayed}`);
for (const job of await queue.getCompleted(0, expected)) {
  console.log(`completed ${job.name === 'digest' ? 'digest' : job.id} by ${job.returnvalue.by}, attempts ${job.attemptsMade}`);
}

// First the worker, then what it works on.
survivor.removeAllListeners('exit');
survivor.kill();
await once(survivor, 'exit');
await queue.obliterate({ force: true });
await queue.close();
await connection.quit();
