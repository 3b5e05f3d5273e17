// The shop: where things happen. It publishes them, whether or not anybody listens.
import express from 'express';
import { connect } from '../connection.js';

const port = Number(process.argv[2] ?? 3011);
const publisher = connect('notifications-service');

const app = express();
app.use(express.urlencoded({ extended: false }), express.json());

app.post('/orders', async (request, response) => {
  const { user, item } = request.body ?? {};
  // The id becomes part of a channel's name: a colon in it would name somebody else's.
  if (!/^[\w-]{1,64}$/.test(user ?? '') || !item) return response.status(400).send('user and item, please\n');
  const told = await publisher.publish(`user:${user}:notifications`, JSON.stringify({ type: 'order', item }));
  response.status(201).send(`ordered; ${told} API server(s) told\n`);
});

app.post('/announcements', async (request, response) => {
  const { text } = request.body ?? {};
  if (!text) return response.status(400).send('text, please\n');
  const told = await publisher.publish('global:notifications', JSON.stringify({ type: 'announcement', text }));
  response.status(201).send(`announced; ${told} API server(s) told\n`);
});

const server = app.listen(port, '127.0.0.1', () => {
  console.log(`notifications service is on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
