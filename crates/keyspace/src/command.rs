//! The commands on keys: a row of the command table beside the function that runs it.

use sterna_command::Command;

use crate::context::Run;

mod del;
mod get;
mod set;

/// Every command of this crate, in alphabetical order.
pub static COMMANDS: &[Command<Run>] = &[del::DEL, get::GET, set::SET];

/// An ordinary command.
const fn row(spec: sterna_command::Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}
