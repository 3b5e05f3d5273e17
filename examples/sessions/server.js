// A shop with a basket per visitor, one of several servers: node server.js NAME PORT (0: any free port).
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { ca, giveUp, ready, url } from '../connection.js';

const [name = 'north', port = '3050'] = process.argv.slice(2);
const SESSION_S = Number(process.env.SESSION_S ?? 3600);

const client = createClient({ url, ...(url.startsWith('rediss:') && { socket: { tls: true, ca } }) });
client.on('ready', ready);
client.on('error', (error) => console.error(`${name}: ${giveUp(error)}`));
await client.connect();
const store = new RedisStore({ client, prefix: 'session:' });

const app = express();
app.use(express.urlencoded({ extended: false }));
app.use(session({
  store,
  // Signs the cookie: all servers need the same one, and nobody else may know it.
  secret: process.env.SESSION_SECRET ?? 'only for development',
  name: 'shop',
  resave: false,
  saveUninitialized: false,
  cookie: { maxAge: SESSION_S * 1000, httpOnly: true, sameSite: 'lax' },
}));

app.post('/login', (request, response, next) => {
  const { user } = request.body ?? {};
  if (!user) return response.status(400).send('user, please\n');
  // A new ID: whoever knew the old one is not logged in.
  request.session.regenerate((error) => {
    if (error) return next(error);
    Object.assign(request.session, { user, basket: [] });
    response.json({ user });
  });
});

app.use((request, response, next) => {
  if (!request.session.user) return response.status(401).send('log in first\n');
  next();
});

app.get('/basket', (request, response) => {
  const { user, basket } = request.session;
  response.json({ user, basket, from: name });
});

app.post('/basket', (request, response) => {
  request.session.basket.push(request.body?.item ?? 'nothing');
  response.status(201).json(request.session.basket);
});

app.get('/visitors', async (_request, response) => {
  const all = await store.all();
  response.json(all.map(({ user }) => user).sort());
});

app.post('/logout', (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.status(204).end()));
});

const server = app.listen(Number(port), '127.0.0.1', () => {
  console.log(`server ${name} is on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
