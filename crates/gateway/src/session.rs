//! Requests to the engine and their replies: a connection for each HTTP request.

use hyper::StatusCode;
use sterna_protocol::encode;
use sterna_server::InnerClient;
use tokio::time::timeout;

use crate::accept::Caller;
use crate::budget::Held;
use crate::limits::{LOGIN_TIME_MAX, REPLY_BYTES_MAX};
use crate::login::Login;
use crate::replies::Scanner;
use crate::response::Refusal;
use crate::token::Bearer;

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
pub(crate) fn closed() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The request was ended by the server")
}

/// Too many bytes are held by all requests together.
pub(crate) fn no_room() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The HTTP requests under way hold too many bytes")
}

/// Whether a frame confirms a subscription, and is no message.
fn is_confirmation(frame: &[u8]) -> bool {
    // As RESP2 has them: the kind is the first of three elements.
    frame.starts_with(b"*3\r\n$9\r\nsubscribe\r\n") || frame.starts_with(b"*3\r\n$10\r\npsubscribe\r\n")
}

impl Session {
    /// Logs in, or finds that nobody needs to. Refusals are the engine's.
    pub(crate) async fn open(caller: &Caller, login: Option<&Login>) -> Result<Session, Refusal> {
        let engine = &caller.shared.engine;
        let credentials = match login {
            Some(Login::Bearer(Bearer { name, rules, ends_ms })) => {
                let client = engine.guest((caller.peer, caller.local), name, rules, *ends_ms);
                let client = client.ok_or_else(|| Refusal::bad("ERR The token's names can't be rules"))?;
                return Ok(Session { client, held: Held::new(&caller.shared.budget) });
            }
            Some(Login::Password(credentials)) => Some(credentials),
            None => None,
        };
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
        // Its body is not read yet, so its end would not be noticed.
        let Ok(replies) = timeout(LOGIN_TIME_MAX, session.run(&request, 1)).await else {
            let text = "ERR The login has waited for too long: try again later";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let replies = replies?;
        match replies.get(0) {
            // A user that may not do this has been let in.
            [b'-', error @ ..] if !error.starts_with(b"NOPERM") => {
                Err(Refusal::of_reply(error.trim_ascii_end()))
            }
            _ => Ok(session),
        }
    }

    /// Connects as a user for whom an app's key or signature vouches.
    pub(crate) async fn open_as(caller: &Caller, user: &str) -> Result<Session, Refusal> {
        let engine = &caller.shared.engine;
        let mut session = Session {
            client: engine.client_as(caller.peer, caller.local, user),
            held: Held::new(&caller.shared.budget),
        };
        let mut request = Vec::new();
        encode::request(&mut request, ["PING"]);
        let refused = || Refusal::new(StatusCode::FORBIDDEN, "NOPERM The app's user may not connect");
        let replies = session.run(&request, 1).await.map_err(|refusal| match refusal.status {
            // It was closed before it was answered.
            StatusCode::SERVICE_UNAVAILABLE if !engine.is_stopping() => refused(),
            _ => refusal,
        })?;
        match replies.get(0) {
            [b'-', error @ ..] if error.starts_with(b"DENIED") || error.starts_with(b"NOAUTH") => {
                Err(Refusal::of_reply(error.trim_ascii_end()))
            }
            // One that may not do this is connected, and so is one that must wait until all is loaded.
            _ => Ok(session),
        }
    }

    /// Sends requests, and waits for as many replies.
    pub(crate) async fn run(&mut self, requests: &[u8], count: usize) -> Result<Replies, Refusal> {
        self.client.send(requests);
        let rest = Held::new(self.held.budget());
        let held = std::mem::replace(&mut self.held, rest);
        let mut replies = Replies { bytes: Vec::new(), scanner: Scanner::default(), held };
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

    /// Subscribes to so many names by one request. Returns all that has come: the confirmations, and among and behind them
    /// messages, the last of which may be cut.
    pub(crate) async fn subscribe(&mut self, request: &[u8], names: usize) -> Result<Vec<u8>, Refusal> {
        self.client.send(request);
        let (mut bytes, mut scanner) = (Vec::new(), Scanner::default());
        let (mut seen, mut confirmed) = (0, 0);
        while confirmed < names {
            if !self.client.receive(&mut bytes).await || scanner.scan(&bytes).is_err() {
                return Err(closed());
            }
            for &(from, to) in &scanner.found()[seen..] {
                match &bytes[from..to] {
                    [b'-', error @ ..] => return Err(Refusal::of_reply(error.trim_ascii_end())),
                    frame if is_confirmation(frame) => confirmed += 1,
                    _ => {}
                }
            }
            seen = scanner.found().len();
            if bytes.len() > REPLY_BYTES_MAX {
                return Err(Refusal::bad("ERR The reply is too long for HTTP"));
            }
        }
        Ok(bytes)
    }

    /// Runs one command.
    pub(crate) async fn command(&mut self, args: &[&[u8]]) -> Result<Replies, Refusal> {
        let mut request = Vec::new();
        encode::request(&mut request, args);
        self.run_one(&request).await
    }

    /// Runs one command that is encoded already.
    pub(crate) async fn run_one(&mut self, request: &[u8]) -> Result<Replies, Refusal> {
        let replies = self.run(request, 1).await?;
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

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What they count for; it does so no longer.
    pub(crate) fn take_held(&mut self) -> Held {
        let nothing = Held::new(self.held.budget());
        std::mem::replace(&mut self.held, nothing)
    }

    /// The last reply, if it is an error.
    fn refusal(&self) -> Option<Refusal> {
        match self.get(self.len().checked_sub(1)?) {
            [b'-', error @ ..] => Some(Refusal::of_reply(error.trim_ascii_end())),
            _ => None,
        }
    }
}
