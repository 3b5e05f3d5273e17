//! ACL SETUSER, DELUSER, GETUSER, LIST, USERS, WHOAMI.
//!
//! A connection holds its user, so a change has to reach it:
//!
//! 1. The changed user takes its place among the users; who logs in from now on gets it.
//! 2. Every shard is told. Connections of this user take the new one, and what they hold is checked anew, in steps (`rights.rs`).
//! 3. The caller's reply and its next command wait until every shard has done so. Inside EXEC nothing may wait: there
//!    the other shards follow in their own time.

use std::sync::Arc;

use sterna_command::{Command, Flags, ReplyShape, Secrets, Spec};
use sterna_keyspace::Steps;
use sterna_protocol::Reply;

use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, ON_ALL_NODES, first_channels, row};
use crate::acl::{SelectorDescription, User};
use crate::connection::state::Wait;
use crate::mailbox::{Ack, Mail, UserChange};
use crate::shard::unchecked::Following;

pub(super) const SETUSER: Command<Run> = row(
    Spec {
        name: "setuser",
        arity: -3,
        secrets: Secrets::From(2),
        flags: ADMIN.union(Flags::CHANGES_SETTINGS),
        complexity: "O(N), N rules and connections",
        summary: "Changes a user by rules, or makes one; at once for those who are logged in as it.",
        syntax: "username [rule [rule ...]]",
        reply: &[ReplyShape::Ok],
        tips: ON_ALL_NODES,
        ..BASE
    },
    setuser,
);

pub(super) const DELUSER: Command<Run> = row(
    Spec {
        name: "deluser",
        arity: -3,
        secrets: Secrets::From(2),
        flags: ADMIN.union(Flags::CHANGES_SETTINGS),
        complexity: "O(N), N connections",
        summary: "Removes users, closes the connections that are logged in as one, and counts the users.",
        syntax: "username [username ...]",
        reply: &[ReplyShape::Integer],
        tips: ON_ALL_NODES,
        ..BASE
    },
    deluser,
);

pub(super) const GETUSER: Command<Run> = row(
    Spec {
        name: "getuser",
        arity: 3,
        secrets: Secrets::From(2),
        flags: ADMIN,
        complexity: "O(N), N rules",
        summary: "Describes a user.",
        syntax: "username",
        reply: &[ReplyShape::Map, ReplyShape::Null],
        ..BASE
    },
    getuser,
);

pub(super) const LIST: Command<Run> = row(
    Spec {
        name: "list",
        flags: ADMIN.union(Flags::LISTS),
        complexity: "O(N), N users",
        summary: "Lists the users, each as the line of the configuration that makes it.",
        ..BASE
    },
    |call| {
        let users: Vec<Arc<User>> = call.server().users.read().iter().cloned().collect();
        let mut lines = Lines { users: users.into_iter(), is_begun: false };
        if lines.users.len() > LINES_PER_STEP && call.may_take_parts() {
            call.shard.reply_in_steps(call.slot, call.row, Box::new(lines));
        } else {
            while lines.step(&mut call.reply) {}
        }
        Ok(())
    },
);

/// Users whose lines are written together: some 0.1 ms.
const LINES_PER_STEP: usize = 32;

/// The lines of these users, a few at a time.
#[derive(Debug)]
struct Lines {
    users: std::vec::IntoIter<Arc<User>>,
    is_begun: bool,
}

impl Steps for Lines {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            reply.array(self.users.len());
        }
        self.users.by_ref().take(LINES_PER_STEP).for_each(|user| reply.bulk(&user.line()));
        self.users.len() > 0
    }
}

pub(super) const USERS: Command<Run> = row(
    Spec {
        name: "users",
        flags: ADMIN,
        complexity: "O(N), N users",
        summary: "Lists the users' names.",
        ..BASE
    },
    |call| {
        let names: Vec<Vec<u8>> =
            call.server().users.read().iter().map(|user| user.name().to_vec()).collect();
        call.reply.array(names.len());
        names.iter().for_each(|name| call.reply.bulk(name));
        Ok(())
    },
);

pub(super) const WHOAMI: Command<Run> = row(
    Spec {
        name: "whoami",
        summary: "Answers the name of the user that this connection is logged in as.",
        reply: &[ReplyShape::Bulk],
        ..BASE
    },
    |call| {
        let user = call.connection().user.clone();
        call.reply.bulk_or_null(user.as_ref().map(|user| user.name()));
        Ok(())
    },
);

fn setuser(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let rules: Vec<&[u8]> = call.args.from(3).iter().collect();
    let first = first_channels(&server.config());
    let user = server.users.write().set_user(&call.args[2], &rules, first);
    let user = user.map_err(|error| Failure::text(error.to_string()))?;
    call.reply.ok();
    call.spread_user(&UserChange::Changed(user));
    Ok(())
}

fn deluser(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let names = call.args.from(2);
    if names.iter().any(|name| name == b"default") {
        return Err(Failure::of("ERR The 'default' user cannot be removed"));
    }
    let removed: Vec<Arc<User>> = {
        let mut users = server.users.write();
        names.iter().filter_map(|name| users.remove(name)).collect()
    };
    call.reply.int(removed.len() as i64);
    let names: Arc<[Box<[u8]>]> = removed.iter().map(|user| user.name().into()).collect();
    if !names.is_empty() {
        call.spread_user(&UserChange::Removed(names));
    }
    Ok(())
}

impl Call<'_> {
    /// Tells every shard of the change, and has the connection wait until they have followed it.
    pub(in super::super) fn spread_user(&mut self, change: &UserChange) {
        let others: Vec<usize> =
            (0..self.server().shards.len()).filter(|&shard| shard != self.shard.index).collect();
        let ack = Ack { shard: self.shard.index, who: self.connection().me };
        let in_exec = self.in_exec;
        for &shard in &others {
            self.shard.post(shard, Mail::User { change: change.clone(), in_exec, ack });
        }
        // Those of this shard that must go are closed when the command is done, this connection after its reply.
        let following = if in_exec { Following::NotWaits } else { Following::InSteps(ack) };
        let is_told = self.shard.follow_user(change, following);
        if in_exec {
            self.shard.post(self.shard.index, Mail::User { change: change.clone(), in_exec, ack });
        }
        let remaining = others.len() + usize::from(is_told || in_exec);
        if in_exec {
            self.shard.rights_acks += remaining;
        }
        if remaining > 0 {
            self.shard.wait(self.slot, Wait::Acks { remaining }, None);
        }
    }
}

fn getuser(call: &mut Call<'_>) -> Result<(), Failure> {
    let user = call.server().users.read().get(&call.args[2]).map(|user| user.describe());
    let Some(user) = user else {
        call.reply.null();
        return Ok(());
    };
    let reply = &mut call.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(user.flags.len());
    user.flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| reply.bulk(hash.as_bytes()));
    selector(reply, &user.root);
    reply.bulk(b"selectors");
    reply.array(user.selectors.len());
    for rules in &user.selectors {
        reply.map(3);
        selector(reply, rules);
    }
    Ok(())
}

/// Three pairs of a map.
fn selector(reply: &mut Reply<'_>, rules: &SelectorDescription) {
    for (name, text) in [("commands", &rules.commands), ("keys", &rules.keys), ("channels", &rules.channels)]
    {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
}
