//! How far things may grow (docs/limits.md). `http-max-body-size` and `maxclients` are the configuration's.

use std::time::Duration;

/// Bytes of a request's line and headers: as much as other servers take.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a head for which an unfinished one counts among all of them; few requests have so long a one.
pub(crate) const SHORT_HEAD_BYTES_MAX: usize = 8 << 10;

/// Bytes of the buffers of all longer unfinished heads together; whose head would be more is closed.
pub(crate) const HEADS_BYTES_MAX: usize = 64 << 20;

/// Headers of a request; browsers send about twenty.
pub(crate) const HEADERS_MAX: usize = 64;

/// Until the head of a request has arrived; also how long a connection is kept open between two.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// Until the body of a request has arrived.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Until a TLS handshake is done.
pub(crate) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a login may wait: on a slowed address, or for a paused server.
pub(crate) const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a request goes on whose client has left behind it: who sends one and hangs up has it done, and what waits ends.
pub(crate) const LEFT_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a peer may take nothing of what it is sent.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes that the replies to one request may have, as the engine sends them.
pub(crate) const REPLY_BYTES_MAX: usize = 32 << 20;

/// Bytes of all bodies and replies together; beyond it requests are answered 503.
pub(crate) const HELD_BYTES_MAX: usize = 512 << 20;

/// Commands of one `/pipeline` or `/multi-exec`.
pub(crate) const COMMANDS_MAX: usize = 100_000;

/// Bytes of JSON that are read or written at once: 3 ms at the worst. More is done on a thread beside.
pub(crate) const AT_ONCE_BYTES_MAX: usize = 128 << 10;

/// Threads for that; who comes beyond them waits for one.
pub(crate) const ASIDE_THREADS_MAX: usize = 2;

/// Channels and patterns of one stream of events; its URL bounds their bytes.
pub(crate) const NAMES_MAX: usize = 1000;

/// How long a page waits before it comes back.
pub(crate) const RETRY_MS: std::ops::Range<u64> = 1000..3000;

/// Entries that one reading of a stream answers.
pub(crate) const ENTRIES_MAX: u64 = 1000;

/// Pages of the dashboard that watch at the same time.
pub(crate) const WATCHERS_MAX: usize = 16;

/// Between two polls of the server for these.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of the thread waits for what it is doing.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_millis(200);

/// How long accepting is left alone after a failure, which is likely to be that of the next attempt.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two polls of whether the server has loaded its keys, while a page waits for it.
pub(crate) const LOADING_INTERVAL: Duration = Duration::from_millis(50);
