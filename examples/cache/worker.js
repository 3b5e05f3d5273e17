// One of several processes that serve the same items: node worker.js NUMBER PORT (0: any free port).
import express from 'express';
import { connect } from '../connection.js';
import { INVALIDATE, LocalCache } from './local-cache.js';

const [number = '1', port = '3020'] = process.argv.slice(2);
const database = connect(`cache-worker-${number}`);
const subscriber = connect(`cache-worker-${number}-subscriber`);

const cache = new LocalCache(subscriber, {
  dropped: (key, by) => console.log(`worker ${number} dropped ${key}, changed by worker ${by}`),
});

const app = express();
app.use(express.urlencoded({ extended: false }));

app.get('/items/:name', async (request, response) => {
  const { value, from } = await cache.get(`item:${request.params.name}`, (key) => database.get(key));
  response.json({ price: value, from, worker: Number(number) });
});

app.put('/items/:name', async (request, response) => {
  const { price } = request.body ?? {};
  if (!price) return response.status(400).send('price, please\n');
  const key = `item:${request.params.name}`;
  // First the change, then the news of it: the other way round a copy could be made in between.
  await database.set(key, price);
  const told = await database.publish(INVALIDATE, JSON.stringify({ key, by: Number(number) }));
  response.json({ price, told });
});

// Serving earlier would be correct too, only slower: the cache keeps nothing until it hears of changes.
await subscriber.subscribe(INVALIDATE);
const server = app.listen(Number(port), '127.0.0.1', () => {
  console.log(`cache worker ${number} is on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
