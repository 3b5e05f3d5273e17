// The names that producer and workers agree on.
export const STREAM = 'jobs';
export const GROUP = 'workers';
export const resultKey = (id) => `jobs:result:${id}`;

/** ioredis answers an entry's fields as a flat list: name, value, name, value… */
export function fieldsOf(flat) {
  const fields = {};
  for (let at = 0; at < flat.length; at += 2) fields[flat[at]] = flat[at + 1];
  return fields;
}
