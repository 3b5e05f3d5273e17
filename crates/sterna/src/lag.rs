//! `sterna lag`: how far the consumer groups of streams are behind, for people and for whoever watches over them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use crate::Failure;
use crate::groups::{self, Consumer, Group, Walk};
use crate::link::{Link, Reach};
use crate::text::{Plain, Text};

/// Which groups, and from when on they are too far behind.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: Reach,
    /// End with status 2 if a group is more than so many entries behind
    #[arg(long, value_name = "ENTRIES")]
    max: Option<u64>,
    /// End with status 2 if an entry was delivered, and not acknowledged, for more than so many seconds
    #[arg(long, value_name = "SECONDS")]
    max_pending: Option<u64>,
    /// Seconds after which a consumer that does not ask counts as idle
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle: u64,
    /// Print a line of JSON for each group
    #[arg(long)]
    json: bool,
    /// Streams, as glob patterns; all of the database if there is none
    #[arg(value_name = "STREAM")]
    streams: Vec<OsString>,
}

/// Prints a line for each group, those that are the furthest behind first.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    let streams = find(&mut link, &options.streams)?;
    let mut groups = groups::groups(&mut link, &streams)?;
    groups::add_oldest(&mut link, &mut groups)?;
    // What is not known may be anything.
    groups.sort_by_key(|group| std::cmp::Reverse(group.lag.unwrap_or(u64::MAX)));
    let mut rows = Vec::new();
    for group in groups {
        let consumers = groups::consumers(&mut link, &group)?;
        rows.push((group, consumers));
    }
    let is_above = |group: &Group| {
        let is_behind = options.max.is_some_and(|max| group.lag.is_none_or(|lag| lag > max));
        let idle_ms = group.oldest.as_ref().map_or(0, |oldest| oldest.idle_ms);
        is_behind || options.max_pending.is_some_and(|max| idle_ms > max.saturating_mul(1000))
    };
    let above = rows.iter().filter(|(group, _)| is_above(group)).count();
    let text = if options.json {
        let line = |(group, consumers): &(Group, Vec<Consumer>)| {
            json(group, consumers, options.idle, is_above(group))
        };
        rows.iter().map(line).collect()
    } else {
        table(&rows, options.idle)
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(|e| Failure::Io("cannot print", e))?,
    }
    if above > 0 { Err(Failure::Above(above, rows.len())) } else { Ok(()) }
}

/// The streams whose names match, each once, in order.
fn find(link: &mut Link, patterns: &[OsString]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = BTreeSet::new();
    let mut walks: Vec<Walk> =
        patterns.iter().map(|pattern| Walk::new(Some(pattern.as_bytes().to_vec()))).collect();
    if walks.is_empty() {
        walks.push(Walk::new(None));
    }
    for walk in &mut walks {
        loop {
            let (streams, is_last) = walk.slice(link)?;
            found.extend(streams);
            if is_last {
                break;
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn idle(consumers: &[Consumer], idle_s: u64) -> usize {
    consumers.iter().filter(|consumer| consumer.idle_ms > idle_s.saturating_mul(1000)).count()
}

fn json(group: &Group, consumers: &[Consumer], idle_s: u64, is_above: bool) -> String {
    let mut line = format!("{{\"stream\":{},\"group\":{}", Text(&group.stream), Text(&group.name));
    // Writing to a String cannot fail.
    let _ = match group.lag {
        Some(lag) => write!(line, ",\"lag\":{lag}"),
        None => write!(line, ",\"lag\":null"),
    };
    let last = Text(group.last_delivered.as_bytes());
    let _ = write!(line, ",\"pending\":{},\"last_delivered\":{last}", group.pending);
    let _ = match &group.oldest {
        None => write!(line, ",\"oldest_pending\":null"),
        Some(oldest) => write!(
            line,
            ",\"oldest_pending\":{{\"id\":{},\"consumer\":{},\"idle_ms\":{},\"deliveries\":{}}}",
            Text(oldest.id.as_bytes()),
            Text(&oldest.consumer),
            oldest.idle_ms,
            oldest.deliveries
        ),
    };
    let rows: Vec<String> = (consumers.iter())
        .map(|consumer| {
            let inactive = consumer.inactive_ms.map_or_else(|| "null".to_owned(), |ms| ms.to_string());
            format!(
                "{{\"name\":{},\"pending\":{},\"idle_ms\":{},\"inactive_ms\":{inactive}}}",
                Text(&consumer.name),
                consumer.pending,
                consumer.idle_ms
            )
        })
        .collect();
    let idle = idle(consumers, idle_s);
    let _ = writeln!(
        line,
        ",\"consumers\":[{}],\"idle_consumers\":{idle},\"above\":{is_above}}}",
        rows.join(",")
    );
    line
}

/// Rows in columns as wide as what is in them.
fn table(rows: &[(Group, Vec<Consumer>)], idle_s: u64) -> String {
    let head = ["STREAM", "GROUP", "BEHIND", "PENDING", "OLDEST PENDING", "FOR", "CONSUMERS", "IDLE"];
    let mut cells: Vec<[String; 8]> = vec![head.map(str::to_owned)];
    for (group, consumers) in rows {
        let (oldest, time) = match &group.oldest {
            Some(oldest) => (oldest.id.clone(), duration(oldest.idle_ms)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        cells.push([
            Plain(&group.stream).to_string(),
            Plain(&group.name).to_string(),
            group.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
            group.pending.to_string(),
            oldest,
            time,
            consumers.len().to_string(),
            idle(consumers, idle_s).to_string(),
        ]);
    }
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 8]| {
        let padded: Vec<String> = (row.iter().zip(&widths).enumerate())
            // Names stand on the left, numbers on the right.
            .map(
                |(column, (cell, &width))| {
                    if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!("{}\n", padded.join("  "))
    };
    cells.iter().map(line).collect()
}

/// Milliseconds for people: `730ms`, `12s`, `5m`, `3h`, `2d`.
pub(crate) fn duration(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms}ms"),
        s @ 1..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
        let rows = [
            (0, "0ms"),
            (999, "999ms"),
            (61_000, "61s"),
            (600_000, "10m"),
            (7_200_000, "2h"),
            (864_000_000, "10d"),
        ];
        for (ms, expected) in rows {
            assert_eq!(duration(ms), expected);
        }
    }
}
