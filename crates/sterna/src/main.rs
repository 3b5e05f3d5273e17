//! Sterna: a real-time messaging server that speaks the Redis protocol. One binary: without a subcommand it is the
//! server, with one it is a tool.
#![forbid(unsafe_code)]

mod backup;
mod cluster;
mod dumped;
mod export;
mod import;
mod journal;
mod link;
mod logging;
mod memory;
mod progress;
mod publish;
mod serve;
mod sub;
mod tar;
mod url;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// jemalloc: the server's memory is many small, long-lived pieces of a few sizes, freed on any shard's whim, and its
/// statistics are what INFO's `used_memory` reports. Measured against the system's allocator and mimalloc in
/// `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The tools. The server's own arguments are redis.conf's language and are read by `sterna_config`.
#[derive(Debug, Parser)]
#[command(name = "sterna", disable_help_subcommand = true, arg_required_else_help = true)]
struct Tools {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Print the messages of channels, or of patterns with -p, as they arrive
    Sub(sub::Options),
    /// Publish a message and print how many subscribers got it
    Pub(publish::Options),
    /// Look at a journal at rest, or repair it
    Journal(journal::Options),
    /// Bring keys from Redis or Valkey into Sterna, running or not
    Import(import::Options),
    /// Write the keys of a running Sterna into a file for Redis or Valkey
    Export(export::Options),
    /// Copy the journal of a running Sterna into a directory, as of one moment
    Backup(backup::BackupOptions),
    /// Verify a backup, and put it where a server finds it
    Restore(backup::RestoreOptions),
    /// Make the replicated log of several nodes, show it, or check it and the NATS servers below
    Cluster(cluster::Options),
    /// Compare this server with its peers
    Bench(BenchOptions),
}

#[derive(Debug, Args)]
struct BenchOptions {
    #[command(flatten)]
    args: sterna_bench::Args,
}

const USAGE: &str = "\
Usage: sterna [path/to/redis.conf | -] [--name value ...]   start the server
       sterna sub CHANNEL... | -p PATTERN...                print messages as they arrive
       sterna pub CHANNEL MESSAGE                           publish a message
       sterna journal check|dump|repair DIR                 look at a journal at rest, or repair it
       sterna import DIR|FILE | --from URL [--into DIR]     move in from Redis or Valkey
       sterna export --rdb FILE                             move out to Redis or Valkey
       sterna backup DIR | -                                copy the journal of a running server
       sterna restore DIR [--into DIR]                      verify a backup, and put it in place
       sterna cluster init|status|doctor                    the log that nodes share, and NATS below it
       sterna bench                                         compare with other servers
       sterna --version | --help

The server takes redis.conf's directives, from a file or as --name value. Without any it listens on
127.0.0.1:6379, one shard a core. Some to begin with:

  --port 6379                     plain TCP; 0 turns it off
  --requirepass PASSWORD          password of the default user
  --tls-self-signed               TLS on port 6380 with a certificate for development
  --tls-port 6380 --tls-cert-file FILE --tls-key-file FILE --tls-auth-clients no
                                  TLS with your certificate, for clients that have none
  --bind 127.0.0.1 ::1            addresses to listen on
  --threads N                     shards; 0 is one a core

`sterna sub --help`, `sterna pub --help` and `sterna bench --help` say more about the tools;
docs/configuration.md lists every directive.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(
            "sub" | "pub" | "journal" | "import" | "export" | "backup" | "restore" | "cluster" | "bench",
        ) => report(run_tool()),
        Some("-h" | "--help") => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some("-v" | "-V" | "--version") => {
            let version = sterna_server::VERSION;
            println!("Sterna {} (Redis {} protocol and commands)", version.sterna, version.redis);
            ExitCode::SUCCESS
        }
        _ => report(serve::serve(&args)),
    }
}

fn run_tool() -> Result<(), Failure> {
    match Tools::parse().tool {
        Tool::Sub(options) => sub::run(&options),
        Tool::Pub(options) => publish::run(&options),
        Tool::Journal(options) => journal::run(&options),
        Tool::Import(options) => import::run(&options),
        Tool::Export(options) => export::run(&options),
        Tool::Backup(options) => backup::backup(&options),
        Tool::Restore(options) => backup::restore(&options),
        Tool::Cluster(options) => cluster::run(&options),
        Tool::Bench(options) => sterna_bench::run(options.args).map_err(|e| Failure::Bench(e.to_string())),
    }
}

/// Why the program ends with an error. Each is one line.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] sterna_config::ConfigError),
    #[error(transparent)]
    Start(#[from] sterna_server::StartError),
    #[error(transparent)]
    Cluster(#[from] sterna_cluster::ClusterError),
    #[error(transparent)]
    Checkup(#[from] sterna_cluster::checkup::CheckupError),
    #[error("no cluster-url: give a configuration that has it, or --url")]
    NoCluster,
    #[error("something is wrong that loses acknowledged writes, or keeps the cluster from working")]
    Ailing,
    #[error("the log is damaged: {0}; `sterna cluster doctor` says more")]
    Log(sterna_cluster::log::Fault),
    #[error(transparent)]
    Link(#[from] link::LinkError),
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
    #[error("journal in {}: {}", .0.display(), .1)]
    Journal(std::path::PathBuf, sterna_journal::Error),
    #[error("the journal is damaged; `sterna journal repair` makes it start again")]
    Unsound,
    #[error("there is no journal in {}: no MANIFEST, no segment, no snapshot{}", .0.display(), .1)]
    NoJournal(std::path::PathBuf, String),
    #[error("{}: {}", .0.display(), .1)]
    Rdb(std::path::PathBuf, sterna_rdb::RdbError),
    #[error(transparent)]
    Found(#[from] sterna_rdb::DirectoryError),
    #[error("{}: {}", .0.display(), .1)]
    Choice(std::path::PathBuf, String),
    #[error("{0} (--keep-going passes over what can't be brought in)")]
    Load(#[from] sterna_server::LoadError),
    #[error("{} is not empty, and files of two servers never mix", .0.display())]
    NotEmpty(std::path::PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Export(std::path::PathBuf, std::io::Error),
    #[error("backup in {}: {}", .0.display(), .1)]
    Backup(std::path::PathBuf, String),
    #[error("{0} holds keys: --follow makes it equal to the source, and --replace has it emptied first")]
    TargetHolds(String),
    #[error("{0} bytes of what the source has done have not come")]
    Behind(u64),
    #[error("{0} and {1} differ")]
    Differ(String, String),
    #[error("keys were left")]
    NotAll,
    #[error("stopped at {0} (--keep-going passes over it)")]
    Stopped(String),
    #[error("{0}")]
    Bench(String),
}

fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sterna: {failure}");
            ExitCode::FAILURE
        }
    }
}
