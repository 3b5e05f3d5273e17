// Where the server is and whom to trust: the one thing that all the examples share.
//
//   REDIS_URL   rediss://:PASSWORD@HOST:PORT, by default rediss://:secret@127.0.0.1:6380
//   REDIS_CA    PEM file with the certificate to trust, if it is not one that Node trusts already
//               (NODE_EXTRA_CA_CERTS, which Node reads by itself, does as well)
//
// The server's certificate is always verified. There is no switch here to turn that off.
import { readFileSync } from 'node:fs';
import Redis from 'ioredis';

const url = process.env.REDIS_URL ?? 'rediss://:secret@127.0.0.1:6380';
const ca = process.env.REDIS_CA ? readFileSync(process.env.REDIS_CA) : undefined;

/**
 * A connection of its own for each caller: one that subscribes can do nothing else in RESP2.
 *
 * `name` is what CLIENT LIST shows for it. Commands wait while the connection is down, and the client
 * reconnects after 50 ms, 100 ms, … at most 1 s.
 */
export function connect(name, options = {}) {
  const client = new Redis(url, {
    connectionName: name,
    maxRetriesPerRequest: null,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1000),
    ...(url.startsWith('rediss:') && { tls: { ca } }),
    ...options,
  });
  client.on('error', (error) => console.error(`${name}: ${error.message}`));
  return client;
}
