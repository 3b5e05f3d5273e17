//! `sterna --check-config FILE`: says what is wrong with a configuration, and starts nothing.

use sterna_config::{Config, Loaded};

use crate::Failure;

/// Reads the configuration, the users and the certificates that it names. What is only remarkable goes to the standard error.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let Loaded { config, warnings, file } = Config::load(args, sterna_server::LINE_CHECKS)?;
    crate::serve::enter_dir(&config)?;
    sterna_server::check(&config)?;
    config.logfile.as_deref().map_or(Ok(()), crate::logging::check)?;
    for warning in &warnings {
        eprintln!("{warning}");
    }
    match file {
        Some(path) => println!("{} is a configuration that a server starts with", path.display()),
        None => println!("a server starts with these options"),
    }
    Ok(())
}
