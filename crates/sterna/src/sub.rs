//! `sterna sub`: prints messages as they arrive.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use sterna_protocol::decode::Value;

use crate::Failure;
use crate::link::{Link, Reach};
use crate::text::Plain;

/// What to listen to.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: Reach,
    /// Listen to patterns (* ? [a-z]) as well; may be repeated
    #[arg(short = 'g', long = "pattern", value_name = "PATTERN", num_args = 1..)]
    patterns: Vec<OsString>,
    /// End when the connection breaks, instead of connecting again
    #[arg(long)]
    once: bool,
    /// Channels to listen to
    #[arg(required_unless_present = "patterns", value_name = "CHANNEL")]
    channels: Vec<OsString>,
}

/// Prints a line for each message, `channel message`. Connects again when the connection breaks; what was published meanwhile is
/// lost, unless the server keeps it for a name (`resume-window`).
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    loop {
        let error = match listen(&mut link, options) {
            Ok(()) => return Ok(()),
            Err(Failure::Link(error)) if error.may_pass() && !options.once => error,
            Err(failure) => return Err(failure),
        };
        eprintln!("{error}; connecting again");
        link = Link::open_again(&options.reach)?;
    }
}

/// Subscribes, and prints what comes until whoever reads it has had enough.
fn listen(link: &mut Link, options: &Options) -> Result<(), Failure> {
    for (command, names) in [("SUBSCRIBE", &options.channels), ("PSUBSCRIBE", &options.patterns)] {
        if !names.is_empty() {
            let names = names.iter().map(|name| name.as_bytes());
            let words: Vec<&[u8]> = std::iter::once(command.as_bytes()).chain(names).collect();
            link.send(&words)?;
        }
    }
    loop {
        let value = link.receive()?;
        if let Some(mut line) = line_of(&value) {
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                // Whoever publishes is not to move its cursor.
                line = format!("{}\n", Plain(line.strip_suffix(b"\n").unwrap_or(&line))).into_bytes();
            }
            let written = out.write_all(&line).and_then(|()| out.flush());
            match written {
                // Whoever read our output has had enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(|e| Failure::Io("cannot print", e))?,
            }
        }
    }
}

/// The line for a message or a confirmation; confirmations go to stderr, so that output can be piped.
fn line_of(value: &Value) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = value.as_slice()?.iter().filter_map(Value::as_bytes).collect();
    match parts[..] {
        [b"message", channel, payload] | [b"pmessage", _, channel, payload] => {
            Some([channel, b" ", payload, b"\n"].concat())
        }
        [b"subscribe" | b"psubscribe", name] => {
            eprintln!("listening to {}", Plain(name));
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_with_its_channel_and_anything_else_is_none() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let rows = [
            (vec!["message", "news", "hello world"], Some("news hello world\n")),
            (vec!["pmessage", "n*", "news", "hi"], Some("news hi\n")),
            (vec!["pong", ""], None),
        ];
        for (parts, line) in rows {
            let value = Value::Array(parts.iter().copied().map(bulk).collect());
            assert_eq!(line_of(&value).as_deref(), line.map(str::as_bytes), "{parts:?}");
        }
    }
}
