//! The request that a shard executes, and the connection that it serves.

use std::fmt;
use std::time::Instant;

use crate::apart::Task;
use crate::connection::chunk::Range;
use crate::connection::state::ConnectionRef;
use crate::connection::waits::FilesRead;
use crate::journaling::Outcome;
use crate::server::Server;
use crate::shard::parts::Parts;

/// What is to be written to a file of settings once the transaction has been run, and where in its reply that is answered.
pub(crate) struct FileToWrite {
    pub(crate) at: usize,
    pub(crate) work: Box<dyn FnOnce(&Server) -> Outcome + Send>,
}

impl fmt::Debug for FileToWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileToWrite").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Whether what a command of a transaction does may be worked off in parts.
#[derive(Debug, Default)]
pub(crate) enum QueuedParts {
    #[default]
    Refused,
    Allowed,
    /// It has been begun.
    Begun(Box<Parts>),
}

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
    /// When it is not to be read from again in this turn, unless what it says is for many.
    pub(super) read_until: Instant,
    /// Bytes read from it in this turn.
    pub(super) read_bytes: usize,
    /// What it has published to itself: it follows the reply.
    pub(crate) deferred: Vec<Range>,
    /// Confirmations of subscriptions in a transaction that is not answered otherwise.
    pub(crate) confirmations: Vec<u8>,
    /// A command that is to be run apart, while its request is still with whoever has read it.
    pub(super) task_without_request: Option<Box<Task>>,
    /// What the files say that the transaction, or CONFIG SET, asks for.
    pub(crate) files_read: FilesRead,
    /// What a command of the transaction has to be written to a file.
    pub(crate) file_to_write: Option<FileToWrite>,
    /// Of the command of the transaction that is executed.
    pub(crate) queued_parts: QueuedParts,
    /// What MULTI has just queued has yet to be given its request.
    pub(crate) queued_without_request: bool,
}

impl Default for Current {
    fn default() -> Current {
        Current {
            who: None,
            is_ordinary: None,
            until: Instant::now(),
            read_until: Instant::now(),
            read_bytes: 0,
            deferred: Vec::new(),
            confirmations: Vec::new(),
            task_without_request: None,
            files_read: FilesRead::default(),
            file_to_write: None,
            queued_parts: QueuedParts::Refused,
            queued_without_request: false,
        }
    }
}
