// BullMQ's load: node bullmq.js PORT JOBS. Says "ready", waits for a line, says "done" when all jobs are completed.
import { once } from 'node:events';
import { createRequire } from 'node:module';

// The libraries are those of the examples.
const require = createRequire(new URL('../../examples/', import.meta.url));
const { Queue, Worker } = require('bullmq');

const [port, jobs] = process.argv.slice(2).map(Number);
const connection = { host: '127.0.0.1', port };
const WARM = 100;
/** Requests of the producer on their way at a time, and jobs of the worker. */
const AT_ONCE = 20;

const queue = new Queue('load', { connection });
const worker = new Worker('load', async ({ data }) => data.number ** 2, { connection, concurrency: AT_ONCE });

async function run(count) {
  let left = count;
  const completed = new Promise((settle) => {
    const done = () => { left -= 1; if (left === 0) { worker.off('completed', done); settle(); } };
    worker.on('completed', done);
  });
  let next = 0;
  const produce = async () => {
    while (next < count) {
      next += 1;
      await queue.add('square', { number: next, text: 'x'.repeat(100) });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, produce));
  await completed;
}

await run(WARM);
console.log('ready');
await once(process.stdin, 'data');
await run(jobs);
console.log('done');
await worker.close();
await queue.close();
process.exit(0);
