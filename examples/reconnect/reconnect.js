// A subscriber that survives a lost connection and a restarted server. Ctrl-C ends it.
import { connect } from '../connection.js';

const TICK_MS = 250;
const KILL_AT = 3;

// ioredis reconnects and subscribes again by itself; all that is left to do is to notice.
const subscriber = connect('reconnect-subscriber');
const publisher = connect('reconnect-publisher');

let last = 0;
subscriber.on('message', (_channel, text) => {
  const tick = Number(text);
  if (last && tick > last + 1) console.log(`missed ${last + 1} to ${tick - 1}`);
  console.log(`tick ${tick}`);
  last = tick;
});
subscriber.on('close', () => console.log('connection lost'));
subscriber.on('ready', async () => {
  // Subscribing twice is harmless, and the second confirmation says that the first has been done.
  await subscriber.subscribe('ticks');
  console.log('subscribed');
});
await subscriber.subscribe('ticks');

async function killSubscriber() {
  const clients = await publisher.client('LIST', 'TYPE', 'pubsub');
  const line = clients.split('\n').find((client) => client.includes(' name=reconnect-subscriber '));
  const [, id] = /^id=(\d+) /.exec(line);
  await publisher.client('KILL', 'ID', id);
  console.log(`killed client ${id}`);
}

let tick = 0;
const ticking = setInterval(async () => {
  tick += 1;
  // While the server is away there is nobody to tell. Queued ticks would only arrive late.
  if (publisher.status !== 'ready') return;
  // A publish under way when the connection breaks is sent again, or fails; the next tick comes soon either way.
  await publisher.publish('ticks', tick).catch((error) => console.error(error.message));
  if (tick === KILL_AT) await killSubscriber();
}, TICK_MS);

process.once('SIGINT', () => {
  clearInterval(ticking);
  subscriber.disconnect();
  publisher.disconnect();
});
