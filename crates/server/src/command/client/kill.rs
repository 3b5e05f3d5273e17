//! CLIENT KILL: other clients' connections are closed before the caller's next command runs.
//!
//! 1. The caller marks each victim, so that nobody counts it a second time.
//! 2. Their shards get a mail each, and the caller is held. Its own shard does, too: a victim is sent what it was promised
//!    before it is closed, and that may stand in the buffer that the caller's replies are being written to.
//! 3. A shard closes the victim (its subscriptions leave the directory), then acknowledges.
//! 4. With the last acknowledgement the caller's reply goes out and its next command runs: a PUBLISH pipelined behind
//!    the KILL doesn't count the victims any more.
//!
//! The caller itself, if it is meant, is closed once its reply is out. Inside EXEC nothing may wait: there nobody waits for
//! the mail.

use std::sync::atomic::Ordering;

use sterna_command::{Command, Flags, ReplyShape, Spec};

use super::super::{Call, Failure, Run};
use super::filter::{Filter, Of};
use super::{ADMIN, BASE, list, row};
use crate::connection::CloseReason;
use crate::connection::client::Client;
use crate::connection::state::Wait;
use crate::mailbox::{Ack, Mail};

pub(super) const KILL: Command<Run> = row(
    Spec {
        name: "kill",
        arity: -3,
        flags: ADMIN.union(Flags::LISTS),
        complexity: "O(N), N connections",
        summary: "Closes the connection from an address, or all that meet the conditions, and counts them. NOT- \
                  before a condition turns it round.",
        syntax: "<ip:port | <[ID client-id [client-id ...]] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] \
                 [USER username] [ADDR ip:port] [LADDR ip:port] [IP ip] [NAME name] [LIB-NAME lib-name] \
                 [LIB-VER lib-ver] [FLAGS flags] [DB db] [MAXAGE maxage] [IDLE idle] [SKIPME <YES | NO>]>>",
        reply: &[ReplyShape::Ok, ReplyShape::Integer],
        ..BASE
    },
    kill,
);

fn kill(call: &mut Call<'_>) -> Result<(), Failure> {
    let is_old_form = call.args.len() == 3;
    let filter = if is_old_form {
        Filter::address(&call.args[2])
    } else {
        Filter::parse(Of::Kill, call.args.from(2), call.server())?
    };
    let now_ms = call.shard.clock.now_ms;
    let me = call.connection().client.id;
    let mut victims = list::candidates(&filter, call.server());
    victims.retain(|client| {
        !(filter.skip_me && client.id == me)
            && filter.matches(client, now_ms)
            && !client.is_killed.swap(true, Ordering::AcqRel)
    });
    let acks = victims.iter().filter(|victim| call.close(victim)).count();
    if !is_old_form {
        call.reply.int(victims.len() as i64);
    } else if victims.is_empty() {
        return Err(Failure::of("ERR No such client"));
    } else {
        call.reply.ok();
    }
    if acks > 0 {
        call.shard.wait(call.slot, Wait::Acks { remaining: acks }, None);
    }
    Ok(())
}

impl Call<'_> {
    /// Closes `victim`, or has it closed. True: an acknowledgement of that will come.
    fn close(&mut self, victim: &Client) -> bool {
        let (who, shard) = (victim.place(), usize::from(victim.shard));
        let ack = Ack { shard: self.shard.index, who: self.connection().me };
        if who == ack.who {
            self.shard.drain(self.slot, CloseReason::Killed);
            return false;
        }
        let ack = (!self.in_exec).then_some(ack);
        self.shard.post(shard, Mail::Close { who, reason: CloseReason::Killed, ack });
        ack.is_some()
    }
}
