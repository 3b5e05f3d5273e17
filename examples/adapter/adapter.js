// Starts two chat servers joined by Socket.IO's adapter: node adapter.js [classic|sharded]. Ctrl-C stops both.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const kind = process.argv[2] ?? 'classic';
const port = Number(process.env.PORT ?? 3030);
const program = fileURLToPath(new URL('server.js', import.meta.url));

for (const [index, name] of ['north', 'south'].entries()) {
  const server = fork(program, [name, String(port && port + index), kind]);
  server.once('exit', (code) => process.exit(code ?? 1));
}
