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
        flags: ADMIN.union(Flags::CHANGES_SETTINGS).union(Flags::SETTINGS_FILE).union(Flags::READ_FIRST),
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
    users_of_text(path, &text_of(path)?, config)
}

fn text_of(path: &Path) -> Result<Vec<u8>, String> {
    sterna_filesystem::read(path, FILE_BYTES_MAX).map_err(|error| {
        let error = error.to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        format!("Error loading ACLs, opening file '{}': {reason}", path.display())
    })
}

fn users_of_text(path: &Path, text: &[u8], config: &Config) -> Result<Users, String> {
    let shown = path.display().to_string();
    Users::of_file(table(), &config.requirepass, first_channels(config), &shown, text)
}

fn load(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.in_exec {
        let read = call.shard.current.files_read.users.take();
        return take_effect(call, read.ok_or(NO_FILE)?.map_err(Failure::text)?);
    }
    let read: Arc<OnceLock<LoadedUsers>> = Arc::default();
    let into = Arc::clone(&read);
    beside(call, AfterJob::Users(read), move |server| {
        let _ = into.set(read_users(server)?);
        Ok(())
    })
}

pub(in super::super) fn read_users(server: &Server) -> Result<LoadedUsers, Failure> {
    let config = server.config();
    let path = config.aclfile.as_deref().ok_or(NO_FILE)?;
    let text = text_of(path).map_err(|error| Failure::text(format!("ERR {error}")))?;
    users_that_say(text, path, &config)
}

fn users_that_say(text: Vec<u8>, path: &Path, config: &Config) -> Result<LoadedUsers, Failure> {
    let users = users_of_text(path, &text, config);
    let users = users.map_err(|error| Failure::text(format!("ERR {error}")))?;
    Ok(LoadedUsers {
        own: users.clone(),
        shared: Arc::new(users),
        requirepass: config.requirepass.clone(),
        text,
    })
}

/// Goes on with ACL LOAD, whose file has been read.
pub(in super::super) fn loaded(call: &mut Call<'_>, read: Option<LoadedUsers>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    take_effect(call, read.ok_or(NO_FILE)?)
}

fn take_effect(call: &mut Call<'_>, mut read: LoadedUsers) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let config = server.config();
    if read.requirepass != config.requirepass {
        // The password of the default user, of which the file may say nothing, is another one since.
        let path = config.aclfile.as_deref().ok_or(NO_FILE)?;
        read = users_that_say(read.text, path, &config)?;
    }
    let before = std::mem::replace(&mut *server.users.write(), read.own);
    server.reclaimer.free(vec![Garbage::of_other(Box::new((before, read.text)), USERS_BYTES)]);
    call.reply.ok();
    call.spread_user(&UserChange::Replaced(read.shared));
    Ok(())
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
