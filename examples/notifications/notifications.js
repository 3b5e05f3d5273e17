// Starts the API server and the shop as processes of their own. Ctrl-C stops both.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.PORT ?? 3010);

for (const [index, file] of ['api.js', 'service.js'].entries()) {
  const program = fork(fileURLToPath(new URL(file, import.meta.url)), [String(port && port + index)]);
  program.once('exit', (code) => process.exit(code ?? 1));
}
