//! A command table for the tests of this crate: the keyspace's rows, and of the server's those that rules tell apart.

use std::sync::LazyLock;

use sterna_command::{Channels, Command, Flags, KeyUse, KeyUses, Keys, Spec, Table};

const fn row(name: &'static str, arity: i8, flags: Flags, keys: Keys) -> Command<()> {
    Command { spec: Spec { name, arity, flags, keys, ..Spec::PLAIN }, run: Some(()), subcommands: &[] }
}

const fn container(name: &'static str, subcommands: &'static [Command<()>]) -> Command<()> {
    Command { run: None, subcommands, ..row(name, -2, Flags::empty(), Keys::None) }
}

const fn pubsub(name: &'static str, channels: Channels, keys: Keys) -> Command<()> {
    let mut command = row(name, -1, Flags::PUBSUB, keys);
    command.spec.channels = channels;
    command.spec.uses = KeyUses::Each(KeyUse::NOT_KEY);
    command
}

static ROWS: &[Command<()>] = &[
    pubsub("publish", Channels::Published, Keys::None),
    pubsub("spublish", Channels::Published, Keys::at(1)),
    pubsub("subscribe", Channels::Subscribed, Keys::None),
    pubsub("psubscribe", Channels::SubscribedPatterns, Keys::None),
    pubsub("ssubscribe", Channels::Subscribed, Keys::from(1)),
    pubsub("unsubscribe", Channels::None, Keys::None),
    pubsub("sunsubscribe", Channels::None, Keys::from(1)),
    container("pubsub", &[pubsub("numsub", Channels::None, Keys::None)]),
    row("auth", -2, Flags::NO_AUTH, Keys::None),
    row("select", 2, Flags::FAST, Keys::None),
    row("multi", 1, Flags::FAST, Keys::None),
    container(
        "config",
        &[row("get", -3, Flags::ADMIN, Keys::None), row("set", -4, Flags::ADMIN, Keys::None)],
    ),
    container(
        "client",
        &[row("id", 2, Flags::empty(), Keys::None), row("list", -2, Flags::ADMIN, Keys::None)],
    ),
];

pub(crate) fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        let mut table = Table::default();
        ROWS.iter().for_each(|command| table.add(command, &mut |_, _| {}));
        sterna_keyspace::COMMANDS.iter().for_each(|command| table.add(command, &mut |_, _| {}));
        table
    });
    &TABLE
}
