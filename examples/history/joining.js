// Joining a chat that goes on meanwhile.
//
//   time ────────────►
//   live events      a  b  c  d  e
//   history read           └─ answers a b c
//   the joiner gets        [a b c]  d  e
//
// The history is read on one connection while live events come in on another, so either may be first. Whoever joins
// collects events until the history is there, and drops those that it contains.

export class Joining {
  /** Room → events that came in while the history was being read. */
  #meanwhile = new Map();

  heard(room, event) {
    if (!this.#meanwhile.has(room)) this.#meanwhile.set(room, []);
    this.#meanwhile.get(room).push(event);
  }

  /** The room's history, completed: each event once, in the order in which they were said. */
  complete(room, history) {
    const known = new Set(history.map(({ id }) => id));
    return [...history, ...(this.#meanwhile.get(room) ?? []).filter(({ id }) => !known.has(id))];
  }
}
