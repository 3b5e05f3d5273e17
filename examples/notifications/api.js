// The API server: holds people's connections (server-sent events) and one pattern subscription for all of them.
import express from 'express';
import { connect } from '../connection.js';

const port = Number(process.argv[2] ?? 3010);
const subscriber = connect('notifications-api');

/** User id → the open responses of that user: a person may have several tabs. */
const online = new Map();

function send(response, channel, json) {
  response.write(`data: ${JSON.stringify({ channel, ...JSON.parse(json) })}\n\n`);
}

subscriber.on('pmessage', (_pattern, channel, json) => {
  if (channel === 'global:notifications') {
    for (const responses of online.values()) for (const response of responses) send(response, channel, json);
    return;
  }
  const [, user] = /^user:([\w-]+):notifications$/.exec(channel) ?? [];
  for (const response of online.get(user) ?? []) send(response, channel, json);
});

const app = express();

app.get('/users/:id/notifications', (request, response) => {
  const { id } = request.params;
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.write(': listening\n\n');

  if (!online.has(id)) online.set(id, new Set());
  online.get(id).add(response);
  response.once('close', () => {
    online.get(id).delete(response);
    if (online.get(id).size === 0) online.delete(id);
  });
});

await subscriber.psubscribe('*:notifications');
const server = app.listen(port, '127.0.0.1', () => {
  console.log(`notifications api is on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
