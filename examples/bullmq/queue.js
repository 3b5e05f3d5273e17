// What producer and workers agree on.
export const QUEUE = 'mail';

/** A worker that has not renewed its lock for so long is taken for dead, and its job is given to another. */
export const LOCK_MS = 2000;
