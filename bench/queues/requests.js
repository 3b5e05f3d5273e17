// BullMQ's requests as the library sends them: node requests.js PORT. Adds jobs and takes them at the server there, and
// says one line, `add take`: the request that adds a job and the one that takes one, in hexadecimal digits. Each may be
// sent again and again: the server numbers the jobs.
import { createRequire } from 'node:module';

// The libraries are those of the examples.
const require = createRequire(new URL('../../examples/', import.meta.url));
const { Queue, Worker } = require('bullmq');
const Redis = createRequire(require.resolve('bullmq'))('ioredis');

let last;
const send = Redis.prototype.sendCommand;
Redis.prototype.sendCommand = function sendCommand(command, ...rest) {
  if (command.name === 'evalsha') {
    const write = command.toWritable.bind(command);
    command.toWritable = (socket) => {
      const bytes = write(socket);
      last = Buffer.from(bytes);
      return bytes;
    };
  }
  return send.call(this, command, ...rest);
};

/** The last EVALSHA that `action` sends; the first time it sends the script itself. */
async function request(action) {
  await action();
  await action();
  return last.toString('hex');
}

const connection = { host: '127.0.0.1', port: Number(process.argv[2]) };
const queue = new Queue('load', { connection });
const worker = new Worker('load', null, { connection, autorun: false });
const add = await request(() => queue.add('square', { number: 7, text: 'x'.repeat(100) }));
const take = await request(() => worker.getNextJob('token', { block: false }));
console.log(add, take);
process.exit(0);
