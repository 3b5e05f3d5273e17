// Requests to the server, as the user who has signed in. The password is in this module's memory and nowhere else.

/** Why a request was refused. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let authorization = null;

export function use(user, password) {
  const text = new TextEncoder().encode(`${user}:${password}`);
  authorization = `Basic ${btoa(String.fromCharCode(...text))}`;
}

export function forget() {
  authorization = null;
}

async function request(path, options = {}) {
  const response = await fetch(path, {
    ...options, headers: { authorization, ...options.headers }, credentials: 'omit', cache: 'no-store', redirect: 'error',
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refused(response.status, body.error ?? `HTTP ${response.status}`);
}

/** Runs commands, one after the other; answers `{ result }` or `{ error }` for each. */
export async function run(commands) {
  if (commands.length === 0) return [];
  const response = await request('/pipeline', { method: 'POST', body: JSON.stringify(commands) });
  return response.json();
}

/** Runs one command; answers its result. */
export async function command(...args) {
  const [{ result, error }] = await run([args]);
  if (error !== undefined) throw new Refused(400, error);
  return result;
}

/** Fields and values that follow each other, as an object. */
export function pairs(list) {
  const object = Object.create(null);
  for (let i = 0; i + 1 < (list?.length ?? 0); i += 2) object[list[i]] = list[i + 1];
  return object;
}

/** Events that have no end by then are no events. */
const UNFINISHED_MAX = 64 << 20;

/** A stream of server-sent events: lists of `{ event, data }`, as they come together. */
export async function* stream(path, signal) {
  const response = await request(path, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const end = rest.lastIndexOf('\n\n');
    if (end < 0 && rest.length < UNFINISHED_MAX) continue;
    if (end < 0) throw new Error('An event is too long.');
    const blocks = rest.slice(0, end).split('\n\n');
    rest = rest.slice(end + 2);
    yield blocks;
  }
}

/** One event of a stream; `null` for a comment. */
export function event(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
    else if (line.startsWith('event:')) name = line.slice(6).trim();
  }
  return data.length === 0 ? null : { event: name, data: data.join('\n') };
}
