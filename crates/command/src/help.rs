//! HELP of container commands, made from their rows.

use crate::Spec;

/// The lines of `CONTAINER HELP`: how to call it, then each subcommand with its arguments and, indented, its summary.
///
/// `container` is the container's name in any case; `subcommands` are in the order shown.
/// Source: the first line and the indentation are Redis's; redis-cli prints them as they come.
pub fn help_lines<'a>(container: &str, subcommands: impl IntoIterator<Item = &'a Spec>) -> Vec<String> {
    let name = container.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for spec in subcommands {
        lines.push(format!("{} {}", spec.name.to_ascii_uppercase(), spec.syntax).trim_end().to_owned());
        lines.push(format!("    {}", spec.summary));
    }
    lines
}
