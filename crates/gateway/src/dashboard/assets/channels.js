// Channels and patterns: the busiest, and those with the most subscribers.
import { byteRate, count, el, fill, rate, table } from './dom.js';

const n = (value) => (value === null || value === undefined ? '–' : count(value));

/** One list that is shown by rate or by subscribers. */
function list({ title, noun, busy, subscribed, total, tail }) {
  let by = 'rate';
  let last = null;
  const place = el('div', {});
  const sum = el('span', { class: 'quiet small' });
  const buttons = ['rate', 'subscribers'].map((order) => el('button', {
    type: 'button', class: 'slim', 'aria-pressed': String(order === by), click: () => choose(order),
  }, `by ${order}`));
  const choose = (order) => {
    by = order;
    buttons.forEach((button) => button.setAttribute('aria-pressed', String(button.textContent === `by ${order}`)));
    if (last) show(last);
  };
  const open = { name: '', of: (row) => el('button', { type: 'button', class: 'slim', 'data-key': `${noun} ${row.name}`, click: () => tail(row.name) }, 'Tail') };
  const name = { name: noun, is: 'name', of: (row) => row.name };
  const byRate = [
    name,
    { name: 'Messages', is: 'n', of: (row) => rate(row.messages) },
    ...(noun === 'Channel' ? [{ name: 'Deliveries', is: 'n', of: (row) => rate(row.deliveries) }] : []),
    { name: 'Payload', is: 'n', of: (row) => byteRate(row.bytes) },
    { name: 'Subscribers', is: 'n', of: (row) => n(row.subscribers) },
    open,
  ];
  const bySubscribers = [name, { name: 'Subscribers', is: 'n', of: (row) => n(row.subscribers) }, open];
  function show(figures) {
    last = figures;
    sum.textContent = `${count(total(figures))} with subscribers`;
    fill(place, by === 'rate'
      ? table(byRate, busy(figures), { empty: 'Nothing was published in the last seconds.' })
      : table(bySubscribers, subscribed(figures), { empty: `No ${noun.toLowerCase()} has subscribers.` }));
  }
  const element = el('section', { class: 'panel', 'data-list': noun },
    el('div', { class: 'bar' }, el('h2', {}, title), sum, ...buttons), place);
  return { element, show };
}

export function channels(place, { tail }) {
  const lists = [
    list({
      title: 'Channels', noun: 'Channel', tail: (name) => tail('channel', name), total: (f) => f.channels,
      busy: (f) => f.busyChannels, subscribed: (f) => f.subscribedChannels,
    }),
    list({
      title: 'Patterns', noun: 'Pattern', tail: (name) => tail('pattern', name), total: (f) => f.patterns,
      busy: (f) => f.busyPatterns, subscribed: (f) => f.subscribedPatterns,
    }),
  ];
  place.append(el('div', { class: 'grid' }, ...lists.map((one) => one.element)),
    el('p', { class: 'quiet small' }, 'Rates are of the last five seconds, from a sample where there are very many messages.'));
  return { show: (points) => lists.forEach((one) => one.show(points.at(-1).figures)) };
}
