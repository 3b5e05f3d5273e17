//! The request that a shard executes, and the connection that it serves.

use std::time::Instant;

use crate::apart::Task;
use crate::connection::chunk::Range;
use crate::connection::state::ConnectionRef;

/// What holds for the connection that is served until another one is. Put aside as a whole where others are served beside a
/// script that has run for too long.
#[derive(Debug)]
pub(crate) struct Current {
    /// Who is served. `None` between two connections.
    pub(crate) who: Option<ConnectionRef>,
    /// Whether nothing is out of the ordinary with that client, if that has been asked: see `command/ordinary.rs`.
    pub(crate) is_ordinary: Option<bool>,
    /// When it has had its time.
    pub(super) until: Instant,
    /// What it has published to itself: it follows the reply.
    pub(crate) deferred: Vec<Range>,
    /// A command that is to be run apart, while its request is still with whoever has read it.
    pub(super) task_without_request: Option<Box<Task>>,
    /// What MULTI has just queued has yet to be given its request.
    pub(crate) queued_without_request: bool,
}

impl Default for Current {
    fn default() -> Current {
        Current {
            who: None,
            is_ordinary: None,
            until: Instant::now(),
            deferred: Vec::new(),
            task_without_request: None,
            queued_without_request: false,
        }
    }
}
