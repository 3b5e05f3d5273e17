//! `sterna cluster`: makes the replicated log, shows where it stands, and checks what is below it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sterna_cluster::Settings;
use sterna_cluster::checkup::{self, CheckupError};
use sterna_cluster::log::audit::{Finding, Grade};
use sterna_config::Config;

use crate::Failure;

/// What to do with which cluster.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the replicated log. Nothing else ever does; one that is there is left alone
    Init {
        #[command(flatten)]
        place: Place,
        /// How many NATS servers keep a copy
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=5))]
        replicas: u64,
    },
    /// Show the nodes, with what each leads, listens to and lacks, the log's servers, and where it stands
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Check every NATS server, the log's stream and every frame in it, and say what to do about what is wrong
    Doctor {
        #[command(flatten)]
        place: Place,
        /// Monitoring port of a NATS server, to see whether it syncs each write; may be given for each
        #[arg(long = "monitor", value_name = "HOST:PORT")]
        monitors: Vec<String>,
    },
}

/// Which cluster: by the server's configuration, by arguments, or both.
#[derive(Debug, Args)]
struct Place {
    /// The server's configuration, for its cluster-* directives
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// NATS servers, as cluster-url
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The cluster's name, as cluster-name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many groups of keys have a log each, as cluster-groups
    #[arg(long, value_name = "COUNT")]
    groups: Option<u16>,
}

impl Place {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut args: Vec<String> = self.config.iter().map(|path| path.display().to_string()).collect();
        for (directive, value) in [("--cluster-url", &self.url), ("--cluster-name", &self.name)] {
            if let Some(value) = value {
                args.extend([directive.to_owned(), value.clone()]);
            }
        }
        if let Some(groups) = self.groups {
            let words =
                ["--cluster-groups", &groups.to_string(), "--cluster-keys", "yes", "--appendonly", "yes"];
            args.extend(words.map(str::to_owned));
        }
        let config = Config::load(&args, sterna_server::LINE_CHECKS)?.config;
        Settings::of(&config).map_err(CheckupError::from)?.ok_or(Failure::NoCluster)
    }
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match &options.verb {
        Verb::Init { place, replicas } => {
            let state = checkup::init(&place.settings()?, *replicas)?;
            let leader = state.leader.map(|leader| format!(", led by {leader}")).unwrap_or_default();
            match state.groups {
                0 | 1 => println!("made a log of {} replica(s){leader}", state.replicas),
                groups => println!("made {groups} logs of {} replica(s)", state.replicas),
            }
            Ok(())
        }
        Verb::Status { place } => {
            let settings = place.settings()?;
            let logs = checkup::status(&settings);
            if !matches!(logs, Err(CheckupError::Unreachable(_))) {
                checkup::nodes(&settings, logs.as_deref().unwrap_or_default())?.iter().for_each(show_node);
            }
            logs?.iter().try_for_each(show)
        }
        Verb::Doctor { place, monitors } => {
            let findings = checkup::doctor(&place.settings()?, monitors)?;
            findings.iter().for_each(print);
            match findings.iter().map(|finding| finding.grade).max() {
                Some(Grade::Bad) => Err(Failure::Ailing),
                _ => Ok(()),
            }
        }
    }
}

fn show(status: &checkup::Status) -> Result<(), Failure> {
    let state = &status.state;
    println!("stream {}, made {}", status.stream, state.created);
    println!("slots {} to {}, {} bytes", state.first, state.last, state.bytes);
    println!("NATS leader {}", state.leader.as_deref().unwrap_or("nobody"));
    for follower in &state.followers {
        let condition = match follower {
            follower if follower.is_offline => "away",
            follower if follower.is_current => "current",
            _ => "behind",
        };
        println!("NATS follower {} {condition}, lag {}", follower.name, follower.lag);
    }
    let survey = status.survey.as_ref().map_err(|fault| Failure::Log(*fault))?;
    let leader = if survey.leader.is_empty() { "nobody" } else { &survey.leader };
    println!("frames {}, records {}, skipped {}", survey.position.number, survey.records, survey.skipped);
    println!("term {}, claimed by {leader}", survey.position.term);
    match &status.snapshots {
        None => {}
        Some(Ok(kept)) if kept.is_empty() => println!("snapshots 0"),
        Some(Ok(kept)) => println!("snapshots {}, as of slots {kept:?}", kept.len()),
        Some(Err(error)) => println!("snapshots not known: {error}"),
    }
    Ok(())
}

fn show_node(node: &checkup::Node) {
    let checkup::Node { name, leads, buckets, held } = node;
    let leads = match (held.len(), &leads[..]) {
        (_, []) => String::new(),
        (1, _) => ", leads".to_owned(),
        (_, groups) => format!(", leads groups {groups:?}"),
    };
    print!("node {name}{leads}, listens in {buckets} of 256 buckets of channels");
    for held in held {
        match held {
            Some((slot, lag)) => print!(", has slot {slot}, lag {lag}"),
            None => print!(", has said nothing of the log"),
        }
    }
    println!();
}

fn print(finding: &Finding) {
    let mark = match finding.grade {
        Grade::Good => "ok     ",
        Grade::Doubtful => "warning",
        Grade::Bad => "BAD    ",
    };
    println!("{mark} {}", finding.what);
    if !finding.remedy.is_empty() {
        println!("        {}", finding.remedy);
    }
}
