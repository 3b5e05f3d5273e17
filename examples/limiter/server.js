// One of several servers behind the same limit: node server.js NAME PORT (0: any free port).
import express from 'express';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { connect } from '../connection.js';

const [name = 'north', port = '3040'] = process.argv.slice(2);
const REQUESTS = 5;
const WINDOW_S = Number(process.env.WINDOW_S ?? 10);

const limiter = new RateLimiterRedis({
  storeClient: connect(`limiter-${name}`),
  keyPrefix: 'limit',
  points: REQUESTS,
  duration: WINDOW_S,
});

const app = express();

app.get('/users/:user', async (request, response, next) => {
  try {
    const { remainingPoints } = await limiter.consume(request.params.user);
    response.json({ from: name, left: remainingPoints });
  } catch (refused) {
    // An Error is a failure of the limiter; anything else says when to come back.
    if (refused instanceof Error) return next(refused);
    response.set('Retry-After', String(Math.ceil(refused.msBeforeNext / 1000)));
    response.status(429).json({ from: name, wait: refused.msBeforeNext });
  }
});

const server = app.listen(Number(port), '127.0.0.1', () => {
  console.log(`server ${name} is on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
