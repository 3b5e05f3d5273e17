//! `docs/commands.md`: the command table for people.

use std::fmt::Write;

use sterna_command::{Group, ReplyShape};

use super::super::table::{Row, table};
use super::info::{categories, flags};

const INTRODUCTION: &str = "\
<!-- Written by `cargo test -p sterna-server commands_page` with STERNA_WRITE_DOCS=1; change the table instead. -->
# Commands

Replies, errors and their texts are those of Redis 8.2, in RESP2 and RESP3. What differs is said at the command. A command
that is not on this page is answered with an error, never with a reply that stands for nothing.

Not offered, and therefore errors: replication, modules, and types of Redis that are modules or newer: vector sets,
arrays.

Each command has its arguments in the notation of the Redis manual, what it does, and in the last line: the first Redis
version that had it, its cost, its reply, its flags (COMMAND INFO) and its ACL categories.
";

const GROUPS: &[(Group, &str)] = &[
    (Group::Pubsub, "Pub/Sub"),
    (Group::Stream, "Streams"),
    (Group::String, "Strings"),
    (Group::List, "Lists"),
    (Group::Hash, "Hashes"),
    (Group::Set, "Sets"),
    (Group::SortedSet, "Sorted sets"),
    (Group::Bitmap, "Bitmaps"),
    (Group::Hyperloglog, "HyperLogLog"),
    (Group::Geo, "Geospatial indexes"),
    (Group::Scripting, "Scripts"),
    (Group::Cluster, "Several nodes"),
    (Group::Generic, "Keys"),
    (Group::Transactions, "Transactions"),
    (Group::Connection, "Connections"),
    (Group::Server, "Server"),
];

/// The whole page.
pub fn commands_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for &(group, title) in GROUPS {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n## {title}");
        let mut rows: Vec<&Row> = table().rows().iter().filter(|row| row.spec.group == group).collect();
        rows.sort_by_key(|row| &row.full_name);
        rows.into_iter().for_each(|row| describe(&mut page, row));
    }
    page
}

fn describe(page: &mut String, row: &Row) {
    let spec = row.spec;
    let name = row.full_name.replace('|', " ").to_ascii_uppercase();
    let line = [name.as_str(), spec.syntax].join(" ");
    // Writing to a String cannot fail.
    let _ = writeln!(page, "\n### {name}\n");
    if !spec.syntax.is_empty() {
        let _ = writeln!(page, "`{}`\n", line.trim_end());
    }
    let mut facts = vec![format!("since {}", spec.since)];
    if !spec.complexity.is_empty() {
        facts.push(spec.complexity.trim_end_matches('.').to_owned());
    }
    let replies: Vec<&str> = spec.reply.iter().map(|&shape| word(shape)).collect();
    if !replies.is_empty() {
        facts.push(format!("replies {}", replies.join(" or ")));
    }
    let flags = flags(row);
    if !flags.is_empty() {
        facts.push(flags.join(" "));
    }
    facts.push(categories(row).iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(" "));
    let _ = writeln!(page, "{}\n\n*{}*", spec.summary, facts.join(" · "));
}

fn word(shape: ReplyShape) -> &'static str {
    match shape {
        ReplyShape::Ok => "OK",
        ReplyShape::Simple => "simple string",
        ReplyShape::Integer => "integer",
        ReplyShape::Bulk => "bulk string",
        ReplyShape::Double => "double",
        ReplyShape::Boolean => "boolean",
        ReplyShape::Null => "null",
        ReplyShape::Array => "array",
        ReplyShape::Map => "map",
        ReplyShape::Set => "set",
        ReplyShape::Push => "push",
        ReplyShape::Verbatim => "text",
        ReplyShape::Nothing => "nothing",
        ReplyShape::Lines => "lines without end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn commands_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
        if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
            std::fs::write(&path, commands_page()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert_eq!(page, commands_page(), "run again with STERNA_WRITE_DOCS=1 and commit docs/commands.md");
    }

    #[test]
    fn every_row_can_be_read_by_people() {
        for row in table().rows() {
            assert!(GROUPS.iter().any(|(group, _)| *group == row.spec.group), "{}", row.full_name);
            assert!(row.spec.summary.ends_with('.'), "{}", row.full_name);
            assert!(!row.spec.since.is_empty(), "{}", row.full_name);
            let is_container = !row.subcommands.is_empty();
            assert!(!row.spec.reply.is_empty() || is_container, "{} replies nothing", row.full_name);
        }
    }
}
