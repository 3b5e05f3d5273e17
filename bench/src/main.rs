//! The benchmark on its own; `sterna bench` is the same.
use clap::Parser as _;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(name = "sterna-bench", version)]
struct Cli {
    #[command(flatten)]
    args: sterna_bench::Args,
}

fn main() -> ExitCode {
    match sterna_bench::run(Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
