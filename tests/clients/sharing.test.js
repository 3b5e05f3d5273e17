// What several servers of an application share: rate limits and sessions (the programs in examples/) and locks, with
// libraries as they are. A server that is killed has forgotten none of them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Redis from 'ioredis5';
import Redlock, { ExecutionError } from 'redlock';
import { Program } from './program.js';
import { DURABLE, TestServer } from './server.js';

/** Starts a pair of HTTP servers and answers a function per server: path and options to response, as `fetch`. */
async function startPair(t, server, command, env = {}) {
  const program = Program.start((stop) => t.after(stop), server, command, { PORT: '0', ...env });
  const pair = [];
  for (const name of ['north', 'south']) {
    const [, url] = await program.line(new RegExp(`server ${name} is on (\\S+)`));
    pair.push((path, options) => fetch(url + path, options));
  }
  return pair;
}

describe('limiter', () => {
  const LIMITER = ['node', 'limiter/limiter.js'];
  // So long that it doesn't end in the middle of a test; those who wait for its end take the short one.
  const LONG = { WINDOW_S: '300' };
  const SHORT = { WINDOW_S: '2' };

  /** Asks `count` times at once, of both servers in turn, and answers the codes, sorted. */
  async function ask(pair, user, count) {
    const responses = await Promise.all(Array.from({ length: count }, (_, index) => pair[index % 2](`/users/${user}`)));
    return responses.map(({ status }) => status).sort();
  }

  test('five requests pass, on both servers together, and other users are not concerned', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop));
    const [north, south] = await startPair(t, server, LIMITER, LONG);
    for (const [ask, left] of [[north, 4], [south, 3], [north, 2], [south, 1], [north, 0]]) {
      const response = await ask('/users/ada');
      assert.equal(response.status, 200);
      assert.equal((await response.json()).left, left);
    }
    for (const ask of [north, south]) {
      const response = await ask('/users/ada');
      assert.equal(response.status, 429);
      const wait = Number(response.headers.get('retry-after'));
      assert.ok(wait > 200 && wait <= 300, `come back in ${wait} s`);
    }
    assert.equal((await south('/users/bob')).status, 200);
    assert.deepEqual(await ask([north, south], 'crowd', 40), [...Array(5).fill(200), ...Array(35).fill(429)]);
  });

  test('a window ends by itself', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop));
    const pair = await startPair(t, server, LIMITER, SHORT);
    // Of six in one window one is refused; some that take long may be of two.
    while (!(await ask(pair, 'ada', 6)).includes(429));
    let again = await pair[1]('/users/ada');
    while (again.status === 429) again = await pair[1]('/users/ada');
    assert.equal(again.status, 200);
    assert.equal((await again.json()).left, 4);
  });

  test('a server that is killed has forgotten nobody', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop), DURABLE);
    const pair = await startPair(t, server, LIMITER, LONG);
    assert.deepEqual(await ask(pair, 'ada', 3), [200, 200, 200]);
    assert.deepEqual(await ask(pair, 'bob', 7), [200, 200, 200, 200, 200, 429, 429]);
    await server.crash();
    assert.deepEqual(await ask(pair, 'ada', 4), [200, 200, 429, 429]);
    assert.deepEqual(await ask(pair, 'bob', 2), [429, 429]);
    assert.deepEqual(await ask(pair, 'eve', 1), [200]);
  });
});

describe('sessions', () => {
  const SESSIONS = ['node', 'sessions/sessions.js'];

  /** A visitor of both servers with one cookie jar. */
  class Visitor {
    #pair;
    cookie = '';

    constructor(pair) { this.#pair = pair; }

    /** Status and body: JSON as what it says, text as it is. */
    async #request(at, path, options = {}) {
      const response = await this.#pair[at](path, { ...options, headers: { cookie: this.cookie } });
      const [set] = response.headers.getSetCookie();
      if (set) this.cookie = set.split(';')[0];
      const text = await response.text();
      return [response.status, response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text.trim()];
    }

    get(at, path) { return this.#request(at, path); }
    post(at, path, form = {}) { return this.#request(at, path, { method: 'POST', body: new URLSearchParams(form) }); }
  }

  const REFUSED = [401, 'log in first'];

  test('who logs in on one server is known on the other, until they leave', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop));
    const pair = await startPair(t, server, SESSIONS);
    const [ada, bob] = [new Visitor(pair), new Visitor(pair)];
    assert.deepEqual(await ada.get(0, '/basket'), REFUSED);
    assert.deepEqual(await ada.post(0, '/login', { user: 'ada' }), [200, { user: 'ada' }]);
    assert.deepEqual(await bob.post(1, '/login', { user: 'bob' }), [200, { user: 'bob' }]);
    assert.deepEqual(await ada.post(1, '/basket', { item: 'tea' }), [201, ['tea']]);
    assert.deepEqual(await ada.post(0, '/basket', { item: 'Grüße 👋' }), [201, ['tea', 'Grüße 👋']]);
    assert.deepEqual(await ada.get(1, '/basket'), [200, { user: 'ada', basket: ['tea', 'Grüße 👋'], from: 'south' }]);
    assert.deepEqual(await bob.get(0, '/basket'), [200, { user: 'bob', basket: [], from: 'north' }]);
    assert.deepEqual(await ada.get(0, '/visitors'), [200, ['ada', 'bob']]);

    assert.equal((await ada.post(1, '/logout'))[0], 204);
    assert.deepEqual(await ada.get(0, '/basket'), REFUSED);
    assert.deepEqual(await bob.get(1, '/visitors'), [200, ['bob']]);
  });

  test('a session ends by itself', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop));
    const pair = await startPair(t, server, SESSIONS, { SESSION_S: '1' });
    const [ada, eve] = [new Visitor(pair), new Visitor(pair)];
    await ada.post(0, '/login', { user: 'ada' });
    // Each request of Ada's would make it last longer. Eve's don't.
    let visitors = [200, ['ada']];
    while (visitors[1].includes('ada')) {
      await eve.post(0, '/login', { user: 'eve' });
      visitors = await eve.get(1, '/visitors');
    }
    assert.deepEqual(await ada.get(0, '/basket'), REFUSED);
  });

  test('a server that is killed still knows who is logged in', async (t) => {
    const server = await TestServer.start((stop) => t.after(stop), DURABLE);
    const pair = await startPair(t, server, SESSIONS);
    const visitors = Array.from({ length: 10 }, () => new Visitor(pair));
    await Promise.all(visitors.map(async (visitor, number) => {
      await visitor.post(0, '/login', { user: `user ${number}` });
      await visitor.post(1, '/basket', { item: `item ${number}` });
    }));
    const [left] = visitors;
    assert.equal((await left.post(0, '/logout'))[0], 204);
    await server.crash();
    assert.deepEqual(await left.get(0, '/basket'), REFUSED);
    for (const [number, visitor] of [...visitors.entries()].slice(1)) {
      const basket = { user: `user ${number}`, basket: [`item ${number}`], from: 'south' };
      assert.deepEqual(await visitor.get(1, '/basket'), [200, basket]);
    }
  });
});

describe('redlock', () => {
  const HELD_MS = 300_000;
  const settings = { retryCount: 0 };

  /** Two owners that want the same locks. The library tells nobody but `error` listeners what went wrong on the way. */
  async function startOwners(t, options) {
    const server = await TestServer.start((stop) => t.after(stop), options);
    const owners = [0, 1].map(() => {
      const client = new Redis(server.url, { tls: server.url.startsWith('rediss:') ? { ca: server.ca } : undefined });
      client.on('error', () => {});
      t.after(() => client.disconnect());
      const owner = new Redlock([client], settings);
      owner.on('error', () => {});
      return owner;
    });
    return { server, owners };
  }

  test('one holds it, extends it, and gives back only its own', async (t) => {
    const { owners: [one, other] } = await startOwners(t);
    const lock = await one.acquire(['lock:a', 'lock:b'], HELD_MS);
    await assert.rejects(other.acquire(['lock:b'], HELD_MS), ExecutionError);
    const extended = await lock.extend(HELD_MS);
    await assert.rejects(other.acquire(['lock:a'], HELD_MS), ExecutionError);
    await extended.release();
    const next = await other.acquire(['lock:a', 'lock:b'], HELD_MS);
    await assert.rejects(extended.release(), ExecutionError);
    await assert.rejects(one.acquire(['lock:a'], HELD_MS), ExecutionError);
    await next.release();
  });

  test('a server that is killed knows who holds it', async (t) => {
    const { server, owners: [one, other] } = await startOwners(t, DURABLE);
    const lock = await one.acquire(['lock:kept'], HELD_MS);
    await server.crash();
    await assert.rejects(other.acquire(['lock:kept'], HELD_MS), ExecutionError);
    await (await lock.extend(HELD_MS)).release();
    await (await other.acquire(['lock:kept'], HELD_MS)).release();
  });
});
