// The server at a glance.
import { chart } from './chart.js';
import { age, byteRate, bytes, count, el, fill, panel, percent, rate, table, time } from './dom.js';

const SHARD_COLOURS = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6'];
/** Shards with a line of their own; with more there are three: the busiest, their mean, the idlest. */
const LINES_MAX = 6;

const CLOSE_REASONS = {
  client_gone: 'The client closed its end', socket_error: 'The socket failed', protocol_error: 'It broke the protocol',
  quit: 'QUIT', killed: 'CLIENT KILL', idle: 'Idle for longer than timeout', output_limit: 'Too slow: over its output limit',
  query_limit: 'A request over client-query-buffer-limit', tls_error: 'TLS failed', user_removed: 'Its user lost the right',
  unauthenticated: 'It did not log in in time', http: 'HTTP on the Redis port', evicted: 'Over maxmemory-clients',
  resumed: 'Taken over by its successor', expired: 'Nobody came within resume-window',
  copied: 'It was sent a copy of the keys', leader_lost: 'The node that leads was lost', shutdown: 'The server stops',
};

const TILES = [
  ['Published', (p) => rate(p.published), 'published'],
  ['Delivered', (p) => rate(p.deliveries), 'delivered'],
  ['Fan-out', (p) => (p.published > 0 ? `${count(p.deliveries / p.published)} ×` : '–'), 'fan-out'],
  ['Latency p99', (p) => (p.latency ? time(p.latency.p99) : '–'), 'p99'],
  ['Connections', (p) => count(p.figures.connected), 'connected'],
  ['In', (p) => byteRate(p.inBytes), 'in'],
  ['Out', (p) => byteRate(p.outBytes), 'out'],
  ['Memory', (p) => bytes(p.figures.memory.used), 'memory'],
];

function bars(rows, format) {
  const most = Math.max(1e-9, ...rows.map((row) => row.of ?? row.value));
  return el('dl', { class: 'bars' }, ...rows.flatMap(({ name, value, of, c }) => {
    const inner = el('i', { class: c ?? 'c1' });
    inner.style.width = `${Math.min(100, (value / (of ?? most)) * 100)}%`;
    return [el('dt', {}, name), el('dd', { class: 'track', 'aria-hidden': 'true' }, inner), el('dd', {}, format(value))];
  }));
}

const facts = (rows) => el('dl', { class: 'facts' }, ...rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));

function memory({ memory: m }) {
  const known = [
    ['Keys and values', m.dataset, 'c1'], ['Connections', m.clients, 'c2'], ['Queued output', m.output, 'c3'],
    ['Scripts', m.scripts, 'c4'], ['To be freed', m.reclaiming, 'c5'],
  ];
  // A message that many wait for is counted for each of them, and held once.
  const rest = Math.max(0, m.used - known.reduce((sum, [, n]) => sum + n, 0));
  const rows = [...known, ['Everything else', rest, 'c6']];
  const all = rows.reduce((sum, [, n]) => sum + n, 0) || 1;
  const stack = el('div', { class: 'stack', 'aria-hidden': 'true' }, ...rows.map(([, n, c]) => {
    const part = el('i', { class: c });
    part.style.width = `${(n / all) * 100}%`;
    return part;
  }));
  const legend = el('ul', { class: 'legend' }, ...rows.map(([name, n, c]) => el('li', { class: c }, `${name} `, el('b', {}, bytes(n)))));
  return [stack, legend, facts([
    ['Used, peak', `${bytes(m.used)}, ${bytes(m.peak)}`],
    ['maxmemory', m.max === 0 ? 'no limit' : `${bytes(m.max)} (${percent(m.used / m.max)} used)`],
    ['Resident', bytes(m.resident)],
  ])];
}

function journal({ figures: { journal: j }, info, syncNs }) {
  const saved = Number(info.rdb_last_save_time);
  const snapshot = [
    ['Last snapshot', saved ? `${age(Date.now() - saved * 1000)} ago (${info.rdb_last_bgsave_status ?? '–'})` : 'none'],
    ['Changes since', count(Number(info.rdb_changes_since_last_save ?? 0))],
  ];
  const running = info.rdb_bgsave_in_progress === '1' || info.aof_rewrite_in_progress === '1';
  if (running) snapshot.push(['Under way', `${info.current_save_keys_processed} of ${info.current_save_keys_total} keys`]);
  if (!j) return [facts([['Journal', 'off (appendonly no)'], ...snapshot])];
  return [facts([
    ['LSN', `${j.lastLsn} (durable: ${j.durableLsn})`],
    ['Syncs', `${count(j.syncs)}, ${syncNs === null ? 'none in the last second' : `${time(syncNs)} on average`}`],
    ['Last sync', time(j.lastSyncNs)],
    ['Not yet synced', bytes(j.unsyncedBytes)],
    ['On disk', `${bytes(j.logBytes)} in ${j.segments} segment${j.segments === 1 ? '' : 's'}`],
    ['Failures of the disk', j.failures === 0 ? 'none' : el('span', { class: 'error' }, String(j.failures))],
    ...snapshot,
  ])];
}

const WAITING = [
  { name: 'Client', is: 'name', of: (c) => `${c.name || `#${c.id}`}` },
  { name: 'Queued', is: 'n', of: (c) => bytes(c.queuedBytes) },
  { name: 'Kind', of: (c) => c.kind },
  { name: 'Address', of: (c) => c.address },
  { name: 'User', of: (c) => c.user },
  { name: 'Shard', is: 'n', of: (c) => String(c.shard) },
];

/** Fills `place`; answers what shows the points of the last minutes. */
export function overview(place) {
  const numbers = new Map(TILES.map(([, , key]) => [key, el('dd', { 'data-figure': key }, '–')]));
  const tiles = el('dl', { class: 'tiles' }, ...TILES.map(([name, , key]) => el('div', { class: 'tile' }, el('dt', {}, name), numbers.get(key))));
  const charts = [
    chart({
      title: 'Messages', format: rate, floor: 1,
      series: [
        { name: 'published', of: (p) => p.published, c: 'c1' },
        { name: 'delivered', of: (p) => p.deliveries, c: 'c2' },
        { name: 'appended (XADD)', of: (p) => p.appended, c: 'c3' },
      ],
    }),
    chart({
      title: 'Latency from PUBLISH to socket', format: time, floor: 1000,
      series: [
        { name: 'p50', of: (p) => p.latency?.p50, c: 'c1' },
        { name: 'p90', of: (p) => p.latency?.p90, c: 'c4' },
        { name: 'p99', of: (p) => p.latency?.p99, c: 'c2' },
        { name: 'p99.9', of: (p) => p.latency?.p999, c: 'c5' },
      ],
    }),
    chart({
      title: 'Network', format: byteRate, binary: true, floor: 1024,
      series: [{ name: 'in', of: (p) => p.inBytes, c: 'c1' }, { name: 'out', of: (p) => p.outBytes, c: 'c2' }],
    }),
    chart({
      title: 'Commands', format: rate, floor: 1,
      series: [{ name: 'commands', of: (p) => p.commands, c: 'c1' }],
    }),
  ];
  let load = null;
  const loadPlace = panel('Load per shard');
  const parts = Object.fromEntries(['kinds', 'memory', 'journal', 'shards', 'waiting', 'closed'].map((key) => [key, el('div', { id: `part-${key}` }, el('p', { class: 'empty' }, 'Waiting for figures…'))]));
  const waiting = panel('Slow consumers: what is queued for them', parts.waiting);
  waiting.classList.add('rest');
  place.append(tiles, el('div', { class: 'grid' },
    ...charts.map((one) => one.element), loadPlace,
    panel('Shards', parts.shards), panel('Connections by kind', parts.kinds), panel('Memory by owner', parts.memory),
    panel('Journal and snapshots', parts.journal), panel('Why connections were closed', parts.closed), waiting));

  function makeLoad(shards) {
    const each = Array.from({ length: shards }, (_, i) => ({ name: `shard ${i}`, of: (p) => p.load[i], c: SHARD_COLOURS[i] }));
    const some = [
      { name: 'busiest', of: (p) => Math.max(...p.load), c: 'c2' },
      { name: 'mean', of: (p) => p.load.reduce((a, b) => a + b, 0) / p.load.length, c: 'c1' },
      { name: 'idlest', of: (p) => Math.min(...p.load), c: 'c6' },
    ];
    load = chart({ title: 'Load per shard', format: percent, floor: 1, series: shards <= LINES_MAX ? each : some });
    load.shards = shards;
    loadPlace.replaceWith(load.element);
  }

  return {
    show(points) {
      const now = points.at(-1);
      const { figures } = now;
      for (const [, of, key] of TILES) numbers.get(key).textContent = of(now);
      if (load === null) makeLoad(figures.shards.length);
      [...charts, load].forEach((one) => one.show(points));
      fill(parts.shards, table([
        { name: 'Shard', of: (s) => String(s.index) },
        { name: 'Busy', is: 'n', of: (s) => percent(now.load[s.index] ?? 0) },
        { name: 'Connections', is: 'n', of: (s) => count(s.connections) },
        { name: 'Commands', is: 'n', of: (s) => rate(now.shards[s.index]?.commands ?? 0) },
        { name: 'Deliveries', is: 'n', of: (s) => rate(now.shards[s.index]?.deliveries ?? 0) },
        { name: 'Out', is: 'n', of: (s) => byteRate(now.shards[s.index]?.outBytes ?? 0) },
      ], figures.shards.map((shard, index) => ({ ...shard, index }))));
      const kinds = figures.kinds.filter((kind) => kind.count > 0).map(({ name, count: value }) => ({ name, value }));
      fill(parts.kinds, bars(kinds, count), el('p', { class: 'quiet small' },
        `${count(figures.connected)} of at most ${count(figures.maxclients)}, ${count(figures.blocked)} blocked in a command; sockets of HTTP count as connections, and what they ask for is a client of its own`));
      fill(parts.memory, ...memory(figures));
      fill(parts.journal, ...journal(now));
      fill(parts.waiting, table(WAITING, figures.waiting, { empty: 'Everybody keeps up.' }));
      const closed = figures.closed.filter((row) => row.count > 0).sort((a, b) => b.count - a.count);
      fill(parts.closed, table([
        { name: 'Reason', of: (row) => CLOSE_REASONS[row.reason] ?? row.reason },
        { name: 'Connections', is: 'n', of: (row) => count(row.count) },
      ], closed, { empty: 'None has been closed.' }));
    },
  };
}
