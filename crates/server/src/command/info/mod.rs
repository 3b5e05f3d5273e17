//! INFO: the server in figures, as text that clients and exporters parse.
//!
//! A section is a row: its name, whether INFO without arguments shows it, and the function that writes its fields.
//! Names of sections and fields are Redis's wherever Redis has them, because ioredis, BullMQ, redis-py and the
//! exporters look for them; what Redis counts and Sterna doesn't have (forks, eviction, scripts) is left out, as
//! clients cope with. `sterna_version` and the sections Connections and Messages are ours.
//!
//! Source: redis.io/docs/latest/commands/info.

mod about;
mod clients;
mod commands;
mod memory;
mod persistence;
mod stats;

use std::fmt::{self, Write};

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::Args;

use super::{Call, Failure, Run};

/// Rows of this folder.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "info",
        arity: -1,
        flags: Flags::LOADING.union(Flags::STALE),
        keys: Keys::None,
        acl: Categories::DANGEROUS,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(N), N connections and commands",
        summary: "Tells the server's state in figures: the usual sections, or those named.",
        syntax: "[section [section ...]]",
        reply: &[ReplyShape::Verbatim],
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        place: Place::Node,
        ..Spec::PLAIN
    },
    run: Some(info),
    subcommands: &[],
}];

/// One section.
struct Section {
    /// As its heading shows it; asked for in any case.
    name: &'static str,
    /// Shown unless other sections are asked for.
    is_usual: bool,
    write: fn(&mut Sheet, &mut Call<'_>),
}

const fn usual(name: &'static str, write: fn(&mut Sheet, &mut Call<'_>)) -> Section {
    Section { name, is_usual: true, write }
}

const fn special(name: &'static str, write: fn(&mut Sheet, &mut Call<'_>)) -> Section {
    Section { name, is_usual: false, write }
}

/// Every section, in order.
const SECTIONS: &[Section] = &[
    usual("Server", about::server),
    usual("Clients", clients::clients),
    usual("Connections", clients::connections),
    usual("Memory", memory::memory),
    usual("Persistence", persistence::persistence),
    usual("Threads", about::threads),
    usual("Stats", stats::stats),
    usual("Messages", stats::messages),
    usual("Replication", about::replication),
    usual("CPU", about::cpu),
    usual("Modules", |_, _| {}),
    special("Commandstats", commands::commandstats),
    usual("Errorstats", commands::errorstats),
    special("Latencystats", commands::latencystats),
    usual("Cluster", about::cluster),
    usual("Keyspace", stats::keyspace),
];

/// Whether `arguments` ask for `section`.
fn is_asked_for(section: &Section, arguments: Args<'_>) -> bool {
    let is = |argument: &[u8], word: &str| argument.eq_ignore_ascii_case(word.as_bytes());
    arguments.is_empty() && section.is_usual
        || arguments.iter().any(|argument| {
            is(argument, section.name)
                || is(argument, "all")
                || is(argument, "everything")
                || is(argument, "default") && section.is_usual
        })
}

fn info(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.args.from(1);
    // EXEC holds partitions, and has taken the figures before it did.
    if !call.in_exec {
        call.server().note_keyspace();
    }
    let mut sheet = Sheet::default();
    for section in SECTIONS.iter().filter(|section| is_asked_for(section, arguments)) {
        sheet.heading(section.name);
        (section.write)(&mut sheet, call);
    }
    call.reply.verbatim(sheet.0.as_bytes());
    Ok(())
}

/// The text as far as it is written. Lines end in CRLF: clients split there.
#[derive(Default)]
struct Sheet(String);

impl Sheet {
    fn heading(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        self.write(format_args!("{gap}# {name}\r\n"));
    }

    fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.write(format_args!("{name}:{value}\r\n"));
    }

    /// A number of bytes, and behind it the same for people.
    fn bytes(&mut self, name: &str, bytes: usize) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), Human(bytes));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

/// A number of bytes for people: `1.06M`.
struct Human(usize);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
        if self.0 < 1024 {
            return write!(f, "{}B", self.0);
        }
        let power = (self.0.ilog2() as usize / 10).min(UNITS.len());
        let amount = self.0 as f64 / f64::from(1024_u32).powi(power as i32);
        write!(f, "{amount:.2}{}", UNITS[power - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_protocol::OwnedArgs;

    fn asked_for(arguments: &str) -> String {
        let arguments: OwnedArgs = arguments.split_whitespace().collect();
        let names: Vec<&str> = SECTIONS
            .iter()
            .filter(|section| is_asked_for(section, arguments.args()))
            .map(|section| section.name)
            .collect();
        names.join(" ")
    }

    #[test]
    fn sections_are_asked_for_by_name_in_any_case_and_come_in_the_order_of_the_table() {
        let usual = asked_for("");
        assert!(usual.starts_with("Server Clients ") && !usual.contains("Commandstats"));
        let all = asked_for("ALL");
        assert!(all.contains("Commandstats") && all.contains("Latencystats"));
        let rows: [(&str, &str); 8] = [
            ("default", &usual),
            ("everything", &all),
            ("all server", &all),
            ("SERVER", "Server"),
            ("keyspace server server", "Server Keyspace"),
            ("nosuch", ""),
            ("nosuch cpu", "CPU"),
            ("commandstats", "Commandstats"),
        ];
        for (arguments, expected) in rows {
            assert_eq!(asked_for(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn bytes_for_people_have_two_decimals_and_a_unit() {
        let rows = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_113_856, "1.06M"),
            (25_276_063_744, "23.54G"),
            (1 << 40, "1.00T"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Human(bytes).to_string(), expected);
        }
    }
}
