//! Requests to the engine and their replies: a connection for each HTTP request.

use hyper::StatusCode;
use sterna_protocol::encode;
use sterna_server::InnerClient;

use crate::accept::Caller;
use crate::budget::Held;
use crate::limits::REPLY_BYTES_MAX;
use crate::login::Credentials;
use crate::replies::Scanner;
use crate::response::Refusal;

/// A connection whose user is known.
pub(crate) struct Session {
    pub(crate) client: InnerClient,
    /// What the body of the request counts for.
    pub(crate) held: Held,
}

/// Replies, one behind the other.
pub(crate) struct Replies {
    bytes: Vec<u8>,
    scanner: Scanner,
    held: Held,
}

/// The connection was closed before all replies had come: CLIENT KILL, a limit, the end of the server.
fn closed() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The request was ended by the server")
}

/// Too many bytes are held by all requests together.
pub(crate) fn no_room() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The HTTP requests under way hold too many bytes")
}

impl Session {
    /// Logs in, or finds that nobody needs to. Refusals are the engine's.
    pub(crate) async fn open(caller: &Caller, credentials: Option<&Credentials>) -> Result<Session, Refusal> {
        let engine = &caller.shared.engine;
        let mut session = Session {
            client: engine.client(caller.peer, caller.local),
            held: Held::new(&caller.shared.budget),
        };
        let mut request = Vec::new();
        match credentials {
            Some(login) => encode::request(&mut request, [b"AUTH", &login.user[..], &login.password]),
            // It is answered to whoever is let in, and to nobody else.
            None => encode::request(&mut request, ["PING"]),
        }
        let replies = session.run(&request, 1).await?;
        match replies.get(0) {
            // A user that may not do this has been let in.
            [b'-', error @ ..] if !error.starts_with(b"NOPERM") => {
                Err(Refusal::of_reply(error.trim_ascii_end()))
            }
            _ => Ok(session),
        }
    }

    /// Sends requests, and waits for as many replies.
    pub(crate) async fn run(&mut self, requests: &[u8], count: usize) -> Result<Replies, Refusal> {
        self.client.send(requests);
        let rest = Held::new(self.held.budget());
        let held = std::mem::replace(&mut self.held, rest);
        self.go_on(Replies { bytes: Vec::new(), scanner: Scanner::default(), held }, count).await
    }

    /// Waits until there are `count` replies.
    async fn go_on(&mut self, mut replies: Replies, count: usize) -> Result<Replies, Refusal> {
        let counted = replies.held.bytes();
        while replies.scanner.found().len() < count {
            if !self.client.receive(&mut replies.bytes).await {
                // A refusal may be the last that is said.
                return replies.refusal().map_or_else(|| Err(closed()), Err);
            }
            replies.scanner.scan(&replies.bytes).map_err(|_| closed())?;
            if replies.bytes.len() > REPLY_BYTES_MAX {
                return Err(Refusal::bad("ERR The reply is too long for HTTP"));
            }
            if !replies.held.set(counted + replies.bytes.capacity()) {
                return Err(no_room());
            }
        }
        Ok(replies)
    }

    /// As [`Session::run`] for one request with so many confirmations, or one error.
    pub(crate) async fn subscribe(&mut self, request: &[u8], names: usize) -> Result<Replies, Refusal> {
        let first = self.run(request, 1).await?;
        match first.refusal() {
            Some(refusal) => Err(refusal),
            None if first.len() >= names => Ok(first),
            None => self.go_on(first, names).await,
        }
    }

    /// Runs one command.
    pub(crate) async fn command(&mut self, args: &[&[u8]]) -> Result<Replies, Refusal> {
        let mut request = Vec::new();
        encode::request(&mut request, args);
        let replies = self.run(&request, 1).await?;
        match replies.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(replies),
        }
    }
}

impl Replies {
    /// The reply with this number, from 0; empty if there is none.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        self.scanner.found().get(index).map_or(&[], |&(from, to)| &self.bytes[from..to])
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.scanner.found().len()
    }

    /// What they count for.
    pub(crate) fn into_held(self) -> Held {
        self.held
    }

    /// The last reply, if it is an error.
    fn refusal(&self) -> Option<Refusal> {
        match self.get(self.len().checked_sub(1)?) {
            [b'-', error @ ..] => Some(Refusal::of_reply(error.trim_ascii_end())),
            _ => None,
        }
    }
}
