// Celery as it is: examples/celery, also with a server that is killed in the middle of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flow, matches } from './flow.js';

const CELERY = [process.env.PYTHON ?? 'python3', 'celery/run.py'];
const NUMBERS = Array.from({ length: 20 }, (_, index) => index + 1);

function checkResults(lines) {
  const results = new Map(matches(lines, /^result ([^:]+): (.*)$/).map(([, what, value]) => [what, value]));
  assert.equal(results.size, NUMBERS.length + 5, lines.join('\n'));
  for (const number of NUMBERS) assert.equal(results.get(`resize ${number}`), String(number ** 2));
  for (const number of [1, 2, 3]) assert.equal(results.get(`upload ${number}`), 'uploaded at attempt 3');
  assert.equal(results.get('total'), '53055', 'the squares of 101 to 105, each once');
  assert.ok(Number(results.get('remind')) >= 0, 'not before it was due');
}

test('every result is there, and what a killed worker was doing is done once more', async (t) => {
  const { lines } = await flow(t, CELERY);
  checkResults(lines);
  const killed = lines.indexOf('killed two');
  assert.ok(killed > 0, 'one worker was killed');
  const [, broken] = /^two began (.+)$/.exec(lines.slice(0, killed).findLast((line) => line.startsWith('two began')));
  const begun = lines.lastIndexOf(`two began ${broken}`, killed);
  assert.ok(lines.slice(begun).includes(`one began ${broken}`), `${broken} is done by the other`);
});

for (const [moment, when] of [['tasks are sent', /^sent resize 7$/], ['tasks are done', /^one began resize 1\d$/]]) {
  test(`a server that is killed while ${moment} loses none`, async (t) => {
    checkResults((await flow(t, CELERY, when)).lines);
  });
}
