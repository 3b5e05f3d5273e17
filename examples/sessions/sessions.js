// Starts two servers that share their sessions. Ctrl-C stops both.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.PORT ?? 3050);
const program = fileURLToPath(new URL('server.js', import.meta.url));

for (const [index, name] of ['north', 'south'].entries()) {
  const server = fork(program, [name, String(port && port + index)]);
  server.once('exit', (code) => process.exit(code ?? 1));
}
