// An application's flow: a program of examples/ that runs to its end, whether or not the server is killed meanwhile.
import assert from 'node:assert/strict';
import { Program } from './program.js';
import { DURABLE, TestServer } from './server.js';

/** A flow takes some seconds by itself: retries, delays, the time until a worker is taken for dead. */
const FLOW_MS = 150_000;

/**
 * Starts `command` against a server of its own, kills that once a line matches `when`, and waits for the end.
 * Answers what the program said, as lines and as `errors`.
 */
export async function flow(t, command, when) {
  const server = await TestServer.start((stop) => t.after(stop), DURABLE);
  const program = Program.start((stop) => t.after(stop), server, command);
  if (when) {
    await program.line(when);
    await server.crash();
  }
  const { code, errors } = await program.end(FLOW_MS);
  assert.equal(code, 0, `${program.lines.join('\n')}\n${errors}`);
  return { lines: program.lines, errors };
}

/** The matches of `pattern` in those lines that match. */
export const matches = (lines, pattern) => lines.flatMap((line) => { const match = pattern.exec(line); return match ? [match] : []; });
