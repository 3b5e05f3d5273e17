//! COMMAND DOCS: what the rows say for people. redis-cli completes command lines with it.

use sterna_protocol::Reply;

use super::super::table::{Row, table};
use super::super::{Call, Failure};
use super::deprecated::{deprecated, is_internal};
use super::key_specs::key_specs;
use super::syntax::{Argument, Kind, parse};

pub(super) fn docs(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let rows: Vec<&Row> = if names.is_empty() {
        table().commands().collect()
    } else {
        names.iter().filter_map(|name| table().find_full(name)).collect()
    };
    call.reply.map(rows.len());
    rows.into_iter().for_each(|row| describe(&mut call.reply, row));
    Ok(())
}

/// A row's name and its map.
fn describe(reply: &mut Reply<'_>, row: &Row) {
    let spec = row.spec;
    let arguments = parse(spec.syntax).unwrap_or_default();
    let facts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    reply.bulk(row.full_name.as_bytes());
    let deprecated = deprecated(&row.full_name);
    let doc_flag = deprecated.map(|_| "deprecated").or(is_internal(&row.full_name).then_some("syscmd"));
    reply.map(
        facts.len()
            + usize::from(doc_flag.is_some())
            + 2 * usize::from(deprecated.is_some())
            + usize::from(!arguments.is_empty())
            + usize::from(!row.subcommands.is_empty()),
    );
    for (name, fact) in facts {
        reply.bulk(name.as_bytes());
        reply.bulk(fact.as_bytes());
    }
    if let Some(flag) = doc_flag {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple(flag);
    }
    if let Some(deprecated) = deprecated {
        field(reply, "deprecated_since", deprecated.since);
        field(reply, "replaced_by", deprecated.replaced_by);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        Arguments { row, keys: 0 }.write_all(reply, &arguments);
    }
    if !row.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(row.subcommands.len());
        row.subcommands.iter().for_each(|&id| describe(reply, table().row(id)));
    }
}

/// Writes the tree of a row's arguments.
struct Arguments<'a> {
    row: &'a Row,
    /// Keys met so far.
    keys: usize,
}

impl Arguments<'_> {
    fn write_all(&mut self, reply: &mut Reply<'_>, arguments: &[Argument]) {
        reply.array(arguments.len());
        arguments.iter().for_each(|argument| self.write(reply, argument));
    }

    fn write(&mut self, reply: &mut Reply<'_>, argument: &Argument) {
        let kind = self.type_of(argument);
        let key_spec = (kind == "key").then(|| {
            self.keys += 1;
            (self.keys - 1).min(key_specs(self.row).len().saturating_sub(1))
        });
        let children = match &argument.kind {
            Kind::OneOf(children) | Kind::Block(children) => Some(children),
            Kind::Value | Kind::Token => None,
        };
        let flags: Vec<&str> = [
            (argument.is_optional, "optional"),
            (argument.is_multiple, "multiple"),
            (argument.repeats_token, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
        // Name and type always; of leaves and others the rest.
        reply.map(
            3 + usize::from(key_spec.is_some())
                + usize::from(argument.token.is_some())
                + usize::from(!flags.is_empty()),
        );
        field(reply, "name", &argument.name);
        field(reply, "type", kind);
        if children.is_none() {
            field(reply, "display_text", &argument.name);
        }
        if let Some(index) = key_spec {
            reply.bulk(b"key_spec_index");
            reply.int(index as i64);
        }
        if let Some(token) = argument.token {
            field(reply, "token", token);
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if let Some(children) = children {
            reply.bulk(b"arguments");
            self.write_all(reply, children);
        }
    }

    /// The type that COMMAND DOCS gives an argument.
    fn type_of(&self, argument: &Argument) -> &'static str {
        match (&argument.kind, argument.name.as_str()) {
            (Kind::Token, _) => "pure-token",
            (Kind::OneOf(_), _) => "oneof",
            (Kind::Block(_), _) => "block",
            (Kind::Value, "key" | "newkey" | "source" | "destination") if self.row.spec.has_keys() => "key",
            (Kind::Value, "pattern") => "pattern",
            (Kind::Value, "unix-time-seconds" | "unix-time-milliseconds") => "unix-time",
            (Kind::Value, name) if NUMBERS.contains(&name) => "integer",
            (Kind::Value, _) => "string",
        }
    }
}

/// Values that are integers.
const NUMBERS: &[&str] = &[
    "client-id",
    "count",
    "cursor",
    "db",
    "decrement",
    "destination-db",
    "end",
    "frequency",
    "idle",
    "increment",
    "index",
    "maxage",
    "milliseconds",
    "ms",
    "numids",
    "offset",
    "protover",
    "samples",
    "seconds",
    "start",
    "timeout",
    "ttl",
];

fn field(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}
