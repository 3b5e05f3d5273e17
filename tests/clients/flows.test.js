// Job queues, limits and sessions of an application, with libraries as they are: the programs in examples/, each also
// with a server that is killed in the middle of it. What the server had acknowledged must still be there.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Program } from './program.js';
import { DURABLE, TestServer } from './server.js';

/** A flow takes some seconds by itself: retries, delays, the time until a worker is taken for dead. */
const FLOW_MS = 60_000;

/** Starts `command` against a server of its own, kills that once a line matches `when`, and waits for the end. */
async function flow(t, command, when) {
  const server = await TestServer.start((stop) => t.after(stop), DURABLE);
  const program = Program.start((stop) => t.after(stop), server, command);
  if (when) {
    await program.line(when);
    await server.crash();
  }
  const { code, errors } = await program.end(FLOW_MS);
  assert.equal(code, 0, `${program.lines.join('\n')}\n${errors}`);
  if (!when) assert.equal(errors, '');
  return program.lines;
}

/** The matches of `pattern` in those lines that match. */
const matches = (lines, pattern) => lines.flatMap((line) => { const match = pattern.exec(line); return match ? [match] : []; });

describe('bullmq', () => {
  const LETTERS = Array.from({ length: 20 }, (_, index) => `letter-${index + 1}`);
  const REMINDERS = ['reminder-1', 'reminder-2', 'reminder-3'];
  const REFUSED = ['letter-5', 'letter-10', 'letter-15', 'letter-20'];
  /** A job runs on the worker's clock: it may begin this much before its time on the producer's. */
  const EARLY_MS = 5;

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
    const lines = await flow(t, ['node', 'bullmq/bullmq.js']);
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
      checkCompleted(await flow(t, ['node', 'bullmq/bullmq.js'], when));
    });
  }
});
