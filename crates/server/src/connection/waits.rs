//! What a connection keeps while a command of it waits.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sterna_command::Row;
use sterna_journal::Lsn;
use sterna_keyspace::Waiter;
use sterna_protocol::OwnedArgs;

use crate::acl::Users;
use crate::names::Names;
use crate::tls::TlsRead;

/// A connection that waits for a key.
#[derive(Debug)]
pub(crate) struct KeyWait {
    /// What it waits in, to be checked again when its user changes.
    pub(crate) request: OwnedArgs,
    pub(crate) waiter: Arc<Waiter>,
    /// When it gives up, on the monotonic clock.
    pub(crate) deadline: Option<Instant>,
    pub(crate) row: &'static Row,
    /// It is known who answers it.
    pub(crate) is_settled: bool,
    /// How long the command ran before it waited: it is counted, and kept by SLOWLOG, when it ends.
    pub(crate) ran: Duration,
}

/// A connection that waits for copies of what it has written.
#[derive(Debug)]
pub(crate) struct CopiesWait {
    /// The command itself, to be checked again when its user changes.
    pub(crate) request: OwnedArgs,
    pub(crate) row: &'static Row,
    /// How long the command ran before it waited: it is counted, and kept by SLOWLOG, when it ends.
    pub(crate) ran: Duration,
    /// WAITAOF waits for the disk. WAIT, for which there are no replicas, until its time has passed.
    pub(crate) disk: Option<DiskWait>,
}

/// What WAITAOF wants of the disk.
#[derive(Debug)]
pub(crate) struct DiskWait {
    /// The connection's last write.
    pub(crate) lsn: Lsn,
    /// Whether it is content with the local disk.
    pub(crate) is_local_enough: bool,
}

/// A connection that sleeps: what it is said to be executing, and since when.
#[derive(Debug)]
pub(crate) struct Asleep {
    pub(crate) row: &'static Row,
    pub(crate) args: OwnedArgs,
    pub(crate) since: Instant,
    /// CLIENT REPLY says that it isn't answered.
    pub(crate) is_silent: bool,
}

/// A connection that waits for a job about the journal's files, after which its command goes on.
#[derive(Debug)]
pub(crate) struct JobWait {
    pub(crate) row: &'static Row,
    pub(crate) args: OwnedArgs,
    pub(crate) then: AfterJob,
    /// CLIENT REPLY says that it isn't answered.
    pub(crate) is_silent: bool,
}

/// What is copied to a client that goes on without its connection (`command/copying`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// All keys, as a database file; PSYNC `announces` it.
    Keys { announces: bool },
    /// The journal.
    Files,
}

/// How a command goes on after its job.
#[derive(Debug)]
pub(crate) enum AfterJob {
    /// SAVE answers.
    Save,
    /// CONFIG SET changes the options beside `appendonly`.
    Switch,
    /// SHUTDOWN answers if it has failed.
    Shutdown,
    /// DEBUG RELOAD loads what was saved.
    Reload,
    /// A copy begins.
    Copy(Copy),
    /// The reply is here.
    Answer(Arc<OnceLock<Vec<u8>>>),
    /// ACL LOAD makes these the users.
    Users(Arc<OnceLock<LoadedUsers>>),
    /// CONFIG SET takes effect with what it has had read.
    Options(Arc<OnceLock<OptionsRead>>),
}

/// What the files said that the commands of a transaction ask for, before it.
#[derive(Debug, Default)]
pub(crate) struct FilesRead {
    /// For ACL LOAD.
    pub(crate) users: Option<UsersRead>,
    /// For CONFIG SET.
    pub(crate) options: OptionsRead,
}

/// What files and name servers said of options, by what that depends on.
#[derive(Debug, Default)]
pub(crate) struct OptionsRead {
    pub(crate) tls: Vec<TlsRead>,
    pub(crate) names: Vec<Names>,
}

/// The users of a file; error: what is wrong with it.
pub(crate) type UsersRead = Result<LoadedUsers, String>;

/// Users of a file, twice: for the server, and for all shards to look at.
#[derive(Debug)]
pub(crate) struct LoadedUsers {
    pub(crate) own: Users,
    pub(crate) shared: Arc<Users>,
    /// The password of the default user that it was read with.
    pub(crate) requirepass: Vec<u8>,
    /// What the file says.
    pub(crate) text: Vec<u8>,
}
