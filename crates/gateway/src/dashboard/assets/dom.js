// Elements from descriptions, and numbers for people. Text is always text: nothing here makes markup of it.

/** An element: `el('p', { class: 'quiet' }, 'text', other)`. Functions are listeners, `true` is a bare attribute. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const svg = (name, attributes = {}) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

export const panel = (title, ...children) => el('section', { class: 'panel' }, el('h2', {}, title), ...children);

/** A labelled input, select or textarea. */
export function field(label, input, kind = '') {
  return el('div', { class: `field ${kind}` }, el('label', { for: input.id }, label), input);
}

/** Columns of the widest table that a phone shows as one; in wider ones each cell stands behind its column's name there. */
const NARROW_COLUMNS_MAX = 3;

/** A table. Columns: `{ name, of(row), is: 'n' | 'name' | undefined }`; rows may be marked. Roles are named for where rows wrap. */
export function table(columns, rows, { empty = 'Nothing yet.', mark = () => false, kind = '' } = {}) {
  if (rows.length === 0) return el('p', { class: 'empty' }, empty);
  const head = el('tr', { role: 'row' },
    ...columns.map((column) => el('th', { class: column.is, scope: 'col', role: 'columnheader' }, column.name)));
  const line = (row) => el('tr', { class: mark(row) ? 'chosen' : undefined, role: 'row' },
    ...columns.map((column) => el('td', { class: column.is, role: 'cell', 'data-column': column.name }, column.of(row))));
  const wraps = columns.length > NARROW_COLUMNS_MAX ? 'wraps' : undefined;
  return el('div', { class: `scroll ${kind}` }, el('table', { class: wraps, role: 'table' },
    el('thead', { role: 'rowgroup' }, head), el('tbody', { role: 'rowgroup' }, ...rows.map(line))));
}

/** Replaces what is in `place`, and keeps the focus where it was, by the `data-key` of what has it. */
export function fill(place, ...children) {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.replaceChildren(...children);
  if (key) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

const STEPS = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
const digits = (n) => (n >= 100 || n === 0 ? 0 : n >= 10 ? 1 : 2);
const short = (n) => String(Number(n.toFixed(digits(Math.abs(n)))));

export function count(n) {
  const step = STEPS.find(([size]) => Math.abs(n) >= size * (size === 1e3 ? 10 : 1));
  return step ? short(n / step[0]) + step[1] : Number.isInteger(n) ? String(n) : short(n);
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(n) >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${short(n)} ${units[unit]}`;
}

export const rate = (n) => `${count(n)}/s`;
export const byteRate = (n) => `${bytes(n)}/s`;
export const percent = (n) => `${Math.round(n * 100)} %`;

/** Nanoseconds. */
export function time(ns) {
  if (ns === 0) return '0';
  if (ns < 1e3) return `${short(ns)} ns`;
  if (ns < 1e6) return `${short(ns / 1e3)} µs`;
  if (ns < 1e9) return `${short(ns / 1e6)} ms`;
  return `${short(ns / 1e9)} s`;
}

/** How long ago, or for how long: milliseconds. */
export function age(ms) {
  const s = Math.max(0, ms / 1000);
  if (s < 1) return `${Math.round(ms)} ms`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
