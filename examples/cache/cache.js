// Starts three workers, each with a cache of its own. Ctrl-C stops them.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.PORT ?? 3020);
const program = fileURLToPath(new URL('worker.js', import.meta.url));

for (const number of [1, 2, 3]) {
  const worker = fork(program, [String(number), String(port && port + number - 1)]);
  worker.once('exit', (code) => process.exit(code ?? 1));
}
