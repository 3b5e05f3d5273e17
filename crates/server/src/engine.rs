//! The engine behind the sockets, for crates that serve other protocols: clients inside the process.
//!
//! An [`InnerClient`] is a connection of a shard whose socket is a pipe (`connection/pipe.rs`): it sends requests of the
//! Redis protocol and reads replies, logs in by AUTH, stands in CLIENT LIST with the address it was given, and can be killed.
//! Nothing about its requests is known here but whether they are answered once, which who asks by HTTP depends on.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};
use sterna_command::ReplyShape;
use sterna_protocol::{OwnedArgs, Proto};

use crate::acl::{FirstChannels, User};
use crate::command::table::table;
use crate::config::{Config, PusherApp};
use crate::connection::CloseReason;
use crate::connection::client::Address;
use crate::connection::pipe::{Pipe, PipeEnd};
use crate::connection::transport::{Socket, Transport};
use crate::inlet::Inlet;
use crate::mailbox::{GUEST_PREFIX, Guest, HandOver, Mail, PageHandOver, Role, Vouched};
use crate::metrics::{self, MetricsFormat};
use crate::net::HttpChange;
use crate::nodes::{Asker, Lead, SessionId, shard_of};
use crate::overview::Observer;
use crate::position::Since;
use crate::server::Server;

/// A handle on a running server.
#[derive(Clone)]
pub struct Engine(Arc<Server>);

/// A connection without a socket. It is closed when this is dropped.
pub struct InnerClient {
    pipe: Arc<Pipe>,
    server: Arc<Server>,
    shard: usize,
    /// Its connection goes on without it.
    is_handed_over: bool,
}

/// What a client goes on with as a stream of events.
#[derive(Debug)]
pub struct EventStream {
    /// What is sent first.
    pub head: Vec<u8>,
    /// What the client has received behind the confirmations of its subscriptions.
    pub unread: Vec<u8>,
    /// Keys of streams to follow, which its user may read; with the channels that remember at most
    /// [`NAMES_WITH_POSITION_MAX`](crate::NAMES_WITH_POSITION_MAX).
    pub streams: Vec<Vec<u8>>,
    /// Since when it wants to know; `None`: from now on.
    pub since: Option<Since>,
}

/// One of the `maxclients` connections, for a socket that no shard knows; free again when it is dropped.
pub struct Seat(Option<Arc<Server>>);

impl Engine {
    pub(crate) fn new(server: Arc<Server>) -> Engine {
        Engine(server)
    }

    /// The server behind the way in.
    pub fn of(inlet: &Inlet) -> Engine {
        Engine(Arc::clone(&inlet.server))
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.0.config()
    }

    /// Has `change` called when HTTP is to be served elsewhere; once, by whoever serves it.
    pub fn on_http_change(&self, change: impl Fn(HttpChange) + Send + Sync + 'static) {
        // The first one serves it.
        let _ = self.0.http.set(Box::new(change));
    }

    /// TLS for a new connection.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.tls()
    }

    /// Whether the server is still replaying its journal.
    pub fn is_loading(&self) -> bool {
        self.0.journaling.is_loading()
    }

    /// Whether keys are here: no other node leads them.
    pub fn has_keys(&self) -> bool {
        let is_each_node_s = self.0.config().cluster_leader.is_empty();
        is_each_node_s || self.0.nodes.get().is_none_or(|nodes| nodes.lead(0) == Lead::Me)
    }

    /// Whether the server is on its way to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// The server in figures, for Prometheus. May wait for as long as a script has keys to itself.
    pub fn metrics(&self, format: MetricsFormat) -> String {
        metrics::text(&self.0, format)
    }

    /// Whoever looks at the server in figures, now and then.
    pub fn observer(&self) -> Observer {
        Observer::new(Arc::clone(&self.0))
    }

    /// Counts a socket as a client; `None`: there are `maxclients` already.
    pub fn take_seat(&self) -> Option<Seat> {
        self.0.count_connected().then(|| Seat(Some(Arc::clone(&self.0))))
    }

    /// A client that is at `peer` and has reached `local`.
    pub fn client(&self, peer: SocketAddr, local: SocketAddr) -> InnerClient {
        self.vouched_client(peer, local, None)
    }

    /// The same as a user who stands in no list: `token:` and `name` for those who look, and rules of ACL. It is closed when its time is over.
    /// `None`: they are no rules.
    pub fn guest(
        &self,
        (peer, local): (SocketAddr, SocketAddr),
        name: &str,
        rules: &[String],
        ends_ms: u64,
    ) -> Option<InnerClient> {
        let name = [GUEST_PREFIX, name.as_bytes()].concat();
        let user = User::with_rules(table(), &name, rules, FirstChannels::None);
        let guest = Box::new(Guest { user: Arc::new(user.ok()?), ends_ms });
        Some(self.vouched_client(peer, local, Some(Vouched::Guest(guest))))
    }

    /// The same as the user of this name, for whom the caller vouches. Without such a user it is closed at once.
    pub fn client_as(&self, peer: SocketAddr, local: SocketAddr, user: &str) -> InnerClient {
        self.vouched_client(peer, local, Some(Vouched::User(user.into())))
    }

    /// A client of another node, which vouches for it. `None`: what it is to be makes no sense.
    pub fn session(&self, asker: &Asker) -> Option<InnerClient> {
        let role = role_of(&self.0, asker)?;
        Some(self.vouched_client(asker.peer, asker.local, Some(Vouched::Session(Box::new(role)))))
    }

    /// Tells every shard that who leads the keys may be another node, or take more.
    pub fn tell_lead(&self) {
        self.0.shards.iter().for_each(|shard| shard.mailbox.push(Mail::Lead));
    }

    /// Hands the shards' clients what the node that leads has said to their sessions, in [`records`](crate::records).
    pub fn tell_passed(&self, session: SessionId, records: Vec<u8>) {
        if let Some(shard) = self.0.shards.get(shard_of(session)) {
            shard.mailbox.push(Mail::Passed(records));
        }
    }

    fn vouched_client(&self, peer: SocketAddr, local: SocketAddr, vouched: Option<Vouched>) -> InnerClient {
        let server = Arc::clone(&self.0);
        let shard = server.least_loaded_shard();
        server.shards[shard].connections.fetch_add(1, Relaxed);
        let pipe = Arc::new(Pipe::default());
        let socket = Socket::Pipe(PipeEnd(Arc::clone(&pipe)));
        let address = Address::Tcp { peer, local };
        server.shards[shard].mailbox.push(Mail::Accepted { socket, address, tls: false, vouched });
        InnerClient { pipe, server, shard, is_handed_over: false }
    }

    /// The members of a presence channel, by its name outside of its app.
    pub fn presence(&self, channel: &[u8]) -> Vec<String> {
        self.0.pages.rooms.members(channel)
    }

    /// How many they are.
    pub fn presence_count(&self, channel: &[u8]) -> usize {
        self.0.pages.rooms.lock(channel).count(channel)
    }

    /// Whether a cache channel has an event to send to who comes.
    pub fn has_cached(&self, channel: &[u8]) -> bool {
        self.0.pages.rooms.lock(channel).last(channel, crate::time::unix_ms()).is_some()
    }

    /// Closes the pages of a user of an app.
    pub fn terminate(&self, app: &PusherApp, user: &str) {
        for (shard, who) in self.0.pages.users.of(&app.id, user) {
            self.0.shards[shard].mailbox.push(Mail::Close { who, reason: CloseReason::Killed, ack: None });
        }
    }

    /// Whether a request is answered by one reply, or by one error. The others subscribe, or switch replies off.
    pub fn is_answered_once(&self, args: &[&[u8]]) -> bool {
        let request = OwnedArgs::from_slices(args);
        let resolved = self.0.renames.resolve(table(), request.args());
        // What is no request is answered by an error.
        resolved.map_or(true, |row| {
            let unusual = [ReplyShape::Push, ReplyShape::Nothing, ReplyShape::Lines];
            !row.spec.reply.iter().any(|shape| unusual.contains(shape))
        })
    }
}

/// Who a client of another node is here. `None`: its rules are none, or it has selected a database that is not here.
fn role_of(server: &Server, asker: &Asker) -> Option<Role> {
    if usize::from(asker.db) >= server.partitions.databases() {
        return None;
    }
    let user = User::with_rules(table(), &asker.user, &asker.rules, FirstChannels::None).ok()?;
    Some(Role {
        user: Arc::new(user),
        db: asker.db,
        proto: if asker.is_resp3 { Proto::Resp3 } else { Proto::Resp2 },
        is_no_touch: asker.is_no_touch,
        name: String::from_utf8_lossy(&asker.name).into(),
        is_rights_only: asker.is_rights_only,
    })
}

impl InnerClient {
    /// A session acts for another user from now on, with other rights, or otherwise: nothing that is sent behind this is read before.
    /// False: it makes no sense.
    pub fn become_asker(&self, asker: &Asker) -> bool {
        let Some(role) = role_of(&self.server, asker) else { return false };
        self.pipe.hold();
        let mail = Mail::Role { pipe: Arc::clone(&self.pipe), role: Box::new(role) };
        self.server.shards[self.shard].mailbox.push(mail);
        true
    }

    /// How many bytes of its requests were executed, where its connection has ended because the rest is another node's to do.
    pub fn executed(&self) -> Option<u64> {
        self.pipe.executed()
    }

    /// CLIENT UNBLOCK of its command, if it waits.
    pub fn unblock(&self, with_error: bool) {
        if let Some(who) = self.pipe.place() {
            self.server.shards[self.shard].mailbox.push(Mail::Unblock { who, with_error });
        }
    }

    /// Sends no more, and reads what is answered yet: a connection that waits for others then ends, as with a socket.
    pub fn end(&self) {
        self.tell_if(self.pipe.end_input());
    }

    /// Sends bytes of requests. Who sends bounds how many are under way.
    pub fn send(&self, bytes: &[u8]) {
        self.tell_if(self.pipe.send(bytes));
    }

    /// Waits for output and moves it to the end of `into`; false: the connection is closed.
    pub async fn receive(&self, into: &mut Vec<u8>) -> bool {
        poll_fn(|context| self.poll_receive(context, into)).await
    }

    /// As [`InnerClient::receive`].
    pub fn poll_receive(&self, context: &Context<'_>, into: &mut Vec<u8>) -> Poll<bool> {
        let (poll, tells) = self.pipe.poll_output(context, into);
        self.tell_if(tells);
        poll
    }

    /// Goes on as a stream of events over `socket`, which is non-blocking and has `seat`: messages to what this client has
    /// subscribed to are sent there as events, behind `head`.
    pub fn hand_over(
        mut self,
        socket: std::net::TcpStream,
        tls: Option<ServerConnection>,
        seat: Seat,
        stream: EventStream,
    ) {
        let transport = self.transport(socket, tls);
        // The connection is counted from now on, in place of the seat.
        seat.leave();
        let EventStream { head, unread, streams, since } = stream;
        let handed = HandOver { pipe: Arc::clone(&self.pipe), transport, head, unread, streams, since };
        self.is_handed_over = true;
        self.server.shards[self.shard].mailbox.push(Mail::HandOver(Box::new(handed)));
    }

    /// Goes on as a page of `app` by Pusher's protocol, whose handshake `head` answers. `early`: what came behind it.
    pub fn become_page(
        mut self,
        socket: std::net::TcpStream,
        tls: Option<ServerConnection>,
        seat: Seat,
        app: Arc<PusherApp>,
        head: Vec<u8>,
        early: Vec<u8>,
    ) {
        let transport = self.transport(socket, tls);
        seat.leave();
        let handed = PageHandOver { pipe: Arc::clone(&self.pipe), transport, app, head, early };
        self.is_handed_over = true;
        self.server.shards[self.shard].mailbox.push(Mail::Page(Box::new(handed)));
    }

    fn transport(&self, socket: std::net::TcpStream, tls: Option<ServerConnection>) -> Transport {
        let socket = TcpStream::from_std(socket);
        crate::net::tune(&socket, self.server.config().tcp_keepalive);
        let socket = Socket::Tcp(Arc::new(socket));
        match tls {
            Some(session) => Transport::tls(socket, session),
            None => Transport::Plain(socket),
        }
    }

    fn tell_if(&self, tells: bool) {
        if tells {
            self.server.shards[self.shard].mailbox.push(Mail::Piped(Arc::clone(&self.pipe)));
        }
    }
}

impl Seat {
    /// Stays taken, by somebody who is counted otherwise.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for InnerClient {
    fn drop(&mut self) {
        if !self.is_handed_over {
            self.tell_if(self.pipe.leave());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(server) = &self.0 {
            server.connected.fetch_sub(1, Relaxed);
        }
    }
}
