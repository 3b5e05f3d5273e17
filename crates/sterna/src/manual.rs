//! `sterna man` and `sterna completions SHELL`: what a package installs beside the program, from the same definitions that read
//! its words.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Failure, Tools, USAGE};

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the words that can follow, for a shell to complete.
pub(crate) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Tools::command(), "sterna", &mut text);
    print(&text)
}

/// Prints the manual page: the server first, then each tool.
pub(crate) fn man() -> Result<(), Failure> {
    let failed = |e| Failure::Io("cannot write the manual", e);
    let tools = Tools::command().about("real-time messaging server that speaks the Redis protocol");
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(tools.clone());
    page.render_title(&mut text).map_err(failed)?;
    page.render_name_section(&mut text).map_err(failed)?;
    // Its lines are set as they are.
    write!(text, ".SH SYNOPSIS\n.nf\n{}.fi\n", verbatim(USAGE)).map_err(failed)?;
    for tool in tools.get_subcommands().filter(|tool| !tool.is_hide_set()) {
        let page = clap_mangen::Man::new(tool.clone());
        writeln!(text, ".SH sterna {}", tool.get_name()).map_err(failed)?;
        page.render_description_section(&mut text).map_err(failed)?;
        page.render_options_section(&mut text).map_err(failed)?;
    }
    print(&text)
}

/// `text` as roff shows it unchanged.
fn verbatim(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    // A dot in front would be a request.
    escaped.lines().map(|line| format!("\\&{line}\n")).collect()
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(text) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Failure::Io("cannot print", e)),
    }
}
