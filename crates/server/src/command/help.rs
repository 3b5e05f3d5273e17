//! HELP of container commands, made from their rows.

use sterna_command::help_lines;

use super::table::table;
use super::{Call, Failure};

/// The reply to `CONTAINER HELP`.
pub(super) fn help(call: &mut Call<'_>) -> Result<(), Failure> {
    let Some(parent) = call.row.parent else { return Err(Failure::SYNTAX) };
    let container = table().row(parent);
    let lines = help_lines(container.spec.name, container.subcommands.iter().map(|&id| table().row(id).spec));
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}
