// What a chat server accepts from a browser. Nothing that comes from there is believed.

export const ROOMS = ['general', 'random', 'help'];

const NAME_MAX = 24;
const TEXT_MAX = 2000;

/** A name to show, or undefined if there is nothing to show. */
export function cleanName(value) {
  if (typeof value !== 'string') return undefined;
  return value.replace(/\s+/g, ' ').trim().slice(0, NAME_MAX) || undefined;
}

/** A message's text, or undefined if it is empty. */
export function cleanText(value) {
  if (typeof value !== 'string') return undefined;
  return value.trim().slice(0, TEXT_MAX) || undefined;
}
