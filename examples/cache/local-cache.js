// A cache in this process's memory that other processes can empty.
//
// What must hold: a copy is never older than the last change this process has been told of. Two things threaten that:
//
// - A slow load. The value is read, then changed by someone, then the old one is stored here. So a load remembers
//   the count of changes before it started, and keeps nothing if one came in meanwhile.
// - A lost connection. Pub/Sub repeats nothing, so everything is dropped when the connection goes, and nothing is
//   kept until the subscription is back.

export const INVALIDATE = 'cache:invalidate';

const COPIES_MAX = 10_000;

export class LocalCache {
  #copies = new Map();
  /** Changes heard of, including "anything may have changed". Only compared, never shown. */
  #changes = 0;
  #listening = false;

  constructor(subscriber, { dropped = () => {} } = {}) {
    subscriber.on('message', (channel, json) => {
      if (channel !== INVALIDATE) return;
      const { key, by } = JSON.parse(json);
      this.#changes += 1;
      if (this.#copies.delete(key)) dropped(key, by);
    });
    subscriber.on('close', () => this.#forgetEverything());
    // After a reconnect ioredis subscribes again by itself; asking once more tells us when that has been done.
    subscriber.on('ready', async () => {
      await subscriber.subscribe(INVALIDATE);
      this.#listening = true;
    });
  }

  /** The value and where it came from. `load` is asked when there is no copy. */
  async get(key, load) {
    if (this.#copies.has(key)) return { value: this.#copies.get(key), from: 'memory' };
    const before = this.#changes;
    const value = await load(key);
    if (this.#listening && this.#changes === before) this.#keep(key, value);
    return { value, from: 'database' };
  }

  #keep(key, value) {
    // A Map remembers the order of insertion, so the first key is the oldest copy.
    if (this.#copies.size >= COPIES_MAX) this.#copies.delete(this.#copies.keys().next().value);
    this.#copies.set(key, value);
  }

  #forgetEverything() {
    this.#listening = false;
    this.#changes += 1;
    this.#copies.clear();
  }
}
