// Makes a token for somebody who is to chat, and prints the address that holds it: node token.js NAME [SECONDS]
//
//   KEYS     the file with the key, by default keys.json beside this program; made if it isn't there
//   SERVER   where Sterna is, by default http://127.0.0.1:8079
//   PAGE     where the page is, by default http://127.0.0.1:3070
//
// It stands for whatever knows your users: a login page, a function at the edge, a command like this one. It says who
// somebody is and what the page may do, and is not asked again until the token has ended.
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [name, seconds = '3600'] = process.argv.slice(2);
const { KEYS = fileURLToPath(new URL('keys.json', import.meta.url)) } = process.env;
const { SERVER = 'http://127.0.0.1:8079', PAGE = 'http://127.0.0.1:3070' } = process.env;
if (!name || !(Number(seconds) > 0)) {
  console.error('usage: node token.js NAME [SECONDS]');
  process.exit(2);
}

if (!existsSync(KEYS)) {
  const key = { kty: 'oct', k: randomBytes(32).toString('base64url') };
  writeFileSync(KEYS, `${JSON.stringify(key)}\n`, { mode: 0o600 });
  console.log(`a new key is in ${KEYS}`);
}
const secret = Buffer.from(JSON.parse(readFileSync(KEYS, 'utf8')).k, 'base64url');

const channels = ['room:lobby', 'here:lobby'];
const exp = Math.floor(Date.now() / 1000) + Number(seconds);
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: name, exp, channels, publish: channels })}`;
const token = `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
// Behind the #: a browser keeps that to itself.
console.log(`${PAGE}/#${new URLSearchParams({ server: SERVER, token })}`);
