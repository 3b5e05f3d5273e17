//! ACL LOAD and SAVE: the users of `aclfile`.
//!
//! LOAD is all or nothing. Connections follow as after ACL SETUSER and DELUSER: one whose user is still there goes by the
//! new rules, one whose user is gone is closed.

use std::path::Path;
use std::sync::Arc;

use sterna_command::{Command, Flags, ReplyShape, Spec};

use super::super::table::table;
use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, ON_ALL_NODES, first_channels, row};
use crate::acl::Users;
use crate::config::{Config, replace_file};
use crate::mailbox::UserChange;

pub(super) const LOAD: Command<Run> = row(
    Spec {
        name: "load",
        flags: ADMIN.union(Flags::CHANGES_SETTINGS),
        complexity: "O(N), N users and connections",
        summary: "Reads the users anew from the file that aclfile names.",
        reply: &[ReplyShape::Ok],
        ..BASE
    },
    load,
);

pub(super) const SAVE: Command<Run> = row(
    Spec {
        name: "save",
        flags: ADMIN.union(Flags::CHANGES_SETTINGS),
        complexity: "O(N), N users",
        summary: "Writes the users to the file that aclfile names.",
        reply: &[ReplyShape::Ok],
        tips: ON_ALL_NODES,
        ..BASE
    },
    save,
);

const NO_FILE: Failure = Failure::of(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
     command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in \
     the Redis configuration.",
);

/// The users of the file. Error: what is wrong with it, on one line.
pub(crate) fn users_of_file(path: &Path, config: &Config) -> Result<Users, String> {
    let shown = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        let error = error.to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        format!("Error loading ACLs, opening file '{shown}': {reason}")
    })?;
    Users::of_file(table(), &config.requirepass, first_channels(config), &shown, &text)
}

fn load(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let config = server.config();
    let path = config.aclfile.as_deref().ok_or(NO_FILE)?;
    let users = users_of_file(path, &config).map_err(|error| Failure::text(format!("ERR {error}")))?;
    *server.users.write() = users.clone();
    call.reply.ok();
    call.spread_user(&UserChange::Replaced(Arc::new(users)));
    Ok(())
}

fn save(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let config = server.config();
    let path = config.aclfile.as_deref().ok_or(NO_FILE)?;
    let text = server.users.read().file_text();
    // A symbolic link stays one.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace_file(&path, &text).map_err(|error| {
        tracing::warn!(%error, path = %path.display(), "the users are not saved");
        Failure::of(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    call.reply.ok();
    Ok(())
}
