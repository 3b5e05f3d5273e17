//! Lingering close of a page, which is told why it is closed: its connection is gone, and its socket stays for a moment.
//!
//! A page that has fallen behind has a full socket, and the frame that says so goes out only when it reads on. Of what was queued
//! only the frame that has been begun is still sent. What the page sends meanwhile is read and passed over, since a socket that is
//! closed with something unread takes back what it has not delivered.
//!
//! Cost: a look at each ten times a second, for at most [`LINGER_TIME_MAX`].

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use sterna_protocol::websocket;

use crate::connection::page::Page;
use crate::connection::transport::Transport;
use crate::connection::{CloseReason, Connection};
use crate::shard::Shard;

/// How long a page may take.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Sockets that stay at a time, beside the connections that `maxclients` counts; the others are closed at once.
const LINGERING_MAX: usize = 64;

/// Bytes that are still sent to one.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are passed over at a time.
const PASSED_BYTES: usize = 4096;

/// What is left to be sent on a socket.
#[derive(Debug)]
pub(super) struct Lingering {
    transport: Transport,
    bytes: Vec<u8>,
    sent: usize,
    until: Instant,
}

/// The code that says why, and the reason in words. Source: Pusher's protocol; from 4100 on a page comes again after a second,
/// from 4200 on at once.
fn code_of(reason: CloseReason) -> Option<(u16, &'static str)> {
    match reason {
        CloseReason::ClientGone | CloseReason::SocketError | CloseReason::TlsError => None,
        CloseReason::OutputLimit | CloseReason::Evicted => Some((4100, "too far behind")),
        CloseReason::Shutdown => Some((4100, "server stops")),
        CloseReason::Killed | CloseReason::UserRemoved => Some((4009, "not authorized any longer")),
        CloseReason::Idle => Some((4201, "no pong in time")),
        _ => Some((4200, reason.name())),
    }
}

impl Shard {
    /// Says why the page's connection, which is gone, was closed, if it has not been told.
    pub(super) fn linger(&mut self, mut connection: Connection, page: &Page, reason: CloseReason) {
        let told = if page.is_told { None } else { page.code.or(code_of(reason)) };
        let Some((code, text)) = told else {
            // What it was told before goes out, unread bytes or not.
            connection.transport.close_notify();
            return self.pass_over(Lingering::of(connection.transport, Vec::new()));
        };
        let mut bytes = connection.output.rest_of_frame(websocket::frame_len);
        websocket::close(&mut bytes, code, text);
        if bytes.len() <= LINGER_BYTES_MAX {
            self.pass_over(Lingering::of(connection.transport, bytes));
        }
    }

    /// Sends what it can, and keeps what is not done.
    fn pass_over(&mut self, mut lingering: Lingering) {
        if !lingering.goes_on() || self.lingering.len() >= LINGERING_MAX {
            return;
        }
        // Its token is that of a slot which is free.
        if lingering.transport.deregister(self.poll.registry()).is_ok() {
            self.lingering.push(lingering);
        }
    }

    /// Called ten times a second.
    pub(super) fn go_on_lingering(&mut self) {
        let now = Instant::now();
        self.lingering.retain_mut(|lingering| lingering.until > now && lingering.goes_on());
    }
}

impl Lingering {
    fn of(transport: Transport, bytes: Vec<u8>) -> Lingering {
        Lingering { transport, bytes, sent: 0, until: Instant::now() + LINGER_TIME_MAX }
    }

    /// Sends on. False: there is nothing more to be done.
    fn goes_on(&mut self) -> bool {
        let is_later = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        while self.sent < self.bytes.len() {
            match self.transport.write(&[IoSlice::new(&self.bytes[self.sent..])]) {
                Ok(0) => return false,
                Ok(sent) => self.sent += sent,
                Err(error) if is_later(&error) => return true,
                Err(_) => return false,
            }
            if self.sent == self.bytes.len() {
                self.transport.close_notify();
            }
        }
        match self.transport.flush() {
            Err(error) if is_later(&error) => return true,
            Err(_) => return false,
            Ok(()) => self.transport.end_output(),
        }
        let mut passed = [0; PASSED_BYTES];
        match self.transport.read(&mut passed) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => is_later(&error),
        }
    }
}
