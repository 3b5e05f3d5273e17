//! DEBUG DIGEST and DIGEST-VALUE: whether two servers hold the same, or one does before and after.
//!
//! A thread of its own computes them from copies of values, a few keys under each lock; the connection waits. What is written
//! meanwhile may be in it or not.

use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Arc, OnceLock};

use sterna_keyspace::{Fingerprint, Value};
use sterna_protocol::{Proto, Reply};

use crate::command::{Call, Failure};
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::waits::{AfterJob, JobWait};
use crate::mailbox::{Ack, Mail};
use crate::server::Server;
use crate::time::unix_ms;

/// Keys that are copied under one lock.
const KEYS_PER_LOCK: usize = 32;

/// Answers the fingerprint of everything.
pub(super) fn digest(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    answer_later(call, move |reply| reply.simple(&of_all(&server).to_string()))
}

/// Answers the fingerprint of each key's value, and zeros for one that is not there.
pub(super) fn digest_values(call: &mut Call<'_>) -> Result<(), Failure> {
    let (db, now_ms) = (usize::from(call.connection().db), call.shard.clock.now_ms);
    let partitions = &call.server().partitions;
    let copy = |key| {
        partitions
            .peek(db, key, now_ms, |record| (record.value().to_value(), record.expire_at_ms().is_some()))
    };
    let copies: Result<Vec<Option<(Value, bool)>>, _> = call.args.from(2).iter().map(copy).collect();
    let copies = copies.map_err(|_| call.shard.keys_taken())?;
    answer_later(call, move |reply| {
        reply.array(copies.len());
        for copy in copies {
            let print = copy.map_or(Fingerprint::default(), |(value, expires)| {
                Fingerprint::of_value((&value).into(), expires, now_ms)
            });
            reply.simple(&print.to_string());
        }
    })
}

/// Of every database's keys, but for those that are due. Ends early when the server stops.
fn of_all(server: &Server) -> Fingerprint {
    let (partitions, now_ms) = (&server.partitions, unix_ms());
    let mut print = Fingerprint::default();
    let shown = partitions.shown();
    for db in 0..partitions.databases() {
        let stored = shown.get(db).map_or(db, |&stored| usize::from(stored));
        let (mut of_keys, mut is_empty) = (Fingerprint::default(), true);
        for index in 0..partitions.count() {
            let mut from = Some(0);
            while let Some(position) = from.filter(|_| !server.is_stopping()) {
                let mut copies = Vec::new();
                from = partitions.visit_settled(index, stored, position, KEYS_PER_LOCK, |record| {
                    if !record.is_expired(now_ms) {
                        let expires = record.expire_at_ms().is_some();
                        copies.push((Box::<[u8]>::from(record.key()), record.value().to_value(), expires));
                    }
                });
                for (key, value, expires) in copies {
                    of_keys.add(Fingerprint::of_key(&key, (&value).into(), expires, now_ms));
                    is_empty = false;
                }
            }
        }
        if !is_empty {
            print.add_database(db as u32, of_keys);
        }
    }
    print
}

/// Has a thread write the reply.
pub(super) fn answer_later(
    call: &mut Call<'_>,
    write: impl FnOnce(&mut Reply<'_>) + Send + 'static,
) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    if server.digests.swap(true, AcqRel) {
        return Err(Failure::of("ERR another DEBUG DIGEST or OBJECT is under way"));
    }
    let (slot, row, args) = (call.slot, call.row, call.args.to_owned());
    let connection = call.connection();
    let (who, is_silent) = (connection.me, connection.reply_mode != ReplyMode::On);
    let ack = Ack { shard: call.shard.index, who };
    let answer = Arc::new(OnceLock::new());
    let then = AfterJob::Answer(Arc::clone(&answer));
    let thread = std::thread::Builder::new().name("digest".to_owned()).spawn({
        let server = Arc::clone(&server);
        move || {
            let mut bytes = Vec::new();
            // Simple strings and arrays are the same in both protocols.
            write(&mut Reply::new(&mut bytes, Proto::Resp2));
            let _ = answer.set(bytes);
            server.digests.store(false, Release);
            server.shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome: Ok(()) });
        }
    });
    if let Err(error) = thread {
        server.digests.store(false, Release);
        return Err(Failure::text(format!("ERR no thread for it: {error}")));
    }
    call.shard.wait(slot, Wait::Job(JobWait { row, args, then, is_silent }), None);
    Ok(())
}
