//! Streams of events: a connection that began as a pipe goes on with the socket of a page.
//!
//! 1. The gateway has logged in and subscribed through the pipe, in RESP2, and has read the confirmations.
//! 2. It hands over the socket (with its TLS session), what is to be sent first, and what it has read beyond the confirmations.
//! 3. The shard takes what the pipe and the queue still hold of the connection, which are messages, and frames them anew.
//! 4. The socket takes the pipe's place. From here on messages are framed as events.
//! 5. Channels that remember, and streams, are read from where the page was (`follow.rs`), and subscribed to again after that.
//!
//! So nothing that was published since the subscription was confirmed is missing, and nothing comes twice. Such a connection
//! is never read for requests: what a page sends is passed over, and its end is the connection's end.

use std::sync::Arc;

use sterna_protocol::decode::decode;
use sterna_protocol::event;

use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::connection::dependence::Dependence;
use crate::mailbox::HandOver;
use crate::shard::Shard;

impl Shard {
    /// Goes on with another socket. One whose connection is gone, or about to go, is closed.
    pub(super) fn take_over(&mut self, handed: HandOver) {
        self.end_run();
        let HandOver { pipe, transport, head, unread, streams, since } = handed;
        let (place, _) = pipe.open_mail();
        let now_ms = self.clock.now_ms;
        let Some(connection) = place.and_then(|who| self.connection_of(who)) else {
            return self.server.count_closed(&transport);
        };
        if connection.state().closes() {
            return self.server.count_closed(&transport);
        }
        let me = connection.me;
        let mut frames = unread;
        frames.extend(pipe.take_output());
        frames.extend(connection.output.take());
        connection.transport = transport;
        connection.is_event_stream = true;
        (connection.unread, connection.partial) = (None, None);
        connection.client.set_mark(mark::EVENTS, true);
        connection.beat_ms = now_ms;
        connection.write_blocked = false;
        connection.lags = false;
        // What it was answered before has been read; nothing else is.
        connection.depends_on = Dependence::default();
        connection
            .client
            .fd
            .store(connection.transport.fd().unwrap_or(-1), std::sync::atomic::Ordering::Relaxed);
        connection.client.names.lock().lib_name = "http-events".into();
        if self.connections[me.slot].transport.register(self.poll.registry(), me).is_err() {
            return self.close(me.slot, CloseReason::SocketError);
        }
        let mut bytes = head;
        self.begin_to_follow(me.slot, streams, since.as_ref(), &mut bytes);
        let config = Arc::clone(&self.config);
        reframe(&frames, &mut bytes, &|channel| config.retention_of(channel).is_none());
        let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
        self.flusher.push(&mut self.connections[me.slot], range);
        // Its user's rules may have changed since the gateway asked.
        self.check_held(me.slot);
        // It may have sent something already, or its end, before anybody watched.
        self.make_ready(me.slot);
    }

    /// Sends a comment to a stream of events that has been silent.
    pub(super) fn keep_stream_open(&mut self, slot: usize) {
        let now_ms = self.clock.now_ms;
        let connection = &mut self.connections[slot];
        if connection.net_out_bytes != connection.beat_bytes {
            (connection.beat_bytes, connection.beat_ms) = (connection.net_out_bytes, now_ms);
        }
        let silent_ms = now_ms.saturating_sub(connection.beat_ms);
        if silent_ms >= u64::from(self.config.http_heartbeat) * 1000 && connection.output.is_empty() {
            connection.beat_ms = now_ms;
            let beat = self
                .replies_to_others
                .append(event::HEARTBEAT.len(), |buf| buf.extend_from_slice(event::HEARTBEAT));
            self.flusher.push(&mut self.connections[slot], beat);
        }
    }
}

/// Appends the messages among `frames`, which are RESP2, as events: those of channels that are `live`. What others have been sent
/// was before the position that the page was told.
fn reframe(mut frames: &[u8], out: &mut Vec<u8>, live: &dyn Fn(&[u8]) -> bool) {
    while let Ok(Some((value, len))) = decode(frames) {
        frames = &frames[len..];
        let texts: Vec<&[u8]> = value
            .as_slice()
            .unwrap_or_default()
            .iter()
            .map(|part| part.as_bytes().unwrap_or_default())
            .collect();
        match texts[..] {
            [b"message", channel, payload] if live(channel) => event::message(out, None, channel, payload),
            [b"pmessage", pattern, channel, payload] => event::message(out, Some(pattern), channel, payload),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reframe;

    #[test]
    fn messages_become_events_and_confirmations_nothing() {
        let frames =
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n\
            *3\r\n$7\r\nmessage\r\n$4\r\nkept\r\n$1\r\nm\r\n*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1\r\nn\r\n";
        let mut out = Vec::new();
        reframe(frames, &mut out, &|channel| channel != b"kept");
        let expected = "data: {\"channel\":\"c\",\"message\":\"m\"}\n\n\
            data: {\"channel\":\"c\",\"message\":\"n\",\"pattern\":\"*\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
