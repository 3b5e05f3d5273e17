//! Sterna: a real-time messaging server that speaks the Redis protocol.

use std::process::ExitCode;

use sterna_server::config::Config;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let loaded = match Config::load(&args) {
        Ok(loaded) => loaded,
        Err(e) => {
            eprintln!("sterna: {e}");
            return ExitCode::FAILURE;
        }
    };
    match sterna_server::start(loaded.config, None) {
        Ok(running) => {
            println!("{:?}", running.addresses);
            let _ = running.join();
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("sterna: {e}");
            ExitCode::FAILURE
        }
    }
}
