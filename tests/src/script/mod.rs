//! Scripts: what some clients say to a server, one line a step, for comparing two servers.
//!
//! ```text
//! == a subscriber hears what another client publishes
//! A: SUBSCRIBE news                      a request; its replies are read: one, or one for each name subscribed to
//! B: PUBLISH news hello
//! A<                                     the next thing that comes to A, unasked
//! B sorted: PUBSUB CHANNELS              replies compared with their elements in order
//! B*2: UNSUBSCRIBE                       a request with two replies
//! B! "PING\r\n"                          bytes
//! B closed                               the server closes B; what it says before is compared
//! A leaves                               A closes
//! C raw                                  a connection on which no HELLO 3 is sent before the first request
//! C until=":0": PUBLISH news hello       asked again until the reply is this
//! A blocks: XREAD BLOCK 0 STREAMS s $    a request that is not answered yet; the script goes on when A waits
//! A as=a positive: CLIENT ID             the reply has a name,
//! B: CLIENT UNBLOCK <a>                  and stands where that is written
//! ```
//!
//! A script runs in RESP2 and RESP3 (`only resp2`, `only resp3`), on fresh connections and an empty server that the
//! scripts of its file share (`with --requirepass secret`: one of its own). Words are quoted as in redis-cli. A client
//! connects when it is first named; in RESP3 with HELLO 3. At the end every client that is still connected is asked
//! whether anything more has come for it.
//!
//! Views, before the colon, say what of a reply is compared; without one every byte is ([`View`]). `since=8` compares
//! with a reference of that version or newer only. `differs=name` is a difference that is meant: it must be in
//! [`crate::difference::DIFFERENCES`], and the replies must really differ.

mod compare;
mod parse;
mod run;
pub mod shape;
mod view;
mod words;

pub use compare::{compare_file, major_version, row_of};
pub use parse::parse;
pub use run::run;
pub use view::{View, render};
pub use words::split;

use sterna_protocol::Proto;

/// What some clients say to a server.
#[derive(Debug)]
pub struct Script {
    /// A sentence that says what it shows.
    pub name: String,
    /// The protocols it is run in.
    pub protos: Vec<Proto>,
    /// Words of the server's command line; a server of its own unless empty.
    pub server_args: Vec<String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Debug)]
pub struct Step {
    /// Its number in the file.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// Whom it is about.
    pub client: String,
    /// What happens.
    pub action: Action,
    /// What of the replies is compared, applied in this order.
    pub views: Vec<View>,
    /// The name of the difference that is meant here.
    pub differs: Option<String>,
    /// The first major version of the reference to compare with.
    pub since: u32,
    /// What later steps call the reply.
    pub name: Option<String>,
}

/// What happens in a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// A request, and so many replies.
    Request(Vec<Vec<u8>>, usize),
    /// A request, not answered before something else happens.
    Block(Vec<Vec<u8>>),
    /// A request, repeated until the reply is this, its line end left out.
    Until(Vec<Vec<u8>>, Vec<u8>),
    /// Bytes are sent.
    Bytes(Vec<u8>),
    /// So many replies or pushes come.
    Read(usize),
    /// The server closes the connection.
    Closed,
    /// The client closes it.
    Leave,
    /// The client connects and says nothing.
    Raw,
    /// Nothing more has come for the client.
    Quiet,
}
