// BullMQ as it is: examples/bullmq, also with a server that is killed in the middle of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flow, matches } from './flow.js';

const BULLMQ = ['node', 'bullmq/bullmq.js'];
const LETTERS = Array.from({ length: 20 }, (_, index) => `letter-${index + 1}`);
const REMINDERS = ['reminder-1', 'reminder-2', 'reminder-3'];
const REFUSED = ['letter-5', 'letter-10', 'letter-15', 'letter-20'];
/** A job runs on the worker's clock: it may begin this much before its time on the producer's. */
const EARLY_MS = 5;
const TELLINGS_MAX = 3;

function checkCompleted(lines) {
  assert.ok(lines.includes('completed 27, failed 0, left 0'), lines.join('\n'));
  const added = matches(lines, /^added (\S+)$/).map(([, id]) => id);
  assert.deepEqual(added, [...REMINDERS, ...LETTERS]);
  const completed = matches(lines, /^completed (\S+) by (one|two), attempts (\d+)$/);
  assert.deepEqual(completed.map(([, id]) => id).sort(), [...added, ...Array(4).fill('digest')].sort());
  for (const [, id, late] of matches(lines, /began (\S+), attempt 1, (-?\d+) ms/)) {
    assert.ok(Number(late) >= -EARLY_MS, `${id} began before its time: ${late} ms`);
  }
  return completed;
}

test('everything is sent: refused letters at the third attempt, a killed worker\'s by the other', async (t) => {
  let { lines, errors } = await flow(t, BULLMQ);
  // A worker that stands still for two seconds is taken for dead as well, and robbed.
  for (let told = 1; told < TELLINGS_MAX && lines.filter((line) => line.endsWith(' abandoned')).length > 1; told += 1) {
    ({ lines, errors } = await flow(t, BULLMQ));
  }
  assert.equal(errors, '');
  for (const [, id, , attempts] of checkCompleted(lines)) {
    assert.equal(Number(attempts), REFUSED.includes(id) ? 3 : 1, id);
  }
  for (const id of REFUSED) assert.equal(lines.filter((line) => line.includes(`failed ${id},`)).length, 2);
  const killed = lines.indexOf('killed two');
  assert.ok(killed > 0, 'one worker was killed');
  const [[, abandoned]] = matches(lines.slice(killed), /^one found (\S+) abandoned$/);
  assert.ok(lines.slice(0, killed).some((line) => line.startsWith(`two began ${abandoned},`)));
  assert.ok(lines.slice(killed).some((line) => line.startsWith(`one began ${abandoned},`)));
});

for (const [moment, when] of [['jobs are added', /^added letter-7$/], ['jobs are done', /^one began letter-1\d,/]]) {
  test(`a server that is killed while ${moment} loses none`, async (t) => {
    checkCompleted((await flow(t, BULLMQ, when)).lines);
  });
}
