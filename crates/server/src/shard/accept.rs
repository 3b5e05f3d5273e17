//! Accepting: one shard owns the listeners and gives each new connection to the shard that has the fewest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};

use crate::connection::Connection;
use crate::connection::client::{Address, Client};
use crate::connection::state::ConnectionRef;
use crate::connection::transport::{Socket, Transport};
use crate::log_limit::Cause;
use crate::mailbox::{Mail, Vouched};
use crate::net::{Listener, Relisten};
use crate::shard::{Shard, WAKER};

/// Time spent in one turn on connections that wait at a listener.
const ACCEPT_TIME_MAX: Duration = Duration::from_micros(500);

/// The listeners of the accepting shard; the other shards have none.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Each with its token, which is its own as long as it is there.
    all: Vec<(Token, Listener)>,
    /// How many tokens have been given: they count down from the waker's.
    tokens: usize,
}

impl Listeners {
    pub(crate) fn new(listeners: Vec<Listener>) -> Listeners {
        let mut new = Listeners::default();
        for listener in listeners {
            let token = new.next_token();
            new.all.push((token, listener));
        }
        new
    }

    fn next_token(&mut self) -> Token {
        self.tokens += 1;
        Token(WAKER.0 - self.tokens)
    }

    /// Whether it is the token of a listener, which may be gone.
    #[inline]
    pub(crate) fn has(&self, token: Token) -> bool {
        (WAKER.0 - self.tokens..WAKER.0).contains(&token.0)
    }

    fn get(&self, token: Token) -> Option<&Listener> {
        self.all.iter().find(|(other, _)| *other == token).map(|(_, listener)| listener)
    }

    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (token, listener) in &mut self.all {
            listener.source().register(registry, *token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Listens at other TCP addresses from now on. After an error nothing has changed: the new listeners are watched before
    /// the first old one goes, and one that stays is left alone.
    fn change(&mut self, change: Relisten, registry: &Registry) -> io::Result<()> {
        let mut opened = Vec::new();
        for mut listener in change.opened {
            let token = self.next_token();
            // What was opened before goes with the list, and is closed; that takes it out of the reactor.
            listener.source().register(registry, token, Interest::READABLE)?;
            opened.push((token, listener));
        }
        let stays = |listener: &Listener| match listener {
            Listener::Tcp { socket, tls } => {
                socket.local_addr().is_ok_and(|address| change.addresses.contains(&(address, *tls)))
            }
            Listener::Unix { .. } => true,
        };
        self.all.retain(|(_, listener)| stays(listener));
        self.all.extend(opened);
        Ok(())
    }

    /// The TCP addresses, and whether they are for TLS.
    fn addresses(&self) -> Vec<(std::net::SocketAddr, bool)> {
        crate::net::addresses_of(self.all.iter().map(|(_, listener)| listener))
    }

    /// Stops listening; a Unix socket's file goes too.
    pub(super) fn close(&mut self, registry: &Registry) {
        for (_, mut listener) in self.all.drain(..) {
            // Closing the descriptor takes it out of the reactor as well.
            let _ = listener.source().deregister(registry);
            if let Listener::Unix { path, .. } = &listener {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Shard {
    /// Listens at other TCP addresses from now on.
    pub(super) fn relisten(&mut self, change: Relisten) {
        if let Err(error) = self.listeners.change(change, self.poll.registry()) {
            tracing::error!(%error, "the new addresses can't be listened on; the old ones still are");
            *self.server.listening.lock() = self.listeners.addresses();
        }
    }

    /// Takes in what waits at the listener.
    ///
    /// After a failure, which is likely to be that of the next call too, the listener is left alone until the next tick:
    /// neither the processor nor the log is to be kept busy by it.
    pub(super) fn accept(&mut self, token: Token) {
        if self.timers.backs_off(token) {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < ACCEPT_TIME_MAX {
            let Some(listener) = self.listeners.get(token) else { return };
            match listener.accept() {
                Ok((socket, address, tls)) => self.place(socket, address, tls),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted || is_of_one_connection(&e) => {}
                Err(e) => {
                    if self.server.log_limits.admits(Cause::Accept, self.clock.now_ms) {
                        tracing::warn!(error = %e, "cannot accept a connection");
                    }
                    return self.timers.accept_again(token, true);
                }
            }
        }
        // More may wait, and their edge has been used up.
        self.accepting.push(token);
    }

    /// Goes on at the listeners where more may wait.
    pub(super) fn accept_on(&mut self) {
        for token in std::mem::take(&mut self.accepting) {
            self.accept(token);
        }
    }

    /// Gives a connection to the shard with the fewest. One too many is told so here and now: while it waited for
    /// another shard it would hold a descriptor that the server may need itself.
    fn place(&mut self, socket: Socket, address: Address, tls: bool) {
        if !self.server.count_connected() {
            if self.server.log_limits.admits(Cause::MaxClients, self.clock.now_ms) {
                tracing::warn!(addr = %address.peer(), "turned away: max number of clients reached");
            }
            if !tls {
                refuse(Transport::Plain(socket), "ERR max number of clients reached");
            }
            return;
        }
        let shard = self.server.least_loaded_shard();
        self.server.shards[shard].connections.fetch_add(1, Relaxed);
        if shard == self.index {
            self.adopt(socket, address, tls, None);
        } else {
            self.post(shard, Mail::Accepted { socket, address, tls, vouched: None });
        }
    }

    /// Takes a connection in as its own, or refuses it. It is counted already.
    pub(super) fn adopt(&mut self, socket: Socket, address: Address, tls: bool, vouched: Option<Vouched>) {
        let server = Arc::clone(&self.server);
        if let Socket::Tcp(stream) = &socket {
            crate::net::tune(stream, self.config.tcp_keepalive);
        }
        let transport = if tls {
            match server.tls_session() {
                Some(session) => Transport::tls(socket, session),
                None => return self.drop_refused(&Transport::Plain(socket)),
            }
        } else {
            Transport::Plain(socket)
        };
        // An app that acts as the default user is no better than a client that does.
        let is_default = match &vouched {
            Some(Vouched::Guest(_) | Vouched::Session(_)) => false,
            Some(Vouched::User(name)) => &**name == "default",
            None => true,
        };
        if let Some(text) = self.refusal(&address).filter(|_| is_default) {
            server.rejected_connections.fetch_add(1, Relaxed);
            self.drop_refused(&transport);
            return refuse(transport, text);
        }
        server.accepted_connections.fetch_add(1, Relaxed);
        let id = server.next_client_id();
        let fd = transport.fd().unwrap_or(-1);
        let sum = Arc::clone(&self.handle().client_bytes);
        let client = Arc::new(Client::new(id, self.index, fd, address, self.clock.now_ms, sum));
        let slot = self.connections.next_slot();
        let user = if vouched.is_some() { None } else { server.user_without_password() };
        let me = ConnectionRef { slot, id };
        self.connections.insert(Connection::new(me, transport, Arc::clone(&client), user, self.clock.now_ms));
        client.slot.store(slot as u32, Relaxed);
        self.handle().clients.lock().insert(id, client);
        let is_known = vouched.is_none_or(|vouched| self.set_vouched(slot, vouched));
        let registered = self.connections[slot].transport.register(self.poll.registry(), me);
        if let Err(e) = registered {
            tracing::warn!(error = %e, "cannot watch a connection");
            self.close(slot, crate::connection::CloseReason::SocketError);
        } else if !is_known {
            self.close(slot, crate::connection::CloseReason::UserRemoved);
        }
    }

    /// Has the connection be who somebody vouches for; false: there is no such user.
    fn set_vouched(&mut self, slot: usize, vouched: Vouched) -> bool {
        let vouched = match vouched {
            Vouched::Session(role) => {
                self.take_role(slot, *role);
                return true;
            }
            vouched => vouched,
        };
        let connection = &mut self.connections[slot];
        let user = match vouched {
            Vouched::Guest(guest) => {
                connection.guest_until_ms = Some(guest.ends_ms);
                Some(guest.user)
            }
            Vouched::User(name) => self.server.enabled_user(name.as_bytes()),
            Vouched::Session(role) => Some(role.user),
        };
        let is_known = user.is_some();
        connection.set_user(user);
        is_known
    }

    fn drop_refused(&self, transport: &Transport) {
        self.handle().connections.fetch_sub(1, Relaxed);
        self.server.count_closed(transport);
    }

    /// `protected-mode`: without a password, only this machine may connect.
    ///
    /// Source: the first words are Redis's; clients show the text to people.
    fn refusal(&self, address: &Address) -> Option<&'static str> {
        let open =
            self.config.protected_mode && !address.is_local() && self.server.default_user_has_no_password();
        open.then_some(
            "DENIED Sterna is running in protected mode because protected mode is enabled and no password is set for \
             the default user. In this mode connections are only accepted from the loopback interface. Set a password \
             (requirepass), or turn it off with CONFIG SET protected-mode no from this machine or with \
             --protected-mode no, and make sure that only those you trust can reach the port.",
        )
    }
}

/// Tells why, and closes. The socket's buffer is empty, so the text fits.
fn refuse(mut transport: Transport, text: &str) {
    if !transport.is_tls() {
        let line = format!("-{text}\r\n");
        let _ = transport.write(&[io::IoSlice::new(line.as_bytes())]);
    }
}

/// Errors of accept(2) that concern the connection that was to be accepted, and not the listener.
fn is_of_one_connection(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use mio::net::TcpListener;
    use mio::{Events, Poll};

    use super::*;

    fn listener() -> (Listener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (Listener::Tcp { socket, tls: false }, address)
    }

    /// The token of whoever is told of a connection to `address`.
    fn told_of(poll: &mut Poll, address: SocketAddr) -> Option<Token> {
        let _client = TcpStream::connect(address).unwrap();
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        events.iter().next().map(|event| event.token())
    }

    #[test]
    fn other_addresses_take_the_place_of_the_old_ones_and_those_that_stay_are_left_alone() {
        let mut poll = Poll::new().unwrap();
        let ((stays, stays_at), (goes, goes_at), (comes, comes_at)) = (listener(), listener(), listener());
        let mut listeners = Listeners::new(vec![goes, stays]);
        listeners.register(poll.registry()).unwrap();
        let kept = listeners.all[1].0;
        let addresses = vec![(stays_at, false), (comes_at, false)];
        listeners
            .change(Relisten { addresses: addresses.clone(), opened: vec![comes] }, poll.registry())
            .unwrap();
        assert_eq!(listeners.addresses(), addresses);
        assert_eq!(told_of(&mut poll, stays_at), Some(kept));
        assert_eq!(told_of(&mut poll, comes_at), Some(listeners.all[1].0));
        assert!(TcpStream::connect(goes_at).is_err());
    }

    #[test]
    fn addresses_of_which_one_cannot_be_watched_change_nothing() {
        let mut poll = Poll::new().unwrap();
        let ((stays, stays_at), (comes, comes_at), (mut fails, fails_at)) =
            (listener(), listener(), listener());
        let mut listeners = Listeners::new(vec![stays]);
        listeners.register(poll.registry()).unwrap();
        // It is watched already, so it can't be watched again.
        fails.source().register(poll.registry(), Token(7), Interest::READABLE).unwrap();
        let change =
            Relisten { addresses: vec![(comes_at, false), (fails_at, false)], opened: vec![comes, fails] };
        assert!(listeners.change(change, poll.registry()).is_err());
        assert_eq!(listeners.addresses(), [(stays_at, false)]);
        assert_eq!(told_of(&mut poll, stays_at), Some(listeners.all[0].0));
        assert!(TcpStream::connect(comes_at).is_err(), "what was opened is closed");
    }
}
