//! SYNC, PSYNC and REPLCONF, with which replicas and `redis-cli --rdb` ask for all keys, and BACKUP STREAM, with which
//! `sterna backup` asks for the journal.
//!
//! 1. The command is done with a mail to its own shard, or behind a snapshot: so whatever the client was answered before stands in
//!    its output queue.
//! 2. The socket leaves the shard, with what the queue holds; the connection is closed, and counted as `copied`.
//! 3. A thread of its own sends that, and then the copy: it walks the keys as a snapshot does (`keys.rs`), or reads files that no
//!    snapshot can take from it (`files.rs`). At the end it closes the socket.
//!
//! So a copy takes a thread and a buffer, however many keys there are and however slow the other end is, and no shard waits for it.
//! There are [`COPIES_MAX`] at a time; one that takes less than [`PACE_BYTES`] in [`STALL_MAX`] of waiting for it is closed.
//!
//! There is no stream of changes behind the keys: who says that it is a replica (`REPLCONF listening-port`) is refused before
//! anything is sent.

mod files;
mod keys;

use std::io::{self, BufWriter, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::argument::eq_ignore_case as is;

use super::help::help;
use super::saving::await_job;
use super::{Call, Failure, Run};
use crate::connection::state::Wait;
use crate::connection::transport::Transport;
use crate::connection::waits::{AfterJob, Copy, JobWait};
use crate::connection::{CloseReason, ReplyMode};
use crate::journaling::Job;
use crate::mailbox::{Ack, Mail};
use crate::server::Server;

const BASE: Spec = Spec {
    name: "",
    arity: 1,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_MULTI).union(Flags::NO_ASYNC_LOADING),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(N), N bytes of all keys and values",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Lines],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "sync",
            summary: "Sends all keys as a database file, and closes the connection.",
            ..BASE
        },
        run: Some(|call| send_keys(call, false)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "psync",
            arity: -3,
            since: "2.8.0",
            summary: "Sends all keys as a database file, whatever the offset, and closes the connection.",
            syntax: "replicationid offset",
            ..BASE
        },
        run: Some(|call| send_keys(call, true)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "replconf",
            arity: -1,
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::ALLOW_BUSY),
            since: "3.0.0",
            complexity: "O(1)",
            summary: "Says how the connection wants its copy of the keys.",
            syntax: "[option value [option value ...]]",
            reply: &[ReplyShape::Ok],
            ..BASE
        },
        run: Some(replconf),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "backup",
            arity: -2,
            flags: Flags::empty(),
            since: "8.10.0",
            complexity: "Depends on the subcommand.",
            summary: "Copies the journal of a running server.",
            reply: &[],
            ..BASE
        },
        run: None,
        subcommands: &[
            Command {
                spec: Spec {
                    name: "help",
                    arity: 2,
                    flags: Flags::LOADING.union(Flags::STALE),
                    since: "8.10.0",
                    complexity: "O(1)",
                    summary: "Prints this text.",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(help),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "stream",
                    arity: 2,
                    since: "8.10.0",
                    summary: "Sends the files of the journal, name and contents in turn, as one array, and closes the connection.",
                    ..BASE
                },
                run: Some(send_files),
                subcommands: &[],
            },
        ],
    },
];

/// Copies that are sent at a time.
const COPIES_MAX: usize = 4;

/// How long the other end may be waited for until it has taken [`PACE_BYTES`].
const STALL_MAX: Duration = Duration::from_secs(60);

/// One that takes less has a copy's place for ever: at 1 KiB a second a gigabyte takes 12 days.
const PACE_BYTES: u64 = 64 << 10;

/// Bytes that are collected before they are sent.
const BUFFER_BYTES: usize = 256 << 10;

fn replconf(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len().is_multiple_of(2) {
        return Err(Failure::SYNTAX);
    }
    let mut asked = call.connection().copy_asked;
    for at in (1..call.args.len()).step_by(2) {
        let (name, value) = (&call.args[at], &call.args[at + 1]);
        match () {
            () if is(name, "listening-port") => asked.is_replica = true,
            () if is(name, "capa") => asked.takes_any_length |= is(value, "eof"),
            () if is(name, "rdb-only") => asked.wants_no_stream = value == b"1",
            () if is(name, "rdb-filter-only") => {
                // Words of what is to be in the file: `functions`, or nothing at all.
                let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                if !words.all(|word| is(word, "functions")) {
                    let text = b"ERR Unsupported rdb-filter-only option: ".iter().chain(value.iter());
                    return Err(Failure::text(text.copied().collect::<Vec<u8>>()));
                }
                asked.without_keys = true;
                asked.without_functions = !value.windows(9).any(|word| is(word, "functions"));
            }
            () if is(name, "ip-address") || is(name, "version") => {}
            // What a replica says of a stream, which there is none of here.
            () if is(name, "ack") || is(name, "getack") => {}
            () => {
                let text = b"ERR Unrecognized REPLCONF option: ".iter().chain(name.iter());
                return Err(Failure::text(text.copied().collect::<Vec<u8>>()));
            }
        }
    }
    call.connection().copy_asked = asked;
    call.reply.ok();
    Ok(())
}

fn send_keys(call: &mut Call<'_>, announces: bool) -> Result<(), Failure> {
    let asked = call.connection().copy_asked;
    if asked.is_replica && !asked.wants_no_stream {
        return Err(Failure::of(
            "ERR Sterna has no replicas: it sends all keys once (REPLCONF rdb-only 1, redis-cli --rdb) and no changes behind \
             them. `sterna import --follow` is for the other direction",
        ));
    }
    if !asked.takes_any_length {
        return Err(Failure::of(
            "ERR the length of the file is not known before it is sent: say REPLCONF capa eof before SYNC",
        ));
    }
    begin_later(call, Copy::Keys { announces })
}

fn send_files(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = call.server();
    // A write that is in no record yet is kept by a snapshot, which is waited for.
    let is_kept = server.journaling.journal().is_some() && !server.journaling.has_gap();
    let is_saved = server.journaling.at_rest().is_some() && server.changes_since_save() == 0;
    if is_kept || is_saved {
        return begin_later(call, Copy::Files);
    }
    await_job(call, Job::Save, AfterJob::Copy(Copy::Files))
}

/// Begins when what this turn has answered is in the queue.
fn begin_later(call: &mut Call<'_>, copy: Copy) -> Result<(), Failure> {
    let (slot, row, args) = (call.slot, call.row, call.args.to_owned());
    let connection = call.connection();
    let (who, is_silent) = (connection.me, connection.reply_mode != ReplyMode::On);
    let ack = Ack { shard: call.shard.index, who };
    call.shard.wait(slot, Wait::Job(JobWait { row, args, then: AfterJob::Copy(copy), is_silent }), None);
    call.server().shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome: Ok(()) });
    Ok(())
}

/// Takes the socket and sends the copy there.
pub(super) fn begin(call: &mut Call<'_>, copy: Copy) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    if call.connection().transport.fd().is_none() {
        return Err(Failure::of("ERR a copy is sent by a connection of its own"));
    }
    if server.copies.fetch_add(1, AcqRel) >= COPIES_MAX {
        server.copies.fetch_sub(1, Release);
        return Err(Failure::of("ERR too many copies are being sent: try again later"));
    }
    let connection = call.connection();
    let asked = connection.copy_asked;
    let client = Arc::clone(&connection.client);
    let before = connection.output.take();
    let transport = std::mem::replace(&mut connection.transport, Transport::Gone);
    let slot = call.slot;
    let deregistered = transport.deregister(call.shard.poll_registry());
    call.shard.close(slot, CloseReason::Copied);
    let of = Arc::clone(&server);
    let run = move || {
        let peer = client.address.peer();
        let began = Instant::now();
        let out = Out { transport, server: Arc::clone(&of), bytes: 0, pace: Pace::default() };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let sent = deregistered.and_then(|()| {
            of.journaling.await_last_record();
            out.write_all(&before)?;
            match copy {
                Copy::Keys { announces } => keys::send(&of, &asked, announces, &mut out),
                Copy::Files => files::send(&of, &mut out),
            }?;
            out.flush()
        });
        let bytes = out.get_ref().bytes;
        match sent {
            Ok(()) => {
                tracing::info!(%peer, bytes, ms = began.elapsed().as_millis() as u64, "a copy of the {} is sent", copy.name())
            }
            Err(error) => {
                tracing::warn!(%peer, bytes, %error, "a copy of the {} was not sent to its end", copy.name())
            }
        }
        // What is in the buffer after an error is of no use any more.
        let (mut out, _) = out.into_parts();
        out.transport.close_notify();
        out.transport.end_output();
        of.copies.fetch_sub(1, Release);
        out.drain();
        of.count_closed(&out.transport);
    };
    if let Err(error) = std::thread::Builder::new().name("copy".to_owned()).spawn(run) {
        // The socket went with the thread that there is not.
        tracing::warn!(%error, "no thread for a copy");
        server.copies.fetch_sub(1, Release);
        server.count_lost();
    }
    Ok(())
}

impl Copy {
    fn name(self) -> &'static str {
        match self {
            Copy::Keys { .. } => "keys",
            Copy::Files => "journal",
        }
    }
}

/// A socket that is written to by a thread which may wait.
struct Out {
    transport: Transport,
    server: Arc<Server>,
    /// Sent so far.
    bytes: u64,
    pace: Pace,
}

/// How fast the other end takes what it is sent.
#[derive(Debug, Default)]
struct Pace {
    /// What had been sent when it was last seen to be fast enough.
    bytes: u64,
    /// How long it was waited for since.
    waited: Duration,
}

impl Pace {
    /// Whether it may be waited for, now that so much is sent.
    fn allows(&mut self, bytes: u64) -> bool {
        if bytes - self.bytes >= PACE_BYTES {
            *self = Pace { bytes, waited: Duration::ZERO };
        }
        self.waited < STALL_MAX
    }
}

impl Out {
    /// Waits until the socket takes more.
    fn wait(&mut self) -> io::Result<()> {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        while self.pace.allows(self.bytes) {
            let began = Instant::now();
            if self.server.is_stopping() {
                return Err(io::Error::other("the server stops"));
            }
            let Some(socket) = self.transport.as_fd() else { return Err(io::ErrorKind::NotConnected.into()) };
            let polled = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], Some(&second));
            self.pace.waited += began.elapsed();
            match polled {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes next to nothing"))
    }

    /// Reads what the other end has said meanwhile, until it closes: a socket that is closed with any of that unread resets the
    /// connection, and what was sent last is lost.
    fn drain(&mut self) {
        let (began, mut unread) = (Instant::now(), [0; 4096]);
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        while began.elapsed() < STALL_MAX && !self.server.is_stopping() {
            match self.transport.read(&mut unread) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Some(socket) = self.transport.as_fd() else { return };
                    // An error shows in the next read.
                    let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&second));
                }
                Err(_) => return,
            }
        }
    }

    /// Does `act`, waiting as often as it says that it would block.
    fn insist<T>(&mut self, mut act: impl FnMut(&mut Transport) -> io::Result<T>) -> io::Result<T> {
        loop {
            match act(&mut self.transport) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.insist(|transport| transport.write(&[IoSlice::new(bytes)]))?;
        self.bytes += sent as u64;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.insist(Transport::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_copy_byte_by_byte_is_not_waited_for_for_ever() {
        let mut pace = Pace::default();
        let mut bytes = 0;
        // A byte a second.
        let waits = (1..1000).take_while(|_| {
            bytes += 1;
            pace.waited += Duration::from_secs(1);
            pace.allows(bytes)
        });
        assert_eq!(waits.count(), 59);
        // 2 KiB a second.
        let mut pace = Pace::default();
        let goes_on = (1..1000).all(|second| {
            pace.waited += Duration::from_secs(1);
            pace.allows(second * 2048)
        });
        assert!(goes_on);
    }
}
