// Starts two chat servers as processes of their own. Ctrl-C stops both.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.PORT ?? 3000);
const program = fileURLToPath(new URL('server.js', import.meta.url));

for (const [index, name] of ['north', 'south'].entries()) {
  const server = fork(program, [name, String(port && port + index)]);
  // One server alone would look like a working chat and be half of one.
  server.once('exit', (code) => process.exit(code ?? 1));
}
