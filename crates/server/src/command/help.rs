//! HELP of container commands, made from their rows.

use std::fmt::Write;

use super::table::table;
use super::{Call, Failure, Flow};

/// The reply to `CONTAINER HELP`: a line on how to call it, then each subcommand with its arguments and summary.
pub(super) fn help(call: &mut Call<'_>) -> Result<Flow, Failure> {
    let Some(parent) = call.row.parent else { return Err(Failure::SYNTAX) };
    let container = table().row(parent);
    let name = container.spec.name.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for &id in &container.subcommands {
        let spec = table().row(id).spec;
        let mut line = spec.name.to_ascii_uppercase();
        if !spec.syntax.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {}", spec.syntax);
        }
        lines.push(line);
        lines.push(format!("    {}", spec.summary));
    }
    call.reply.array(lines.len());
    for line in &lines {
        call.reply.simple(line);
    }
    Ok(Flow::Next)
}
