//! CONFIG: the options of redis.conf, while the server runs.
//!
//! A CONFIG SET is all or nothing. Its values are read into a copy of the configuration; then everything is prepared
//! that can fail (TLS from new files, sockets for new addresses); only then does the copy take the place of the old
//! one, users and listeners follow, and every shard takes the new options over at its next turn. One CONFIG SET runs at
//! a time; one that switches `appendonly` runs once the journal has been switched, one about TLS or with names in `bind` once a thread
//! has read the certificates, and asked for the addresses.

use std::sync::{Arc, OnceLock};

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Secrets, Spec};
use sterna_protocol::{Args, OwnedArgs, argument};

use super::help::help;
use super::saving::await_job;
use super::settings_files::beside;
use super::{Call, Failure, Run};
use crate::config::{Config, SetError, UserLine};
use crate::connection::state::Wait;
use crate::connection::waits::{AfterJob, OptionsRead};
use crate::journaling::{Job, Outcome};
use crate::mailbox::{Ack, Mail};
use crate::names::Names;
use crate::net::{self, HttpChange};
use crate::server::Server;
use crate::tls::{TlsOptions, TlsRead};
use crate::{files, persistence};

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "2.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Ok],
    tips: ON_ALL_NODES,
    place: Place::Node,
    ..Spec::PLAIN
};

const ON_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "config",
        arity: -2,
        flags: Flags::empty(),
        complexity: "Depends on the subcommand.",
        summary: "Shows and changes the options of the configuration.",
        reply: &[],
        tips: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        Command {
            spec: Spec {
                name: "get",
                arity: -3,
                complexity: "O(N), N options and patterns",
                summary: "Shows the options that match a pattern, with their values.",
                syntax: "parameter [parameter ...]",
                reply: &[ReplyShape::Map],
                tips: &[],
                ..BASE
            },
            run: Some(get),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE),
                since: "5.0.0",
                summary: "Prints this text.",
                reply: &[ReplyShape::Array],
                tips: &[],
                ..BASE
            },
            run: Some(help),
            subcommands: &[],
        },
        Command {
            spec: Spec { name: "resetstat", summary: "Begins the counts of INFO anew.", ..BASE },
            run: Some(resetstat),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "rewrite",
                flags: BASE.flags.union(Flags::CHANGES_SETTINGS).union(Flags::SETTINGS_FILE),
                since: "2.8.0",
                summary: "Has the configuration file say what the server does.",
                ..BASE
            },
            run: Some(rewrite),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "set",
                flags: BASE
                    .flags
                    .union(Flags::CHANGES_SETTINGS)
                    .union(Flags::READ_FIRST)
                    .union(Flags::SETS_OPTIONS),
                arity: -4,
                secrets: Secrets::OptionValues(2),
                complexity: "O(N), N options",
                summary: "Changes options, all of them or none.",
                syntax: "parameter value [parameter value ...]",
                ..BASE
            },
            run: Some(set),
            subcommands: &[],
        },
    ],
}];

/// Bytes of the patterns of one CONFIG GET: all names together have less, and each is compared with each.
const PATTERNS_BYTES_MAX: usize = 16 << 10;

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let patterns: Vec<&[u8]> = call.args.from(2).iter().collect();
    if call.args.extent() > PATTERNS_BYTES_MAX {
        return Err(Failure::too_long("config|get", PATTERNS_BYTES_MAX));
    }
    let found = call.server().config().get(&patterns);
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(&name);
        call.reply.bulk(&value);
    }
    Ok(())
}

fn resetstat(call: &mut Call<'_>) -> Result<(), Failure> {
    call.server().reset_stats();
    if !call.in_exec {
        call.server().note_keyspace();
    }
    call.reply.ok();
    Ok(())
}

fn rewrite(call: &mut Call<'_>) -> Result<(), Failure> {
    super::settings_files::write(call, |server| {
        let config = {
            let _turn = server.config_changes.lock();
            let mut config = Config::clone(&server.config());
            if config.aclfile.is_none() {
                let lines = server.users.read().lines(&config.requirepass);
                config.users = lines.into_iter().map(|(name, rules)| UserLine { name, rules }).collect();
            }
            config
        };
        config.rewrite(server.config_path.as_deref(), crate::LINE_CHECKS).map_err(|error| {
            tracing::warn!(%error, "CONFIG REWRITE failed");
            Failure::text(error.to_string())
        })?;
        tracing::info!("CONFIG REWRITE executed with success");
        Ok(())
    })
}

/// The names and values of a CONFIG SET.
fn pairs_of(args: Args<'_>) -> Option<Vec<(&[u8], &[u8])>> {
    let words: Vec<&[u8]> = args.from(2).iter().collect();
    let (pairs, rest) = words.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|&[name, value]| (name, value)).collect())
}

/// Which of these options is set, if any.
fn given(pairs: &[(&[u8], &[u8])], wanted: &[&'static str]) -> Option<&'static str> {
    let is_given = |name: &&&str| pairs.iter().any(|(given, _)| argument::eq_ignore_case(given, name));
    wanted.iter().find(is_given).copied()
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let pairs = pairs_of(args).ok_or(Failure::SYNTAX)?;
    let server = Arc::clone(&call.shard.server);
    let _turn = call.turn_to_change(&server);
    let old = server.config();
    let new = old.set(&pairs).map_err(|error| Failure::text(error.to_string()))?;
    let wanted = Wanted::of(&old, &new, &pairs);
    let mut read = std::mem::take(&mut call.shard.current.files_read.options);
    if !wanted.is_in(&read, &new) {
        if !call.in_exec {
            return read_first(call, new, wanted);
        }
        // What it depends on has changed since: a transaction does not wait.
        wanted.read(&new, &mut read);
    }
    let prepared = Prepared::of(&old, &new, &pairs, &read, call);
    call.shard.current.files_read.options = read;
    let prepared = prepared.map_err(|error| Failure::text(error.to_string()))?;
    if new.appendonly != old.appendonly {
        return switch(call, new.appendonly);
    }
    let new =
        server.change_config(|_| Ok::<_, SetError>(new)).map_err(|error| Failure::text(error.to_string()))?;
    prepared.take_effect(call);
    if old.requirepass != new.requirepass {
        server.users.write().set_requirepass(&new.requirepass);
    }
    if old.loglevel != new.loglevel {
        crate::hooks::set_log_level(new.loglevel);
    }
    persistence::switch::adjust(&server, &new);
    if !call.in_exec {
        // A transaction may hold partitions; then the next tick does it.
        server.settle_settings();
    }
    call.shard.refresh_config();
    call.reply.ok();
    Ok(())
}

/// Has the journal turned on or off, and goes on with the other options, if any, once that is done.
///
/// Errors: it can't be. Then no option changes.
fn switch(call: &mut Call<'_>, on: bool) -> Result<(), Failure> {
    let failed = |reason: &str| {
        let reason = reason.to_owned();
        Failure::text(SetError::Effect { name: "appendonly", reason }.to_string())
    };
    if call.in_exec {
        return Err(failed("it takes a while, for which a transaction can't wait"));
    }
    if call.server().journaling.is_loading() {
        return Err(failed("the journal is being loaded"));
    }
    let job = if on { Job::TurnOn } else { Job::TurnOff };
    await_job(call, job, AfterJob::Switch)
}

/// The journal has been switched, or that has failed.
pub(super) fn switched(call: &mut Call<'_>, outcome: Outcome) -> Result<(), Failure> {
    outcome.map_err(|cause| {
        let reason = format!("Unable to turn on AOF. Check server logs. ({cause})");
        Failure::text(SetError::Effect { name: "appendonly", reason }.to_string())
    })?;
    set(call)
}

/// What a change needs and what could fail.
struct Prepared {
    /// TLS for new connections, if that changes; then `None` inside is no TLS.
    tls: Option<Option<Arc<rustls::ServerConfig>>>,
    listeners: Option<net::Relisten>,
    http: Option<HttpChange>,
}

impl Prepared {
    fn of(
        old: &Config,
        new: &Config,
        pairs: &[(&[u8], &[u8])],
        read: &OptionsRead,
        call: &Call<'_>,
    ) -> Result<Prepared, SetError> {
        let mut prepared = Prepared { tls: None, listeners: None, http: None };
        if let Some(name) = given(pairs, TLS_OPTIONS) {
            let options = TlsOptions::of(new);
            let tls = read
                .tls
                .iter()
                .find(|read| Some(&read.options) == options.as_ref())
                .map(|read| read.tls.clone());
            prepared.tls = Some(tls.transpose().map_err(|error| {
                tracing::warn!(%error, "TLS is not changed");
                let reason = "Unable to update TLS configuration. Check server logs.".to_owned();
                SetError::Effect { name, reason }
            })?);
        }
        let mut numeric = new.clone();
        if listens_elsewhere(old, new) {
            let unbound = |error: String| {
                tracing::warn!(%error, "the addresses are not changed");
                let name = given(pairs, &["bind", "port", "tls-port"]).unwrap_or("port");
                let reason = match name {
                    "bind" => "Failed to bind to specified addresses.",
                    _ => "Unable to listen on this port. Check server logs.",
                };
                SetError::Effect { name, reason: reason.to_owned() }
            };
            if let Some(names) = read.names.iter().find(|names| names.is_about(&new.bind)) {
                numeric.bind = names.addresses().map_err(unbound)?;
            }
            let relisten = net::relisten(&numeric, &call.server().listening.lock());
            prepared.listeners = Some(relisten.map_err(|error| unbound(error.to_string()))?);
        }
        if old.bind != new.bind && call.server().http.get().is_some() {
            let relisten = net::relisten_http(&numeric, &call.server().http_listening.lock());
            prepared.http = Some(relisten.map_err(|error| {
                tracing::warn!(%error, "the addresses of HTTP are not changed");
                SetError::Effect { name: "bind", reason: "Failed to bind to specified addresses.".to_owned() }
            })?);
        }
        if new.maxclients > old.maxclients {
            files::make_room_for(new.maxclients, call.server().own_files).map_err(|fitting| SetError::Effect {
                name: "maxclients",
                reason: format!(
                    "The operating system is not able to handle the specified number of clients, try with {fitting}"
                ),
            })?;
        }
        Ok(prepared)
    }

    /// Has the connection wait until the accepting shard, and who serves HTTP, listen where they should.
    fn take_effect(self, call: &mut Call<'_>) {
        if let Some(tls) = self.tls {
            call.server().set_tls(tls);
        }
        let ack = Ack { shard: call.shard.index, who: call.connection().me };
        let remaining = usize::from(self.listeners.is_some()) + usize::from(self.http.is_some());
        if remaining > 0 {
            call.shard.wait(call.slot, Wait::Acks { remaining }, None);
        }
        if let Some(listeners) = self.listeners {
            *call.server().listening.lock() = listeners.addresses.clone();
            call.shard.post(ACCEPTING_SHARD, Mail::Listen { listeners, ack });
        }
        let server = Arc::clone(&call.shard.server);
        if let (Some(mut change), Some(relisten)) = (self.http, server.http.get()) {
            server.http_listening.lock().clone_from(&change.places);
            let asking = Arc::clone(&server);
            change.done = Some(Box::new(move || asking.shards[ack.shard].mailbox.push(Mail::Done(ack))));
            relisten(change);
        }
    }
}

/// The shard that owns the listeners.
const ACCEPTING_SHARD: usize = 0;

/// Options that the TLS of new connections depends on. Setting one reads the files again even if its value is the same:
/// that is how a renewed certificate is taken up.
const TLS_OPTIONS: &[&str] =
    &["tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-auth-clients", "tls-protocols", "tls-port"];

/// Whether a change is one of the addresses listened on.
fn listens_elsewhere(old: &Config, new: &Config) -> bool {
    (&old.bind, old.port, old.tls_port) != (&new.bind, new.port, new.tls_port)
}

/// What a change needs to be known that files or name servers have to say.
#[derive(Debug)]
struct Wanted {
    tls: Option<TlsOptions>,
    names: bool,
}

impl Wanted {
    fn of(old: &Config, new: &Config, pairs: &[(&[u8], &[u8])]) -> Wanted {
        Wanted {
            tls: given(pairs, TLS_OPTIONS).and_then(|_| TlsOptions::of(new)),
            names: listens_elsewhere(old, new) && Names::are_in(&new.bind),
        }
    }

    /// Whether it is known.
    fn is_in(&self, read: &OptionsRead, config: &Config) -> bool {
        self.has_tls(read) && self.has_names(read, config)
    }

    fn has_tls(&self, read: &OptionsRead) -> bool {
        self.tls.as_ref().is_none_or(|tls| read.tls.iter().any(|read| read.options == *tls))
    }

    fn has_names(&self, read: &OptionsRead, config: &Config) -> bool {
        !self.names || read.names.iter().any(|names| names.is_about(&config.bind))
    }

    /// Finds out what is not.
    fn read(&self, config: &Config, read: &mut OptionsRead) {
        if !self.has_tls(read) {
            read.tls.extend(TlsRead::of(config));
        }
        if !self.has_names(read, config) {
            read.names.push(Names::ask(&config.bind));
        }
    }
}

/// What is found out before a transaction. The rest is while it runs.
const READ_MAX: usize = 16;

/// Whether a CONFIG SET may need to know what files or name servers have to say.
pub(super) fn may_want(config: &Config, args: Args<'_>) -> bool {
    let Some(pairs) = pairs_of(args) else { return false };
    let has_names =
        |(name, value): &(&[u8], &[u8])| argument::eq_ignore_case(name, "bind") && Names::may_be_in(value);
    given(&pairs, TLS_OPTIONS).is_some()
        || given(&pairs, &["port"]).is_some() && Names::are_in(&config.bind)
        || pairs.iter().any(has_names)
}

/// What these CONFIG SETs of a transaction need to know, one after the other.
pub(super) fn read_for(server: &Server, sets: &[OwnedArgs]) -> OptionsRead {
    let (mut config, mut read) = (server.config(), OptionsRead::default());
    for args in sets {
        let Some(pairs) = pairs_of(args.args()) else { continue };
        let Ok(next) = config.set(&pairs) else { continue };
        let wanted = Wanted::of(&config, &next, &pairs);
        if read.tls.len() + read.names.len() < READ_MAX {
            wanted.read(&next, &mut read);
        }
        let fails =
            |options: &TlsOptions| read.tls.iter().any(|read| read.options == *options && read.tls.is_err());
        let is_unknown =
            read.names.iter().any(|names| names.is_about(&next.bind) && names.addresses().is_err());
        let has_failed = wanted.tls.as_ref().is_some_and(fails) || wanted.names && is_unknown;
        if !has_failed {
            config = Arc::new(next);
        }
    }
    read
}

/// Has a thread find out what the change to `config` needs to know, and goes on when it has.
fn read_first(call: &mut Call<'_>, config: Config, wanted: Wanted) -> Result<(), Failure> {
    let read: Arc<OnceLock<OptionsRead>> = Arc::default();
    let into = Arc::clone(&read);
    beside(call, AfterJob::Options(read), move |_| {
        let mut read = OptionsRead::default();
        wanted.read(&config, &mut read);
        let _ = into.set(read);
        Ok(())
    })
}

/// Goes on with CONFIG SET, which knows this. It is found out again if what it depends on has changed since.
pub(super) fn set_with(call: &mut Call<'_>, read: Option<OptionsRead>) -> Result<(), Failure> {
    call.shard.current.files_read.options = read.unwrap_or_default();
    let result = set(call);
    call.shard.current.files_read.options = OptionsRead::default();
    result
}
