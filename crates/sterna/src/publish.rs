//! `sterna pub`: publishes a message, or each line of the standard input.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use crate::Failure;
use crate::link::{Link, Reach};

/// What to publish.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: Reach,
    /// Channel to publish to
    channel: OsString,
    /// The message; without one each line of the standard input is a message
    message: Option<OsString>,
}

/// Publishes, and prints how many deliveries that caused.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    let channel = options.channel.as_bytes();
    let mut publish = |message: &[u8]| -> Result<i64, Failure> {
        link.send(&[b"PUBLISH", channel, message])?;
        Ok(link.receive()?.as_int().ok_or_else(|| link.nonsense("not that of PUBLISH"))?)
    };
    let deliveries = match &options.message {
        Some(message) => publish(message.as_bytes())?,
        None => {
            let (mut sum, mut line, mut input) = (0, Vec::new(), io::stdin().lock());
            let mut read = |line: &mut Vec<u8>| {
                line.clear();
                let n = input.read_until(b'\n', line);
                n.map_err(|e| Failure::Io("cannot read the standard input", e))
            };
            while read(&mut line)? > 0 {
                let message = line.strip_suffix(b"\n").unwrap_or(&line);
                sum += publish(message.strip_suffix(b"\r").unwrap_or(message))?;
            }
            sum
        }
    };
    println!("{deliveries}");
    Ok(())
}
