//! Sterna: a real-time messaging server that speaks the Redis protocol. One binary: without a subcommand it is the
//! server, with one it is a tool.
#![forbid(unsafe_code)]

mod backup;
mod check;
mod cluster;
mod compare;
mod daemon;
mod dumped;
mod export;
mod groups;
mod import;
mod journal;
mod lag;
mod link;
mod logging;
mod manual;
mod memory;
mod progress;
mod publish;
mod serve;
mod sub;
mod supervisor;
mod syslog;
mod tail;
mod tar;
mod target;
mod text;
mod top;
mod url;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

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
    /// Print the messages of channels, or of patterns with -g, as they arrive
    Sub(sub::Options),
    /// Publish a message, or each line of the standard input, and print how many subscribers got it
    Pub(publish::Options),
    /// Print what comes to channels or streams, from where one wants to begin, as text or JSON
    Tail(tail::Options),
    /// Show what a server does: messages, latency, shards, commands, slow clients, groups
    Top(top::Options),
    /// Show how far the consumer groups of streams are behind
    Lag(lag::Options),
    /// Look at a journal at rest, or repair it
    Journal(journal::Options),
    /// Bring keys from Redis or Valkey into Sterna, running or not
    Import(import::Options),
    /// Bring the keys of Sterna to Redis or Valkey, into a file or a running server
    Export(export::Options),
    /// Copy the journal of a running Sterna into a directory, as of one moment
    Backup(backup::BackupOptions),
    /// Verify a backup, and put it where a server finds it
    Restore(backup::RestoreOptions),
    /// Make the replicated log of several nodes, show it, or check it and the NATS servers below
    Cluster(cluster::Options),
    /// Compare this server with its peers
    Bench(BenchOptions),
    /// Print what a shell completes
    #[command(hide = true)]
    Completions(manual::Completions),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Args)]
struct BenchOptions {
    #[command(flatten)]
    args: sterna_bench::Args,
}

const USAGE: &str = "\
Usage: sterna [path/to/redis.conf | -] [--name value ...]   start the server
       sterna sub CHANNEL... | -g PATTERN...                print messages as they arrive
       sterna pub CHANNEL [MESSAGE]                         publish a message, or lines of the standard input
       sterna tail CHANNEL|STREAM... | -g PATTERN...        the same for streams as well, from any entry on
       sterna top                                           what a server does, in a terminal
       sterna lag [STREAM...]                               how far consumer groups are behind
       sterna journal check|dump|repair DIR                 look at a journal at rest, or repair it
       sterna import DIR|FILE [--into DIR] | --from URL     move in from Redis or Valkey
       sterna export --rdb FILE | --to URL                  move out to Redis or Valkey
       sterna backup DIR | -                                copy the journal of a running server
       sterna restore DIR [--into DIR]                      verify a backup, and put it in place
       sterna cluster init|status|doctor                    the log that nodes share, and NATS below it
       sterna bench                                         compare with other servers
       sterna --check-config FILE [--name value ...]        say what is wrong with a configuration, and start nothing
       sterna completions bash|zsh|fish, sterna man          for packages
       sterna --version | --help | help [COMMAND]

The server takes redis.conf's directives, from a file or as --name value. Without any it listens on
127.0.0.1:6379, one shard a core. Some to begin with:

  --port 6379                     plain TCP; 0 turns it off
  --requirepass PASSWORD          password of the default user
  --tls-self-signed               TLS on port 6380 with a certificate for development
  --tls-port 6380 --tls-cert-file FILE --tls-key-file FILE --tls-auth-clients no
                                  TLS with your certificate, for clients that have none
  --bind 127.0.0.1 ::1            addresses to listen on
  --threads N                     shards; 0 is one a core

The tools take redis-cli's -h HOST -p PORT -a PASSWORD --tls --cacert FILE -u URL. `sterna help sub` says more about `sub`,
and so on; docs/configuration.md lists every directive.
";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let first = args.first().and_then(|first| first.to_str()).unwrap_or_default();
    match first {
        "help" if args.len() > 1 => help(&args[1]),
        "-h" | "--help" | "help" => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        "-v" | "-V" | "--version" => {
            let version = sterna_server::VERSION;
            println!("Sterna {} (Redis {} protocol and commands)", version.sterna, version.redis);
            ExitCode::SUCCESS
        }
        "--check-config" => report(texts(&args[1..]).and_then(|args| check::check(&args))),
        word if is_tool(word) => report(run_tool()),
        // A slip of the pen, unless there is such a file.
        word if is_word(word) && !Path::new(word).exists() => report(Err(Failure::no_tool(word))),
        _ => report(texts(&args).and_then(|args| serve::serve(&args))),
    }
}

fn is_tool(word: &str) -> bool {
    Tools::command().find_subcommand(word).is_some()
}

/// Whether it looks like the name of a tool rather than a path, an option, or a server's URL.
fn is_word(word: &str) -> bool {
    let is_of_names = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
    word.starts_with(char::is_alphanumeric) && word.chars().all(is_of_names)
}

/// `sterna help sub` is `sterna sub --help`.
fn help(tool: &OsStr) -> ExitCode {
    let name = tool.to_string_lossy();
    if !is_tool(&name) {
        return report(Err(Failure::no_tool(&name)));
    }
    let asked = Tools::try_parse_from([OsStr::new("sterna"), tool, OsStr::new("--help")]);
    match asked {
        Err(text) => {
            // A closed output is nobody's mistake.
            let _ = text.print();
            if text.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Ok(_) => ExitCode::SUCCESS,
    }
}

/// The arguments as text: redis.conf's language, on the command line, is text.
fn texts(args: &[OsString]) -> Result<Vec<String>, Failure> {
    let text = |(index, arg): (usize, &OsString)| {
        let text = arg.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::NotText(index + 1, arg.to_string_lossy().into_owned()))
    };
    args.iter().enumerate().map(text).collect()
}

fn run_tool() -> Result<(), Failure> {
    match Tools::parse().tool {
        Tool::Sub(options) => sub::run(&options),
        Tool::Pub(options) => publish::run(&options),
        Tool::Tail(options) => tail::run(&options),
        Tool::Top(options) => top::run(options),
        Tool::Lag(options) => lag::run(&options),
        Tool::Journal(options) => journal::run(&options),
        Tool::Import(options) => import::run(&options),
        Tool::Export(options) => export::run(&options),
        Tool::Backup(options) => backup::backup(&options),
        Tool::Restore(options) => backup::restore(&options),
        Tool::Cluster(options) => cluster::run(&options),
        Tool::Completions(options) => manual::completions(&options),
        Tool::Man => manual::man(),
        Tool::Bench(options) => sterna_bench::run(options.args).map_err(|e| Failure::Bench(e.to_string())),
    }
}

/// Why the program ends with an error. Each is one line.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(
        "'{word}' is no command and no file{} (`sterna help` lists the commands)",
        meant.as_ref().map_or(String::new(), |meant| format!("; did you mean `sterna {meant}`?"))
    )]
    NoTool {
        /// What was written.
        word: String,
        /// The command that it resembles.
        meant: Option<String>,
    },
    #[error("argument {0}, '{1}', is not UTF-8: the server's options are text")]
    NotText(usize, String),
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
    #[error("{} {}: {}", .0, .1.display(), .2)]
    File(&'static str, PathBuf, std::io::Error),
    #[error("journal in {}: {}", .0.display(), .1)]
    Journal(PathBuf, sterna_journal::Error),
    #[error("the journal is damaged; `sterna journal repair` makes it start again")]
    Unsound,
    #[error("there is no journal in {}: no MANIFEST, no segment, no snapshot{}", .0.display(), .1)]
    NoJournal(PathBuf, String),
    #[error("{}: {}", .0.display(), .1)]
    Rdb(PathBuf, sterna_rdb::RdbError),
    #[error(transparent)]
    Found(#[from] sterna_rdb::DirectoryError),
    #[error("{}: {}", .0.display(), .1)]
    Choice(PathBuf, String),
    #[error("{0} (--keep-going passes over what can't be brought in)")]
    Load(#[from] sterna_server::LoadError),
    #[error("{} is not empty, and files of two servers never mix", .0.display())]
    NotEmpty(PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Export(PathBuf, std::io::Error),
    #[error("backup in {}: {}", .0.display(), .1)]
    Backup(PathBuf, String),
    #[error("{0} holds keys: --follow makes it equal to the source, and --replace has it emptied first")]
    TargetHolds(String),
    #[error("{0} and {1} are one server: it would be emptied")]
    Same(String, String),
    #[error("{0} bytes of what the source has done have not come")]
    Behind(u64),
    #[error("{0} and {1} differ")]
    Differ(String, String),
    #[error(
        "in the background there is no standard input to read a configuration from: daemonize wants a file"
    )]
    BackgroundInput,
    #[error("the server in the background has ended")]
    Background,
    #[error("some of these names are streams and some are not: --stream or --channel says what is meant")]
    Mixed,
    #[error("{0} of {1} groups are too far behind")]
    Above(usize, usize),
    #[error("keys were left")]
    NotAll,
    #[error("stopped at {0} (--keep-going passes over it)")]
    Stopped(String),
    #[error("{0}")]
    Bench(String),
}

impl Failure {
    /// A word that stands where a tool is named, and is none.
    fn no_tool(word: &str) -> Failure {
        let command = Tools::command();
        let names = command.get_subcommands().filter(|tool| !tool.is_hide_set()).map(|tool| tool.get_name());
        let meant = sterna_config::nearest(&word.to_lowercase(), names);
        Failure::NoTool { word: word.to_owned(), meant: meant.map(str::to_owned) }
    }
}

fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sterna: {failure}");
            match failure {
                // Whoever watches tells it from a server that can't be asked.
                Failure::Above(..) => ExitCode::from(2),
                // As for any argument that is wrong.
                Failure::NoTool { .. } => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of each command of Sterna's in a page: lines of code, and what stands between backquotes.
    fn commands_in(page: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut is_code = false;
        for line in page.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
                continue;
            }
            let spans: Vec<&str> = match is_code || line.starts_with("    ") {
                true => line.split(['|', '&', ';']).collect(),
                false => line.split('`').skip(1).step_by(2).collect(),
            };
            for span in spans {
                let span = span.trim().trim_start_matches("$ ").trim_start_matches("cargo run --release -- ");
                let span =
                    if span.starts_with("cargo") { "" } else { span.split('#').next().unwrap_or_default() };
                let words: Vec<String> = span.split_whitespace().map(str::to_owned).collect();
                let is_tool_of_cargo =
                    line.contains("--release -- ") && words.first().is_some_and(|word| is_tool(word));
                match words.split_first() {
                    Some((first, rest)) if first == "sterna" => found.push(rest.to_vec()),
                    Some(_) if is_tool_of_cargo => found.push(words),
                    _ => {}
                }
            }
        }
        found
    }

    /// What is wrong with a command that a page shows.
    fn wrong_with(words: &[String]) -> Option<String> {
        let command = Tools::command();
        let (first, rest) = words.split_first()?;
        if !is_tool(first) {
            let options = words.iter().filter_map(|word| word.strip_prefix("--"));
            let known = |name: &&str| {
                let name = name.split(['=', ' ']).next().unwrap_or_default();
                sterna_config::OptionRow::named(name.as_bytes()).is_some()
                    || ["version", "help", "check-config"].contains(&name)
            };
            let strange = options.filter(|name| !name.is_empty()).find(|name| !known(name));
            return strange.map(|name| format!("--{name} is no directive"));
        }
        let mut tool = command.find_subcommand(first)?;
        if let Some(inner) =
            rest.first().and_then(|word| tool.find_subcommand(word.split('|').next().unwrap_or(word)))
        {
            tool = inner;
        }
        let arguments: Vec<&clap::Arg> = tool.get_arguments().collect();
        let is_known = |word: &str| match word.strip_prefix("--") {
            Some(long) => long == "help" || arguments.iter().any(|arg| arg.get_long() == Some(long)),
            None => arguments.iter().any(|arg| arg.get_short() == word.chars().nth(1)),
        };
        let options = rest.iter().map(|word| word.trim_end_matches([']', ',', ')']).trim_start_matches('['));
        let strange =
            options.filter(|word| word.len() > 1 && word.starts_with('-')).find(|word| !is_known(word));
        strange.map(|word| format!("{first} has no {word}"))
    }

    /// Letters that were taken away, options that were renamed: what a page shows can be typed.
    #[test]
    fn pages_show_commands_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut pages: Vec<PathBuf> =
            vec![root.join("README.md"), root.join("CHANGELOG.md"), root.join("examples/README.md")];
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
        let mut seen = 0;
        for page in pages {
            let text = std::fs::read_to_string(&page).unwrap();
            for words in commands_in(&text) {
                seen += 1;
                assert_eq!(wrong_with(&words), None, "{}: sterna {}", page.display(), words.join(" "));
            }
        }
        assert!(seen > 50, "{seen} commands were found");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(wrong_with(&words("backup /x -P 6379")).is_some());
        assert!(wrong_with(&words("--no-such-directive yes")).is_some());
    }
}
