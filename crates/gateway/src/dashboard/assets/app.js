// Signing in, the stream of figures, and which view is shown.
import { event, forget, Refused, stream, use } from './api.js';
import { channels } from './channels.js';
import { age, count } from './dom.js';
import { overview } from './overview.js';
import { streams } from './streams.js';
import { tail } from './tail.js';

/** Points that are kept: five minutes and a few. */
const POINTS_MAX = 310;
/** A stream that is silent for so long is taken for broken. */
const SILENCE_MS = 6000;
const RETRY_MS = 1500;

const by = (id) => document.getElementById(id);
const VIEWS = ['overview', 'channels', 'streams', 'tail'];
let view = 'overview';
let points = [];
let watching = null;

const shown = {};
shown.tail = tail(by('view-tail'));
const openTail = (what, which) => { choose('tail'); shown.tail.follow(what, which); };
shown.overview = overview(by('view-overview'));
shown.channels = channels(by('view-channels'), { tail: openTail });
shown.streams = streams(by('view-streams'), { tail: openTail, isVisible: () => view === 'streams' && !document.hidden && watching !== null });

// Views.

function choose(next) {
  view = next;
  for (const name of VIEWS) {
    by(`view-${name}`).hidden = name !== view;
    by(`tab-${name}`).setAttribute('aria-selected', String(name === view));
    by(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  shown[view].open?.();
  show();
}

function show() {
  if (points.length > 0) shown[view].show?.(points);
}

for (const name of VIEWS) by(`tab-${name}`).addEventListener('click', () => choose(name));
document.querySelector('nav').addEventListener('keydown', (pressed) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[pressed.key];
  if (!step) return;
  choose(VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length]);
  by(`tab-${view}`).focus();
});

// Dark and light: the system's until somebody says otherwise.

const prefersDark = matchMedia('(prefers-color-scheme: dark)');
let theme = null;
try { theme = localStorage.getItem('sterna-theme'); } catch { /* There is no storage: nothing is remembered. */ }
function paint() {
  document.documentElement.dataset.theme = theme ?? (prefersDark.matches ? 'dark' : 'light');
}
prefersDark.addEventListener('change', paint);
by('theme').addEventListener('click', () => {
  theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  try { localStorage.setItem('sterna-theme', theme); } catch { /* As above. */ }
  paint();
});
paint();

// Figures.

/** INFO as an object. */
function fieldsOf(text) {
  const fields = Object.create(null);
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1);
  }
  return fields;
}

const COUNTERS = ['commands', 'inBytes', 'outBytes', 'published', 'publishedBytes', 'deliveries', 'appended'];

/** What has happened a second between two looks; `null`: there is nothing to compare with. */
function pointOf(figures, info, before) {
  const then = before?.figures;
  // The monotonic one of the server's clocks.
  const seconds = then ? (figures.uptimeMs - then.uptimeMs) / 1000 : 0;
  if (!(seconds > 0) || seconds > 30) return { at: figures.atMs, figures, info, isFirst: true };
  const rise = (now, old) => Math.max(0, now - old) / seconds;
  const point = { at: figures.atMs, figures, info, latency: figures.latency };
  for (const name of COUNTERS) point[name] = rise(figures.totals[name], then.totals[name]);
  point.shards = figures.shards.map((shard, i) => {
    const old = then.shards[i] ?? shard;
    return { commands: rise(shard.commands, old.commands), deliveries: rise(shard.deliveries, old.deliveries), outBytes: rise(shard.outBytes, old.outBytes) };
  });
  point.load = figures.shards.map((shard, i) => {
    const idle = rise(shard.idleNs, then.shards[i]?.idleNs ?? shard.idleNs) / 1e9;
    return Math.min(1, Math.max(0, 1 - idle));
  });
  const [now, old] = [figures.journal, then.journal];
  const syncs = now && old ? now.syncs - old.syncs : 0;
  point.syncNs = syncs > 0 ? (now.syncNs - old.syncNs) / syncs : null;
  return point;
}

let last = null;
function receive(data) {
  const { figures, info } = JSON.parse(data);
  const fields = fieldsOf(info);
  const point = pointOf(figures, fields, last);
  last = point;
  by('server').textContent = `${location.host} · version ${fields.sterna_version ?? '?'} · up ${age(figures.uptimeMs)} · ${count(figures.shards.length)} shard${figures.shards.length === 1 ? '' : 's'}`;
  if (point.isFirst) return;
  points = [...points, point].slice(-POINTS_MAX);
  show();
}

function state(name, text) {
  by('state').dataset.state = name;
  by('state').textContent = text;
}

function cut(reason) {
  by('cut').hidden = !reason;
  by('cut').textContent = reason ? `Disconnected: ${reason} What is shown is from before. The page goes on as soon as the server answers.` : '';
  if (reason) state('cut', 'Disconnected');
}

/** Follows the stream of figures until `watcher` is aborted; throws what the server says against it. */
async function follow(watcher, entered) {
  const attempt = new AbortController();
  const end = () => attempt.abort();
  watcher.signal.addEventListener('abort', end);
  let alarm = setTimeout(end, SILENCE_MS);
  try {
    for await (const blocks of stream('/v1/admin/live', attempt.signal)) {
      clearTimeout(alarm);
      alarm = setTimeout(end, SILENCE_MS);
      const found = event(blocks.at(-1));
      if (found?.event === 'refused') throw new Refused(403, JSON.parse(found.data).error);
      if (found === null || watcher.signal.aborted) continue;
      entered();
      cut(null);
      state('live', 'Live');
      receive(found.data);
    }
    throw new Error('the server has ended the stream.');
  } finally {
    clearTimeout(alarm);
    watcher.signal.removeEventListener('abort', end);
    attempt.abort();
  }
}

/** Follows, again and again. Only what the server refuses ends it. */
async function watch(watcher, entered) {
  let isIn = false;
  for (;;) {
    try {
      await follow(watcher, () => { if (!isIn) { isIn = true; entered(); } });
    } catch (reason) {
      if (watcher.signal.aborted) return;
      const isRefused = reason instanceof Refused && (reason.status === 401 || reason.status === 403);
      if (isRefused || !isIn) throw reason;
      const text = reason instanceof Refused ? `${reason.message}.` : reason.name === 'AbortError' ? 'the server is silent.' : 'the server can’t be reached.';
      cut(text);
    }
    await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    if (watcher.signal.aborted) return;
  }
}

function leave(reason = '') {
  watching?.abort();
  watching = null;
  forget();
  shown.tail.forget();
  shown.streams.forget();
  [points, last] = [[], null];
  cut(null);
  state('out', 'Signed out');
  by('server').textContent = '';
  by('inside').hidden = true;
  by('leave').hidden = true;
  by('door').hidden = false;
  by('refusal').hidden = reason === '';
  by('refusal').textContent = reason;
  by('password').value = '';
}

async function enter(submitted) {
  submitted.preventDefault();
  const button = submitted.target.querySelector('button');
  button.disabled = true;
  by('refusal').hidden = true;
  use(by('user').value || 'default', by('password').value);
  watching?.abort();
  const watcher = new AbortController();
  watching = watcher;
  const entered = () => {
    button.disabled = false;
    by('password').value = '';
    by('door').hidden = true;
    by('inside').hidden = false;
    by('leave').hidden = false;
    choose('overview');
    by('tab-overview').focus();
  };
  try {
    await watch(watcher, entered);
  } catch (reason) {
    if (watching === watcher) leave(reason instanceof Refused ? reason.message : 'The server can’t be reached.');
  }
  button.disabled = false;
}

by('sign-in').addEventListener('submit', enter);
by('leave').addEventListener('click', () => leave());
