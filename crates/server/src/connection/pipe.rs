//! Pipes: the socket of a client that lives in this process.
//!
//! ```text
//!                       ┌── input ───►┐
//!   gateway: InnerClient              PipeEnd: a connection of a shard, like any other
//!                       └◄── output ──┘
//! ```
//!
//! A connection reads and writes its end as it would a socket: it sees `WouldBlock` where nothing is there or no room is
//! left, and is told when that has changed by a mail to its shard in place of an edge. So whatever holds for a client with a
//! socket (users, limits, waits, the journal) holds for one without.
//!
//! Invariants
//! - `output` holds at most [`OUTPUT_BYTES_MAX`] bytes; `input` what the client has sent and the shard not read, which the
//!   client bounds.
//! - While the client's session is to act for another user (`held`), nothing of the input is read.
//! - At most one mail is under way for a pipe (`is_mailed`), set before it is sent, cleared before the shard looks.
//! - Once an end is gone, nothing more is written to it; what it wrote before can still be read.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::connection::state::ConnectionRef;
use crate::lock::{Level, Mutex};

/// Reply bytes that wait for the client. As much as a socket's buffer holds.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Both directions. See the module.
#[derive(Debug, Default)]
pub(crate) struct Pipe(Mutex<Ends, { Level::Pipe as u8 }>);

#[derive(Debug, Default)]
struct Ends {
    input: Vec<u8>,
    /// What of `input` the connection has read.
    read: usize,
    output: Vec<u8>,
    /// The connection has found no room for its output.
    is_full: bool,
    /// The client is gone.
    client_gone: bool,
    /// The client sends no more, and reads what is answered yet.
    input_ended: bool,
    /// The connection is closed.
    connection_gone: bool,
    is_mailed: bool,
    /// So many changes of who the client is are in the shard's mail: no input is read before they are known.
    held: usize,
    /// Who waits for output.
    waker: Option<Waker>,
    /// The connection, once its shard has taken it in.
    place: Option<ConnectionRef>,
    /// Bytes of input that the connection has executed; the rest it leaves to another node.
    executed: Option<u64>,
}

/// The connection's end; when it goes, the client sees the end of the output.
#[derive(Debug)]
pub(crate) struct PipeEnd(pub(crate) Arc<Pipe>);

impl Pipe {
    /// Adds to the input. Returns whether the shard has to be told.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        let mut ends = self.0.lock();
        if ends.connection_gone {
            return false;
        }
        ends.input.extend_from_slice(bytes);
        !std::mem::replace(&mut ends.is_mailed, true)
    }

    /// Moves the output to the end of `into`, once there is some. False: there will be no more. The other value is whether
    /// the shard has to be told.
    pub(crate) fn poll_output(&self, context: &Context<'_>, into: &mut Vec<u8>) -> (Poll<bool>, bool) {
        let mut ends = self.0.lock();
        if ends.output.is_empty() {
            if ends.connection_gone {
                return (Poll::Ready(false), false);
            }
            ends.waker = Some(context.waker().clone());
            return (Poll::Pending, false);
        }
        if into.is_empty() {
            *into = std::mem::take(&mut ends.output);
        } else {
            into.append(&mut ends.output);
        }
        let was_full = std::mem::take(&mut ends.is_full);
        (Poll::Ready(true), was_full && !std::mem::replace(&mut ends.is_mailed, true))
    }

    /// The client goes. Returns whether the shard has to be told.
    pub(crate) fn leave(&self) -> bool {
        let mut ends = self.0.lock();
        ends.client_gone = true;
        ends.waker = None;
        ends.output = Vec::new();
        !ends.connection_gone && !std::mem::replace(&mut ends.is_mailed, true)
    }

    /// The client sends no more. Returns whether the shard has to be told.
    pub(crate) fn end_input(&self) -> bool {
        let mut ends = self.0.lock();
        ends.input_ended = true;
        !ends.connection_gone && !std::mem::replace(&mut ends.is_mailed, true)
    }

    /// Whether the client is gone.
    pub(crate) fn client_has_left(&self) -> bool {
        let ends = self.0.lock();
        ends.client_gone || ends.input_ended
    }

    /// What the client has not read.
    pub(crate) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().output)
    }

    /// No input is read until [`Pipe::release`] was called as often.
    pub(crate) fn hold(&self) {
        self.0.lock().held += 1;
    }

    /// See [`Pipe::hold`].
    pub(crate) fn release(&self) {
        let mut ends = self.0.lock();
        ends.held = ends.held.saturating_sub(1);
    }

    /// Whose pipe it is.
    pub(crate) fn place(&self) -> Option<ConnectionRef> {
        self.0.lock().place
    }

    /// How much of the input was executed, where the connection has ended because the rest is another node's to do.
    pub(crate) fn executed(&self) -> Option<u64> {
        self.0.lock().executed
    }

    /// The shard reads its mail: whose pipe it is, and whether the client sends no more.
    pub(crate) fn open_mail(&self) -> (Option<ConnectionRef>, bool) {
        let mut ends = self.0.lock();
        ends.is_mailed = false;
        (ends.place, ends.client_gone || ends.input_ended)
    }
}

impl PipeEnd {
    /// The shard has taken the connection in.
    pub(crate) fn set_place(&self, place: ConnectionRef) {
        self.0.0.lock().place = Some(place);
    }

    /// The connection is about to end, and of the input nothing beyond so many bytes was executed, nor will be.
    pub(crate) fn set_executed(&self, bytes: u64) {
        self.0.0.lock().executed = Some(bytes);
    }

    /// As of a non-blocking socket.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.0.lock();
        let waiting = if ends.held > 0 { &[] } else { &ends.input[ends.read..] };
        if waiting.is_empty() {
            return if (ends.client_gone || ends.input_ended) && ends.held == 0 {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let taken = waiting.len().min(buf.len());
        buf[..taken].copy_from_slice(&waiting[..taken]);
        ends.read += taken;
        if ends.read == ends.input.len() {
            (ends.input, ends.read) = (Vec::new(), 0);
        }
        Ok(taken)
    }

    /// As of a non-blocking socket.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.0.lock();
        if ends.client_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(OUTPUT_BYTES_MAX - ends.output.len());
        if taken == 0 && !bytes.is_empty() {
            ends.is_full = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ends.output.extend_from_slice(&bytes[..taken]);
        let waker = ends.waker.take();
        drop(ends);
        waker.into_iter().for_each(Waker::wake);
        Ok(taken)
    }

    /// Bytes of input that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        let ends = self.0.0.lock();
        ends.input.capacity() + ends.output.capacity() + size_of::<Pipe>()
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut ends = self.0.0.lock();
        ends.connection_gone = true;
        ends.place = None;
        let waker = ends.waker.take();
        drop(ends);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks<T>(result: &io::Result<T>) -> bool {
        result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn output(pipe: &Pipe) -> (Poll<bool>, Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let (poll, tells) = pipe.poll_output(&Context::from_waker(Waker::noop()), &mut bytes);
        (poll, bytes, tells)
    }

    #[test]
    fn bytes_pass_in_both_directions_and_one_mail_tells_of_many() {
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        let mut buf = [0; 4];
        assert!(blocks(&end.read(&mut buf)));
        assert!(pipe.send(b"abc") && !pipe.send(b"de"), "one mail is under way");
        assert_eq!((end.read(&mut buf).unwrap(), &buf), (4, b"abcd"));
        assert_eq!((end.read(&mut buf).unwrap(), buf[0]), (1, b'e'));
        assert!(blocks(&end.read(&mut buf)));
        pipe.open_mail();
        assert!(pipe.send(b"f"), "the mail has been read");
        assert_eq!(output(&pipe), (Poll::Pending, vec![], false));
        assert_eq!(end.write(b"reply").unwrap(), 5);
        assert_eq!(output(&pipe), (Poll::Ready(true), b"reply".to_vec(), false));
    }

    #[test]
    fn what_is_held_back_is_read_when_it_is_released_as_often() {
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        let mut buf = [0; 4];
        pipe.send(b"a");
        pipe.hold();
        pipe.hold();
        pipe.send(b"b");
        assert!(blocks(&end.read(&mut buf)));
        pipe.release();
        assert!(blocks(&end.read(&mut buf)));
        pipe.release();
        assert_eq!((end.read(&mut buf).unwrap(), &buf[..2]), (2, &b"ab"[..]));
    }

    #[test]
    fn a_full_pipe_takes_no_more_and_says_when_it_has_room() {
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        assert_eq!(end.write(&vec![0; OUTPUT_BYTES_MAX + 1]).unwrap(), OUTPUT_BYTES_MAX);
        assert!(blocks(&end.write(b"x")));
        let (_, bytes, tells) = output(&pipe);
        assert!(bytes.len() == OUTPUT_BYTES_MAX && tells);
        assert_eq!(end.write(b"x").unwrap(), 1);
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone_after_what_it_had_sent() {
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        end.write(b"last").unwrap();
        drop(end);
        assert_eq!(output(&pipe), (Poll::Ready(true), b"last".to_vec(), false));
        assert_eq!(output(&pipe).0, Poll::Ready(false));
        assert!(!pipe.send(b"x"));
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        pipe.send(b"last");
        assert!(!pipe.leave(), "the mail under way tells of it");
        let mut buf = [0; 9];
        assert_eq!((end.read(&mut buf).unwrap(), end.read(&mut buf).unwrap()), (4, 0));
        assert!(end.write(b"x").is_err());
    }

    #[test]
    fn a_client_that_sends_no_more_reads_what_it_is_answered() {
        let pipe = Arc::new(Pipe::default());
        let end = PipeEnd(Arc::clone(&pipe));
        assert!(pipe.send(b"last") && !pipe.end_input(), "the mail under way tells of it");
        assert!(pipe.open_mail().1);
        let mut buf = [0; 9];
        assert_eq!((end.read(&mut buf).unwrap(), end.read(&mut buf).unwrap()), (4, 0));
        assert_eq!(end.write(b"reply").unwrap(), 5);
        drop(end);
        assert_eq!(output(&pipe), (Poll::Ready(true), b"reply".to_vec(), false));
        assert_eq!(output(&pipe).0, Poll::Ready(false));
    }
}
