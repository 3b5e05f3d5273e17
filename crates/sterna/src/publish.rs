//! `sterna pub`: publishes one message.

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
    channel: String,
    /// The message
    message: String,
}

/// Publishes, and prints how many deliveries that caused.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    let reply = link.ask(&["PUBLISH", &options.channel, &options.message])?;
    println!("{}", reply.as_int().unwrap_or_default());
    Ok(())
}
