// What comes in a channel, in channels that match a pattern, or in a stream, as it comes; and a message of one's own.
//
// A channel may be busier than anybody can read: of what comes together at most BATCH_MAX messages are read, the others are
// counted; LINES_MAX are kept; lines are drawn a few times a second. If the page can't keep up at all, the server closes the
// stream at its output limit and the page begins anew.
import { command, event, Refused, stream } from './api.js';
import { clock, count, el, field } from './dom.js';

const BATCH_MAX = 1000;
const LINES_MAX = 500;
const TEXT_MAX = 4000;
const DRAW_MS = 200;
const PAUSE_MS = 1500;

const cut = (text) => (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}… (${count(text.length)} characters)` : text);

export function tail(place) {
  let running = null;
  let paused = false;
  let lines = [];
  let isDrawn = true;
  const seen = { all: 0, shown: 0, skipped: 0, behind: 0 };
  const option = (value, text) => el('option', { value }, text);
  const kind = el('select', { id: 'tail-kind' }, option('channel', 'Channel'), option('pattern', 'Pattern'), option('stream', 'Stream'));
  const name = el('input', { id: 'tail-name', required: true, spellcheck: 'false', autocapitalize: 'none', placeholder: 'news' });
  const filter = el('input', { id: 'tail-filter', type: 'search', placeholder: 'contains…', spellcheck: 'false', autocapitalize: 'none', input: () => changed() });
  const begin = el('button', { class: 'primary' }, 'Start');
  const pause = el('button', { type: 'button', 'aria-pressed': 'false', disabled: true, click: () => setPause(!paused) }, 'Pause');
  const clear = el('button', { type: 'button', click: () => { lines = []; changed(); } }, 'Clear');
  const status = el('p', { class: 'quiet small', role: 'status', id: 'tail-status' }, 'Nothing is followed.');
  const list = el('ol', { id: 'lines', tabindex: '0', 'aria-label': 'Messages, the newest first' });

  function changed() { isDrawn = false; }

  function setPause(on) {
    paused = on;
    seen.behind = 0;
    pause.setAttribute('aria-pressed', String(on));
    pause.textContent = on ? 'Go on' : 'Pause';
    changed();
  }

  /** A message or entry as a line; null for other events. */
  function read(block) {
    const found = event(block);
    if (found === null || found.event !== 'message') return null;
    const data = JSON.parse(found.data);
    const text = data.fields ? JSON.stringify(data.fields) : data.message;
    return { at: Date.now(), from: data.id ?? data.channel, text: String(text) };
  }

  function take(blocks) {
    const events = blocks.filter((block) => block.startsWith('data:') || block.includes('\ndata:'));
    const read_ = events.slice(-BATCH_MAX).map(read).filter(Boolean);
    seen.skipped += events.length - events.slice(-BATCH_MAX).length;
    seen.all += read_.length + events.length - events.slice(-BATCH_MAX).length;
    if (paused) seen.behind += read_.length;
    else {
      lines = [...read_.reverse(), ...lines].slice(0, LINES_MAX);
    }
    changed();
  }

  async function follow(what, which, signal) {
    for (;;) {
      try {
        say(`Following ${what} ${which}`);
        for await (const blocks of stream(`/v1/events?${new URLSearchParams({ [what]: which })}`, signal)) take(blocks);
        say('The server has closed the stream: it was too fast for this page, or its user may no longer. It begins anew.', 'warn');
      } catch (reason) {
        if (signal.aborted) return;
        if (reason instanceof Refused && reason.status < 500) {
          stop();
          return say(reason.message, 'error');
        }
        say(`Interrupted (${reason.message}). It is tried again.`, 'warn');
      }
      await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
      if (signal.aborted) return;
    }
  }

  let doing = '';
  let doingKind = 'quiet';
  function say(text, how = 'quiet') {
    [doing, doingKind] = [text, how];
    changed();
  }

  function start() {
    stop();
    const which = name.value;
    if (which === '') return;
    running = new AbortController();
    Object.assign(seen, { all: 0, skipped: 0, behind: 0 });
    lines = [];
    setPause(false);
    begin.textContent = 'Stop';
    pause.disabled = false;
    follow(kind.value, which, running.signal);
  }

  function stop() {
    running?.abort();
    running = null;
    begin.textContent = 'Start';
    pause.disabled = true;
    say('Nothing is followed.');
  }

  function draw() {
    if (isDrawn || place.hidden) return;
    isDrawn = true;
    const wanted = filter.value.toLowerCase();
    const shown = wanted ? lines.filter(({ text, from }) => text.toLowerCase().includes(wanted) || from.toLowerCase().includes(wanted)) : lines;
    const items = shown.map(({ at, from, text }) => el('li', {}, el('time', {}, clock(at)), el('b', {}, from), cut(text)));
    if (items.length === 0) items.push(el('li', { class: 'empty' }, lines.length ? 'Nothing contains that.' : running ? 'Nothing has come yet.' : 'Choose what to follow.'));
    list.replaceChildren(...items);
    const parts = [doing];
    if (seen.all > 0) parts.push(`${count(seen.all)} received`, `${count(shown.length)} shown`);
    if (seen.skipped > 0) parts.push(`${count(seen.skipped)} passed over: too many at once`);
    if (paused) parts.push(`paused, ${count(seen.behind)} since`);
    status.textContent = parts.join(' · ');
    status.className = `small ${doingKind}`;
  }
  setInterval(draw, DRAW_MS);

  const form = el('form', { class: 'row', submit: (submitted) => { submitted.preventDefault(); if (running) stop(); else start(); } },
    field('Kind', kind, 'narrow'), field('Name', name), field('Filter', filter), begin, pause, clear);

  // A message of one's own.
  const to = el('input', { id: 'publish-to', required: true, spellcheck: 'false', autocapitalize: 'none', placeholder: 'news' });
  const how = el('select', { id: 'publish-how' }, option('publish', 'To a channel'), option('append', 'To a stream'));
  const message = el('textarea', { id: 'publish-text', rows: '1' });
  const outcome = el('p', { role: 'status', id: 'publish-outcome', class: 'small' });
  async function send(submitted) {
    submitted.preventDefault();
    try {
      if (how.value === 'publish') {
        const receivers = await command('PUBLISH', to.value, message.value);
        outcome.textContent = `Sent to ${count(receivers)} subscriber${receivers === 1 ? '' : 's'}.`;
      } else {
        outcome.textContent = `Appended as ${await command('XADD', to.value, '*', 'message', message.value)}.`;
      }
      outcome.className = 'small done';
    } catch (reason) {
      outcome.textContent = reason.message;
      outcome.className = 'small error';
    }
  }
  const publish = el('form', { class: 'row', submit: send },
    field('What', how, 'narrow'), field('Channel or key', to), field('Message', message), el('button', { class: 'primary' }, 'Send'));

  place.append(
    el('section', { class: 'panel' }, el('div', { class: 'bar' }, el('h2', {}, 'Tail')), form, status, list),
    el('section', { class: 'panel' }, el('div', { class: 'bar' }, el('h2', {}, 'Send a test message')), publish, outcome));

  return {
    open: () => changed(),
    forget: () => { stop(); lines = []; },
    follow(what, which) {
      kind.value = what;
      name.value = which;
      if (what === 'channel') to.value = which;
      start();
    },
  };
}
