//! ACL LOAD and SAVE: the users of `aclfile`.
//!
//! LOAD is all or nothing. Connections follow as after ACL SETUSER and DELUSER: one whose user is still there goes by the
//! new rules, one whose user is gone is closed.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sterna_command::{Command, Flags, ReplyShape, Spec};
use sterna_keyspace::Garbage;

use super::super::settings_files::{beside, write};
use super::super::table::table;
use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, ON_ALL_NODES, first_channels, row};
use crate::acl::Users;
use crate::config::{Config, replace_file};
use crate::connection::waits::{AfterJob, LoadedUsers};
use crate::mailbox::UserChange;
use crate::server::Server;

/// Bytes that all users may hold: enough that they are not freed on a shard.
const USERS_BYTES: usize = 1 << 20;

pub(super) const LOAD: Command<Run> = row(
    Spec {
        name: "load",
        flags: ADMIN.union(Flags::CHANGES_SETTINGS).union(Flags::SETTINGS_FILE),
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
        flags: ADMIN.union(Flags::CHANGES_SETTINGS).union(Flags::SETTINGS_FILE),
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

/// A file of users: what 100 000 of them with 10 KiB of rules each take.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The users of the file. Error: what is wrong with it, on one line.
pub(crate) fn users_of_file(path: &Path, config: &Config) -> Result<Users, String> {
    let shown = path.display().to_string();
    let text = sterna_filesystem::read(path, FILE_BYTES_MAX).map_err(|error| {
        let error = error.to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        format!("Error loading ACLs, opening file '{shown}': {reason}")
    })?;
    Users::of_file(table(), &config.requirepass, first_channels(config), &shown, &text)
}

fn load(call: &mut Call<'_>) -> Result<(), Failure> {
    if !call.in_exec {
        let loaded: Arc<OnceLock<LoadedUsers>> = Arc::default();
        let into = Arc::clone(&loaded);
        return beside(call, AfterJob::Users(loaded), move |server| {
            let _ = into.set(read_users(server)?);
            Ok(())
        });
    }
    let users = read_users(call.server())?;
    take_effect(call, users);
    Ok(())
}

fn read_users(server: &Server) -> Result<LoadedUsers, Failure> {
    let config = server.config();
    let path = config.aclfile.as_deref().ok_or(NO_FILE)?;
    let users = users_of_file(path, &config).map_err(|error| Failure::text(format!("ERR {error}")))?;
    Ok(LoadedUsers { own: users.clone(), shared: Arc::new(users), requirepass: config.requirepass.clone() })
}

/// Goes on with ACL LOAD, whose file has been read.
pub(in super::super) fn loaded(call: &mut Call<'_>, loaded: Option<LoadedUsers>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let users = match loaded {
        Some(users) if users.requirepass == server.config().requirepass => users,
        // The password of the default user, of which the file may say nothing, is another one since.
        _ => read_users(&server)?,
    };
    take_effect(call, users);
    Ok(())
}

fn take_effect(call: &mut Call<'_>, LoadedUsers { own, shared, .. }: LoadedUsers) {
    let server = Arc::clone(&call.shard.server);
    let before = std::mem::replace(&mut *server.users.write(), own);
    server.reclaimer.free(vec![Garbage::of_other(Box::new(before), USERS_BYTES)]);
    call.reply.ok();
    call.spread_user(&UserChange::Replaced(shared));
}

fn save(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.server().config().aclfile.is_none() {
        return Err(NO_FILE);
    }
    write(call, |server| {
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
        })
    })
}
