//! Bounds on what one client may make the server hold or do that are no options: each with why it is this number.
//!
//! Bounds that an operator may want to move are rows of the option table. `docs/limits.md` lists both kinds, with what
//! each counts and the test that holds it.

/// Reply bytes queued for a connection that has yet to authenticate, above which it is closed: what a server says to a
/// stranger (errors, PONG) is short, and who sends without reading has no claim to memory.
///
/// Source: Redis allows its static buffer of 16 KiB and one more.
pub(crate) const UNAUTHENTICATED_OUTPUT_BYTES_MAX: usize = 17 * 1024;

/// Bytes of an unfinished request kept for a connection that has yet to authenticate: one argument of the greatest
/// length that it may send, and room for the others.
pub(crate) const UNAUTHENTICATED_INPUT_BYTES_MAX: usize = 20 * 1024;

/// Bytes of a TLS handshake, which the library would take up to 64 KiB of in one message: a long chain of client certificates has some
/// 10 KiB.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 * 1024;

/// Bytes read at once from a connection that has yet to authenticate. Logging in takes a few hundred.
pub(crate) const UNAUTHENTICATED_READ_BYTES: usize = 4 * 1024;

/// Requests executed in one turn for a connection that has yet to authenticate, so that a crowd of strangers takes little
/// time from those who have proven who they are. Logging in takes one or two.
pub(crate) const UNAUTHENTICATED_REQUESTS_PER_TURN: usize = 8;

/// Reply bytes queued for a connection above which its next request waits until half of them have been sent, where
/// `client-output-buffer-limit` doesn't close it instead. Many times what a socket takes at once, so that a client that
/// reads is never short of replies.
pub(crate) const BACKLOG_BYTES: usize = 256 * 1024;

/// Bytes that one shard has mailed to another that does not take them, above which nobody begins what mails more: as much as
/// `client-output-buffer-limit` lets one subscriber have, and far above what shards that keep up with each other ever have.
pub(crate) const OWED_BYTES_MAX: usize = 32 << 20;

/// Entries of SLOWLOG, and of ACL LOG, whatever is configured: all of them are in one reply.
pub(crate) const LOG_ENTRIES_MAX: usize = 4096;

/// Bytes of a message to a channel that remembers: it is copied into the stream, and into the journal's record, while that is locked.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 8 << 20;

/// The least that `maxmemory-clients` means: below it a server could not be spoken to. Source: Redis.
pub(crate) const CLIENTS_BYTES_MIN: u64 = 128 << 10;

/// Bytes of each name that a client gives itself (CLIENT SETNAME, CLIENT SETINFO): all of them are in one reply of CLIENT LIST, and one in
/// each entry of SLOWLOG.
pub(crate) const CLIENT_NAME_BYTES_MAX: usize = 1024;

/// Bytes of a connection's fieldsets (HIMPORT): tens of thousands of names. They are freed in a moment when it closes.
pub(crate) const FIELDSETS_BYTES_MAX: usize = 4 << 20;

/// What the name of a key has at most, on average, that is remembered for client-side caching.
pub(crate) const TRACKED_NAME_BYTES: usize = 256;

/// Bytes of the names of all keys that are remembered for client-side caching: of a million.
pub(crate) const TRACKED_NAMES_BYTES_MAX: usize = TRACKED_NAME_BYTES << 20;

/// Bytes of the prefixes that one client has broadcast to it (CLIENT TRACKING BCAST).
pub(crate) const PREFIXES_BYTES_MAX: usize = 4 << 20;

/// Entries of the table of tracked reads looked at in one tick for clients that have left.
pub(crate) const TRACKED_READS_PER_SWEEP: usize = 1000;

/// Bytes of what one command answers that is run apart, where `client-output-buffer-limit` allows more: its reply is in memory as a whole
/// before any of it is sent. No client library takes as much.
pub(crate) const REPLY_BYTES_MAX: usize = 4 << 30;

/// The same for a request of HTTP: more than the gateway takes of the replies to one.
pub(crate) const PIPED_REPLY_BYTES_MAX: usize = 33 << 20;

/// Bytes of what a command answers to a script: as much as the whole Lua state may hold.
pub(crate) const SCRIPTED_REPLY_BYTES_MAX: usize = sterna_script::MEMORY_MAX;
