// Where the server is and whom to trust: the one thing that all the examples share.
//
//   REDIS_URL   rediss://:PASSWORD@HOST:PORT, by default rediss://:secret@127.0.0.1:6380
//   REDIS_CA    PEM file with the certificate to trust; by default the one that `sterna --tls-self-signed` has made, if
//               there is one, and the server is on this machine (NODE_EXTRA_CA_CERTS, which Node reads by itself, does as well)
//
// The server's certificate is always verified. There is no switch here to turn that off.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import Redis from 'ioredis';

export const url = process.env.REDIS_URL ?? 'rediss://:secret@127.0.0.1:6380';
export const ca = authority();

function authority() {
  if (process.env.REDIS_CA) return readFileSync(process.env.REDIS_CA);
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local/share');
  const own = join(data, 'sterna/tls/ca.crt');
  const isHere = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname);
  return isHere && existsSync(own) ? readFileSync(own) : undefined;
}

// An example that has never had a connection says why and ends; one that has lost its connection waits for another.
let hasBeenReady = false;

/** Tells that there is a connection. */
export function ready() {
  hasBeenReady = true;
}

/** Ends the program with a sentence if there has been no connection yet; answers what to say otherwise. */
export function giveUp(error) {
  if (hasBeenReady) return error.message;
  const { host } = new URL(url);
  const code = error.code ?? error.errors?.[0]?.code ?? '';
  let why = `${host}: ${error.message || code}`;
  if (code === 'ECONNREFUSED') {
    why = `there is no server at ${host}: start one with  sterna --tls-self-signed --requirepass secret  or set REDIS_URL`;
  } else if (/CERT|SIGNATURE|SELF_SIGNED/.test(code)) {
    why = `the certificate of ${host} is not trusted (${error.message}): REDIS_CA names the file that vouches for it`;
  } else if (/WRONGPASS|NOAUTH/.test(error.message)) {
    why = `the server at ${host} wants another password: set REDIS_URL`;
  }
  console.error(why);
  process.exit(1);
}

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
  client.on('ready', ready);
  client.on('error', (error) => console.error(`${name}: ${giveUp(error)}`));
  return client;
}
