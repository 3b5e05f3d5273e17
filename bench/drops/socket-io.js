// A Socket.IO server as its guide has it: node socket-io.js PORT REDIS_PORT classic|streams. Emits the numbers that its parent sends.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../tests/', import.meta.url));
const { Server } = require('socket.io');
const Redis = require('ioredis5');

const [port, redisPort, adapter] = process.argv.slice(2);
const connect = () => new Redis({ host: '127.0.0.1', port: Number(redisPort) });
const options = {};
if (adapter === 'classic') {
  options.adapter = require('@socket.io/redis-adapter').createAdapter(connect(), connect());
} else if (adapter === 'streams') {
  options.adapter = require('@socket.io/redis-streams-adapter').createAdapter(connect());
  options.connectionStateRecovery = { maxDisconnectionDuration: 120_000 };
}
const http = createServer();
const io = new Server(http, options);
process.on('message', (message) => io.emit('news', message));
process.on('disconnect', () => process.exit(0));
http.listen(Number(port), '127.0.0.1');
