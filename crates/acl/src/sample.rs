//! A command table for the tests of this crate: the keyspace's rows, and of the server's those that rules tell apart.

use std::sync::LazyLock;

use sterna_command::{Categories, Command, Flags, Group, Keys, Spec, Table};

const fn row(name: &'static str, arity: i8, flags: Flags, keys: Keys) -> Command<()> {
    let spec = Spec {
        name,
        arity,
        flags,
        keys,
        acl: Categories::empty(),
        group: Group::Server,
        since: "1.0.0",
        complexity: "",
        summary: "",
        syntax: "",
        reply: &[],
        tips: &[],
    };
    Command { spec, run: Some(()), subcommands: &[] }
}

const fn container(name: &'static str, subcommands: &'static [Command<()>]) -> Command<()> {
    Command { run: None, subcommands, ..row(name, -2, Flags::empty(), Keys::None) }
}

const fn pubsub(name: &'static str, arity: i8, keys: Keys) -> Command<()> {
    let mut command = row(name, arity, Flags::PUBSUB, keys);
    command.spec.group = Group::Pubsub;
    command
}

static ROWS: &[Command<()>] = &[
    pubsub("publish", 3, Keys::None),
    pubsub("spublish", 3, Keys::at(1)),
    pubsub("subscribe", -2, Keys::None),
    pubsub("psubscribe", -2, Keys::None),
    pubsub("ssubscribe", -2, Keys::from(1)),
    pubsub("unsubscribe", -1, Keys::None),
    pubsub("sunsubscribe", -1, Keys::from(1)),
    container("pubsub", &[pubsub("numsub", -2, Keys::None)]),
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
