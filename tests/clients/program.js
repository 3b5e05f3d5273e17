// A program under test: started with a server's address in its environment, read line by line.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { spawnTied } from './server.js';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
const LINE_MS = 60_000;

export class Program {
  /** Runs `command` in examples/ and stops it when the test is over. */
  static start(after, server, command, env = {}) {
    const program = new Program(server, command, env);
    after(() => program.stop());
    return program;
  }

  lines = [];
  #process;
  #errors = '';
  #waiting = new Set();
  #ended;

  constructor(server, [file, ...args], env) {
    this.#process = spawnTied(file, args, { cwd: EXAMPLES, env: { ...server.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process.stderr.on('data', (data) => { this.#errors += data; });
    createInterface(this.#process.stdout).on('line', (line) => {
      this.lines.push(line);
      for (const check of this.#waiting) check();
    });
    this.#ended = once(this.#process, 'close').then(([code, signal]) => ({ code, signal, errors: this.#errors }));
    this.#ended.then(() => { for (const check of this.#waiting) check(true); }, () => {});
  }

  /** The first line from number `from` on that matches, now or later. Answers its match and its number. */
  line(pattern, from = 0) {
    return new Promise((settle, fail) => {
      const timer = setTimeout(() => done(fail, this.#story(`no line ${pattern} within ${LINE_MS} ms`)), LINE_MS);
      const done = (how, what) => { clearTimeout(timer); this.#waiting.delete(check); how(what); };
      const check = (ended) => {
        const number = this.lines.findIndex((line, index) => index >= from && pattern.test(line));
        if (number >= 0) done(settle, Object.assign(pattern.exec(this.lines[number]), { number }));
        else if (ended) done(fail, this.#story(`the program ended without a line ${pattern}`));
      };
      this.#waiting.add(check);
      check();
    });
  }

  /** Waits for the program to end by itself, and kills it when it hasn't within `ms`. */
  async end(ms = LINE_MS) {
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), ms);
    const ended = await this.#ended;
    clearTimeout(timer);
    return ended;
  }

  interrupt() { this.#process.kill('SIGINT'); }

  async stop() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGTERM');
    await this.end();
  }

  #story(what) { return new Error(`${what}\n--- output\n${this.lines.join('\n')}\n--- errors\n${this.#errors}`); }
}
