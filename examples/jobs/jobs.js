// Thirty jobs, three workers, one of which doesn't survive. Ends when every job has been finished.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect } from '../connection.js';
import { GROUP, STREAM, resultKey } from './queue.js';

const JOBS = 30;
const VICTIM = 'two';
/** The victim is killed in the middle of this job of its own. */
const KILL_AT = 4;
const LOOK_EVERY_MS = 100;

const client = connect('jobs-producer');
await client.del(STREAM);
await client.xgroup('CREATE', STREAM, GROUP, '$', 'MKSTREAM');

const program = fileURLToPath(new URL('worker.js', import.meta.url));
const workers = new Map(['one', 'two', 'three'].map((name) => [name, fork(program, [name])]));

let begun = 0;
workers.get(VICTIM).on('message', () => {
  begun += 1;
  // SIGKILL: no goodbye, no clean-up, as when a machine loses its power.
  if (begun === KILL_AT) workers.get(VICTIM).kill('SIGKILL');
});
for (const [name, worker] of workers) {
  if (name !== VICTIM) worker.once('exit', (code) => process.exit(code ?? 1));
}

const ids = [];
for (let number = 1; number <= JOBS; number += 1) ids.push(await client.xadd(STREAM, '*', 'number', number));

await once(workers.get(VICTIM), 'exit');
const left = await client.xpending(STREAM, GROUP, '-', '+', JOBS, VICTIM);
console.log(`killed ${VICTIM}, which leaves ${left.length} behind`);

// No result is missing before the last acknowledgement: they come together.
while ((await client.exists(ids.map(resultKey))) < JOBS) await pause(LOOK_EVERY_MS);

const results = await client.mget(ids.map(resultKey));
const [pending] = await client.xpending(STREAM, GROUP);
console.log(`${results.length} results, ${pending} pending`);
console.log(`results ${results.join(' ')}`);

// First the workers, then what they work on.
workers.delete(VICTIM);
await Promise.all([...workers.values()].map((worker) => {
  worker.removeAllListeners('exit');
  worker.kill();
  return once(worker, 'exit');
}));
await client.del(STREAM, ids.map(resultKey));
await client.quit();
