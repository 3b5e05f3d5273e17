// Joining a chat that goes on meanwhile.
//
//   time ────────────►
//   live events      a  b  c  d  e          (a comes before the history is there)
//   history read         └─ answers a b c
//   the joiner gets        [a b c]  d  e    (b and c come after it, and were in it)
//
// The history is read on one connection while live events come in on another, so either may be ahead. Both carry the
// stream's entry ID as their position: whoever joins collects live events until the history is there, and gets those
// alone that are behind its end.

/** Whether one entry ID ("milliseconds-sequence") is behind another; everything is behind none. */
function isBehind(id, end) {
  if (!end) return true;
  const [ms, sequence] = id.split('-').map(Number);
  const [endMs, endSequence] = end.split('-').map(Number);
  return ms > endMs || (ms === endMs && sequence > endSequence);
}

export class Joining {
  /** Live events that came in while the history was being read. */
  #meanwhile = [];
  /** Room → entry ID at which its history ends; null before the history is there. */
  #ends = null;

  /** Whether a live event is to be passed on now. */
  passes(room, id, event) {
    if (this.#ends) return isBehind(id, this.#ends.get(room));
    this.#meanwhile.push({ room, id, event });
    return false;
  }

  /** [room, [[id, event], …]] → each room's events once, in the order in which they were said. */
  complete(histories) {
    this.#ends = new Map(histories.map(([room, entries]) => [room, entries.at(-1)?.[0]]));
    const rooms = new Map(histories.map(([room, entries]) => [room, entries.map(([, event]) => event)]));
    for (const { room, id, event } of this.#meanwhile) if (this.passes(room, id, event)) rooms.get(room).push(event);
    this.#meanwhile = [];
    return Object.fromEntries(rooms);
  }
}
