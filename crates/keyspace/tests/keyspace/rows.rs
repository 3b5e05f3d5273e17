//! The rows of the command table, as data.

use sterna_command::{Command, Flags, Keys, Lifetime};
use sterna_keyspace::{COMMANDS, Run};

fn every(visit: &mut dyn FnMut(&Command<Run>)) {
    for row in COMMANDS {
        visit(row);
        row.subcommands.iter().for_each(&mut *visit);
    }
}

#[test]
fn rows_are_in_alphabetical_order_and_lower_case() {
    let sorted = |rows: &[Command<Run>]| rows.is_sorted_by(|a, b| a.spec.name < b.spec.name);
    assert!(sorted(COMMANDS));
    every(&mut |row| {
        assert!(sorted(row.subcommands));
        assert!(!row.spec.name.contains(|c: char| c.is_ascii_uppercase()));
    });
}

#[test]
fn every_row_says_what_it_is() {
    every(&mut |row| {
        let spec = row.spec;
        assert_eq!(row.run.is_none(), !row.subcommands.is_empty(), "{}", spec.name);
        assert!(spec.summary.ends_with('.') && spec.summary.len() < 120, "{}", spec.name);
        assert!(row.run.is_none() || !spec.reply.is_empty(), "{}", spec.name);
        assert!(!spec.complexity.is_empty() && !spec.since.is_empty(), "{}", spec.name);
        assert!(!spec.flags.contains(Flags::WRITE | Flags::READONLY), "{}", spec.name);
    });
}

#[test]
fn every_command_reaches_keys_in_one_way() {
    every(&mut |row| {
        let all = row.spec.flags.contains(Flags::ALL_KEYS);
        let some = row.spec.keys != Keys::None;
        let reads_others = row.spec.flags.contains(Flags::READS_BY_PATTERN);
        assert!(!(all && some) || reads_others, "{}", row.spec.name);
        let neither = row.run.is_none() || row.spec.name == "help";
        assert!(all || some || neither, "{}", row.spec.name);
    });
}

#[test]
fn every_write_that_takes_a_time_to_live_says_from_when_it_counts() {
    let is_span = |word: &str| {
        ["seconds", "milliseconds", "ttl"]
            .contains(&word.trim_matches(|letter: char| !letter.is_alphanumeric()))
    };
    every(&mut |row| {
        // Those that block take the time they wait.
        let writes = row.spec.flags.contains(Flags::WRITE) && !row.spec.flags.contains(Flags::BLOCKING);
        let takes_span = writes && row.spec.syntax.split(' ').any(is_span);
        assert_eq!(row.spec.lifetime != Lifetime::None, takes_span, "{}", row.spec.name);
    });
}
