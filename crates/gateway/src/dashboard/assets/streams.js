// Streams: found by SCAN, a few steps at a time; their groups, consumers and pending entries. All by commands, as the page's user.
import { command, pairs, run } from './api.js';
import { age, count, el, field, fill, rate, table } from './dom.js';

/** Streams that are watched, groups of one, entries of a group, and keys and steps of one search. */
const STREAMS_MAX = 50;
const GROUPS_MAX = 20;
const ENTRIES_MAX = 50;
const SCAN_COUNT = 500;
const STEPS_MAX = 20;
const INTERVAL_MS = 2000;
/** Characters of an entry that are shown. */
const TEXT_MAX = 2000;

const idMs = (id) => Number(String(id).split('-')[0]);
const sinceId = (id) => (id ? age(Date.now() - idMs(id)) : '–');

export function streams(place, { tail, isVisible }) {
  let cursor = '0';
  let scanned = 0;
  let isWhole = false;
  let keys = [];
  let rows = new Map();
  let chosen = null;
  let group = null;
  let busy = false;
  const match = el('input', { id: 'stream-match', placeholder: 'orders:*', spellcheck: 'false', autocapitalize: 'none' });
  const note = el('p', { class: 'quiet small', role: 'status' });
  const error = el('p', { class: 'error', role: 'alert', hidden: true });
  const list = el('div', {}, el('p', { class: 'empty' }, 'Searching…'));
  const detail = el('section', { class: 'panel', id: 'stream-detail', hidden: true });
  const more = el('button', { type: 'button', click: () => search() }, 'Search on');

  const form = el('form', { class: 'row', submit: (event) => { event.preventDefault(); restart(); } },
    field('Keys that match', match), el('button', { class: 'primary' }, 'Search'), more);

  function fail(reason) {
    error.textContent = reason?.message ?? '';
    error.hidden = !reason;
  }

  function restart() {
    [cursor, scanned, isWhole, keys] = ['0', 0, false, []];
    rows = new Map();
    choose(null);
    search();
  }

  /** Some steps of SCAN more, and a look at what they have found. */
  async function search() {
    if (busy) return;
    busy = true;
    more.disabled = true;
    try {
      for (let step = 0; step < STEPS_MAX && keys.length < STREAMS_MAX && !isWhole; step += 1) {
        const pattern = match.value.trim();
        const [next, found] = await command('SCAN', cursor, ...(pattern ? ['MATCH', pattern] : []), 'COUNT', SCAN_COUNT, 'TYPE', 'stream');
        cursor = String(next);
        scanned += SCAN_COUNT;
        isWhole = cursor === '0';
        keys = [...new Set([...keys, ...found])].slice(0, STREAMS_MAX);
      }
      fail(null);
      await look();
    } catch (reason) {
      fail(reason);
    }
    busy = false;
    more.disabled = isWhole || keys.length >= STREAMS_MAX;
    note.textContent = keys.length >= STREAMS_MAX ? `The first ${STREAMS_MAX} are shown; name fewer.`
      : isWhole ? `${keys.length} found.` : `${keys.length} found among some ${count(scanned)} keys so far.`;
  }

  /** Asks for everything about the streams that are known. */
  async function look() {
    const asked = [...keys];
    const replies = await run(asked.flatMap((key) => [['XINFO', 'STREAM', key], ['XINFO', 'GROUPS', key]]));
    const found = asked.map((key, i) => ({ key, info: replies[2 * i], groups: replies[2 * i + 1] }));
    // Gone, of another type by now, or not for this user: only its key is shown.
    const known = found.filter(({ info }) => info.error === undefined);
    const groups = known.flatMap(({ key, groups: g }) => (g.result ?? []).slice(0, GROUPS_MAX).map((list) => ({ key, ...pairs(list) })));
    const pending = await run(groups.map(({ key, name }) => ['XPENDING', key, name]));
    groups.forEach((one, i) => { one.oldest = pending[i].result?.[1] ?? null; });
    const at = performance.now();
    const before = rows;
    rows = new Map(found.map(({ key, info, groups: g }) => {
      if (info.error !== undefined) return [key, { key, error: info.error }];
      const fields = pairs(info.result);
      const row = {
        key, at, length: fields.length, added: fields['entries-added'], last: fields['last-generated-id'],
        groups: groups.filter((one) => one.key === key), groupCount: g.result?.length ?? 0,
      };
      const old = before.get(key);
      row.growth = old?.at && at > old.at ? Math.max(0, ((row.added - old.added) * 1000) / (at - old.at)) : null;
      return [key, row];
    }));
    show();
    if (chosen !== null && !detail.contains(document.activeElement?.closest('form'))) await lookInto();
  }

  const lag = (row) => (row.groups.length === 0 ? '–' : row.groups.some((g) => g.lag === null) ? '?' : count(Math.max(...row.groups.map((g) => g.lag))));
  const sum = (row) => row.groups.reduce((all, g) => all + g.pending, 0);
  const oldest = (row) => row.groups.map((g) => g.oldest).filter(Boolean).sort((a, b) => idMs(a) - idMs(b))[0];

  const COLUMNS = [
    { name: 'Stream', is: 'name', of: (row) => el('button', { type: 'button', class: 'slim', 'data-key': `stream ${row.key}`, 'aria-pressed': String(chosen === row.key), click: () => choose(row.key) }, row.key) },
    { name: 'Length', is: 'n', of: (row) => (row.error ? el('span', { class: 'warn' }, row.error) : count(row.length)) },
    { name: 'Growth', is: 'n', of: (row) => (row.growth === null || row.error ? '–' : rate(row.growth)) },
    { name: 'Last entry', is: 'n', of: (row) => (row.error || row.last === '0-0' ? '–' : `${sinceId(row.last)} ago`) },
    { name: 'Groups', is: 'n', of: (row) => (row.error ? '–' : count(row.groupCount)) },
    { name: 'Largest lag', is: 'n', of: (row) => (row.error ? '–' : lag(row)) },
    { name: 'Pending', is: 'n', of: (row) => (row.error ? '–' : count(sum(row))) },
    { name: 'Oldest pending', is: 'n', of: (row) => (row.error ? '–' : sinceId(oldest(row))) },
  ];

  function show() {
    const shown = [...rows.values()].sort((a, b) => (b.growth ?? 0) - (a.growth ?? 0) || (b.length ?? 0) - (a.length ?? 0));
    fill(list, table(COLUMNS, shown, { empty: isWhole ? 'There are no streams.' : 'None found so far.', mark: (row) => row.key === chosen }));
  }

  function choose(key) {
    chosen = chosen === key ? null : key;
    group = null;
    detail.hidden = chosen === null;
    detail.replaceChildren();
    show();
    if (chosen !== null) lookInto().then(() => detail.scrollIntoView({ block: 'nearest' })).catch(fail);
  }

  // The chosen stream: its groups, and of the chosen group consumers and pending entries.
  const consumer = el('input', { id: 'claim-for', value: 'dashboard', spellcheck: 'false', autocapitalize: 'none' });

  async function lookInto() {
    const row = rows.get(chosen);
    if (!row || row.error) return fill(detail, el('p', { class: 'empty' }, row?.error ?? 'It is gone.'));
    if (group === null && row.groups.length > 0) group = row.groups[0].name;
    const key = chosen;
    const parts = [el('div', { class: 'bar' }, el('h2', {}, key),
      el('button', { type: 'button', class: 'slim', click: () => tail('stream', key) }, 'Tail'),
      el('button', { type: 'button', class: 'slim', click: () => choose(key) }, 'Close'))];
    parts.push(table([
      { name: 'Group', is: 'name', of: (g) => el('button', { type: 'button', class: 'slim', 'data-key': `group ${g.name}`, 'aria-pressed': String(g.name === group), click: () => { group = g.name; lookInto().catch(fail); } }, g.name) },
      { name: 'Consumers', is: 'n', of: (g) => count(g.consumers) },
      { name: 'Lag', is: 'n', of: (g) => (g.lag === null ? '?' : count(g.lag)) },
      { name: 'Pending', is: 'n', of: (g) => count(g.pending) },
      { name: 'Oldest pending', is: 'n', of: (g) => sinceId(g.oldest) },
      { name: 'Last delivered', is: 'n', of: (g) => g['last-delivered-id'] },
    ], row.groups, { empty: 'It has no groups.', mark: (g) => g.name === group }));
    if (group !== null) parts.push(...await lookIntoGroup(key, group));
    if (key === chosen) fill(detail, ...parts);
  }

  async function lookIntoGroup(key, name) {
    const [consumers, pending] = await run([
      ['XINFO', 'CONSUMERS', key, name], ['XPENDING', key, name, '-', '+', ENTRIES_MAX],
    ]);
    if (consumers.error !== undefined) return [el('p', { class: 'error' }, consumers.error)];
    if (pending.error !== undefined) return [el('p', { class: 'error' }, pending.error)];
    const entries = pending.result.map(([id, owner, idleMs, deliveries]) => ({ id, owner, idleMs, deliveries }));
    return [
      el('h3', {}, `Consumers of ${name}`),
      table([
        { name: 'Consumer', is: 'name', of: (c) => c.name },
        { name: 'Pending', is: 'n', of: (c) => count(c.pending) },
        { name: 'Idle', is: 'n', of: (c) => age(c.idle) },
        { name: 'Inactive', is: 'n', of: (c) => (c.inactive < 0 ? 'never active' : age(c.inactive)) },
      ], consumers.result.map(pairs), { empty: 'It has no consumers.' }),
      el('h3', {}, `Pending entries of ${name}${entries.length === ENTRIES_MAX ? ` (the first ${ENTRIES_MAX})` : ''}`),
      el('div', { class: 'row' }, field('Claim for the consumer', consumer, 'narrow')),
      said,
      table([
        { name: 'Entry', is: 'name', of: (e) => e.id },
        { name: 'Consumer', is: 'name', of: (e) => e.owner },
        { name: 'Idle', is: 'n', of: (e) => age(e.idleMs) },
        { name: 'Deliveries', is: 'n', of: (e) => count(e.deliveries) },
        { name: '', of: (e) => buttons(key, name, e) },
      ], entries, { empty: 'Nothing is pending.', kind: 'tall' }),
    ];
  }

  const said = el('div', { role: 'status', id: 'entry-said' });
  const say = (text, kind = 'done') => said.replaceChildren(el('p', { class: kind }, text));

  function buttons(key, name, entry) {
    const act = (what, run_) => el('button', {
      type: 'button', class: 'slim', 'data-key': `${what} ${entry.id}`,
      click: async () => {
        try { await run_(); await look(); await lookInto(); } catch (reason) { say(reason.message, 'error'); }
      },
    }, what);
    return el('div', { class: 'row' },
      act('Show', async () => {
        const [found] = await command('XRANGE', key, entry.id, entry.id);
        const text = found ? JSON.stringify(pairs(found[1]), null, 2) : 'The entry has been deleted.';
        said.replaceChildren(el('h3', {}, entry.id), el('pre', {}, text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text));
      }),
      act('Claim', async () => {
        const claimed = await command('XCLAIM', key, name, consumer.value || 'dashboard', '0', entry.id, 'JUSTID');
        say(claimed.length === 1 ? `${entry.id} is ${consumer.value || 'dashboard'}’s now.` : `${entry.id} was not pending any more.`);
      }),
      act('Acknowledge', async () => {
        const acknowledged = await command('XACK', key, name, entry.id);
        say(acknowledged === 1 ? `${entry.id} is acknowledged.` : `${entry.id} was not pending any more.`);
      }));
  }

  place.append(el('section', { class: 'panel' }, el('div', { class: 'bar' }, el('h2', {}, 'Streams')), form, note, error, list), detail);

  // Only while somebody sees it.
  setInterval(async () => {
    if (!isVisible() || busy || keys.length === 0) return;
    busy = true;
    try { await look(); fail(null); } catch (reason) { fail(reason); }
    busy = false;
  }, INTERVAL_MS);

  return { open: () => { if (keys.length === 0) restart(); }, forget: () => { keys = []; rows = new Map(); choose(null); } };
}
