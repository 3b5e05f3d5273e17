//! Messages of a subscription as server-sent events, in the words of Upstash: `data: message,channel,payload`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sterna_protocol::decode::{Value, decode};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::REPLY_BYTES_MAX;
use crate::replies::Scanner;
use crate::session::Session;

/// See the module. The subscription ends when this is dropped.
pub(crate) struct Events {
    session: Session,
    /// Events that have yet to be sent.
    ready: Vec<u8>,
    /// What has come and is not a whole frame yet.
    frames: Vec<u8>,
    scanner: Scanner,
    /// When a comment is due, and after how long a silence one is.
    heartbeat: Pin<Box<Sleep>>,
    silence_max: Duration,
}

impl Events {
    /// Goes on from what has come with the confirmation of the subscription, which is an event as well.
    pub(crate) fn new(session: Session, received: Vec<u8>, silence_max: Duration) -> Events {
        let heartbeat = Box::pin(sleep(silence_max));
        let mut events = Events {
            session,
            ready: Vec::new(),
            frames: received,
            scanner: Scanner::default(),
            heartbeat,
            silence_max,
        };
        // What has come has been read as frames before.
        events.read_frames();
        events
    }

    /// The next events, as many as have come; `None`: the subscription has ended.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.ready.is_empty() {
            match self.session.client.poll_receive(context, &mut self.frames) {
                Poll::Ready(true) if self.frames.len() <= REPLY_BYTES_MAX && self.read_frames() => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending if self.heartbeat.as_mut().poll(context).is_ready() => {
                    self.ready.extend_from_slice(b":\n\n");
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        self.heartbeat.as_mut().reset(Instant::now() + self.silence_max);
        Poll::Ready(Some(std::mem::take(&mut self.ready).into()))
    }

    /// Makes events of the frames that are whole. False: they are none.
    fn read_frames(&mut self) -> bool {
        if self.scanner.scan(&self.frames).is_err() {
            return false;
        }
        let Some(&(_, end)) = self.scanner.found().last() else { return true };
        for &(from, to) in self.scanner.found() {
            event(&self.frames[from..to], &mut self.ready);
        }
        // The rest is looked at again, as the beginning.
        self.frames.drain(..end);
        self.scanner = Scanner::default();
        self.scanner.scan(&self.frames).is_ok()
    }
}

/// Appends the event of one frame: its elements, with commas between them. Each line of a payload is a line of data.
fn event(frame: &[u8], out: &mut Vec<u8>) {
    let Ok(Some((value, _))) = decode(frame) else { return };
    let Some(elements) = value.as_slice() else { return };
    let mut text = Vec::new();
    for (i, element) in elements.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        match element {
            Value::Int(number) => text.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            other => text.extend_from_slice(other.as_bytes().unwrap_or_default()),
        }
    }
    // A stream of events is UTF-8.
    for line in String::from_utf8_lossy(&text).split(['\n', '\r']) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::event;

    #[test]
    fn a_frame_is_an_event_whose_payload_keeps_its_lines() {
        let cases: [(&[u8], &[u8]); 3] = [
            (b"*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n", b"data: subscribe,ch,1\n\n"),
            (b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$3\r\na\nb\r\n", b"data: message,ch,a\ndata: b\n\n"),
            (
                b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\n\xff\r\n",
                "data: message,ch,\u{fffd}\n\n".as_bytes(),
            ),
        ];
        for (frame, expected) in cases {
            let mut out = Vec::new();
            event(frame, &mut out);
            assert_eq!(out, expected);
        }
    }
}
