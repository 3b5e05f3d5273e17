// Lines over time: axes with units, a legend with the latest values, and what was when, by pointer or arrow keys.
import { clock, el, svg } from './dom.js';

const HEIGHT = 190;
const ROOM = { left: 62, right: 12, top: 8, bottom: 22 };
/** Minutes that are shown: as many as are known, up to five. */
const SPANS = [1, 2, 5];
/** Pixels that a label below the axis takes. */
const LABEL_WIDTH = 64;

/** The numbers at which rules are drawn: some four, round ones, from 0. `binary`: in units of 1024. */
function ticks(most, binary) {
  if (!(most > 0)) return [0, 1];
  const unit = binary ? 1024 ** Math.floor(Math.log(most) / Math.log(1024)) : 1;
  const rough = most / unit / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) * unit;
  const all = [];
  for (let n = 0; n < most + step; n += step) all.push(n);
  return all;
}

/**
 * A chart. `series`: `{ name, of(point), c }`; a value may be null, which is a gap. Points have `at`, Unix milliseconds.
 * Answers its element and a function that draws other points.
 */
export function chart({ title, series, format, binary = false, floor = 0 }) {
  const values = series.map(() => el('b', {}, '–'));
  const legend = el('ul', { class: 'legend' }, ...series.map(({ name, c }, i) => el('li', { class: c }, `${name} `, values[i])));
  const drawing = svg('svg', { role: 'img', tabindex: '0', 'aria-label': `${title}, the last minutes` });
  const tip = el('div', { class: 'tip', hidden: true });
  const frame = el('div', { class: 'chart' }, drawing, tip);
  const element = el('section', { class: 'panel' }, el('h2', {}, title), legend, frame);
  let points = [];
  let chosen = null;
  let size = null;

  function draw() {
    const width = frame.clientWidth;
    if (width < 40) return;
    const end = points.length ? points.at(-1).at : Date.now();
    const most = Math.max(floor, ...points.flatMap((point) => series.map(({ of }) => of(point) ?? 0)));
    const rules = ticks(most, binary);
    const top = rules.at(-1);
    const known = points.length ? (end - points[0].at) / 60000 : 0;
    const span = SPANS.find((minutes) => known <= minutes) ?? SPANS.at(-1);
    const across = width - ROOM.left - ROOM.right;
    const x = (at) => ROOM.left + across * (1 - (end - at) / 60000 / span);
    const y = (n) => ROOM.top + (HEIGHT - ROOM.top - ROOM.bottom) * (1 - n / top);
    size = { width, x, y };
    const parts = [];
    for (const n of rules) {
      parts.push(svg('line', { class: 'rule', x1: ROOM.left, x2: width - ROOM.right, y1: y(n), y2: y(n) }));
      const label = svg('text', { x: ROOM.left - 6, y: y(n) + 4, 'text-anchor': 'end' });
      label.textContent = format(n);
      parts.push(label);
    }
    const steps = span === 5 ? 5 : 4;
    const every = across / steps < LABEL_WIDTH ? steps : 1;
    for (let i = 0; i <= steps; i += every) {
      const seconds = (span * 60 * i) / steps;
      const anchor = i === 0 ? 'end' : i === steps ? 'start' : 'middle';
      const label = svg('text', { x: x(end - seconds * 1000), y: HEIGHT - 5, 'text-anchor': anchor });
      label.textContent = i === 0 ? 'now' : span > 2 ? `−${seconds / 60} min` : `−${seconds} s`;
      parts.push(label);
    }
    for (const { of, c } of series) {
      let d = '';
      let last = null;
      for (const point of points) {
        const n = of(point);
        if (n === null || n === undefined) { last = null; continue; }
        // What was not watched is a gap.
        const goes = last !== null && point.at - last < 5000;
        d += `${goes ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(n).toFixed(1)}${goes ? '' : 'h.1'}`;
        last = point.at;
      }
      parts.push(svg('path', { class: c, d: d || 'M0 0' }));
    }
    drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    drawing.replaceChildren(...parts);
    point();
  }

  /** Draws what the pointer, or the arrow keys, are at. */
  function point() {
    drawing.querySelectorAll('.cursor, circle').forEach((part) => part.remove());
    const at = chosen === null ? null : points.find((other) => other.at === chosen);
    tip.hidden = !at;
    if (!at || !size) return;
    const x = size.x(at.at);
    drawing.append(svg('line', { class: 'cursor', x1: x, x2: x, y1: ROOM.top, y2: HEIGHT - ROOM.bottom }));
    const lines = [el('div', { class: 'quiet' }, clock(at.at))];
    for (const { name, of, c } of series) {
      const n = of(at);
      if (n === null || n === undefined) continue;
      drawing.append(svg('circle', { class: c, cx: x, cy: size.y(n), r: 3.5 }));
      lines.push(el('div', {}, `${name}: ${format(n)}`));
    }
    tip.replaceChildren(...lines);
    if (x > size.width / 2) {
      tip.style.right = `${size.width - x + 10}px`;
      tip.style.left = 'auto';
    } else {
      tip.style.left = `${x + 10}px`;
      tip.style.right = 'auto';
    }
  }

  function choose(at) {
    chosen = at;
    point();
  }

  drawing.addEventListener('pointermove', (event) => {
    if (!size || points.length === 0) return;
    const x = event.clientX - drawing.getBoundingClientRect().left;
    const nearest = points.reduce((best, other) =>
      (Math.abs(size.x(other.at) - x) < Math.abs(size.x(best.at) - x) ? other : best));
    choose(nearest.at);
  });
  drawing.addEventListener('pointerleave', () => choose(null));
  drawing.addEventListener('blur', () => choose(null));
  drawing.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Escape') choose(null);
    if (!step || points.length === 0) return;
    event.preventDefault();
    const at = points.findIndex((other) => other.at === chosen);
    const next = at < 0 ? points.length - 1 : Math.min(points.length - 1, Math.max(0, at + step));
    choose(points[next].at);
  });
  new ResizeObserver(draw).observe(frame);

  return {
    element,
    show(next) {
      points = next;
      const last = points.at(-1);
      series.forEach(({ of }, i) => {
        const n = last && of(last);
        values[i].textContent = n === null || n === undefined ? '–' : format(n);
      });
      draw();
    },
  };
}
