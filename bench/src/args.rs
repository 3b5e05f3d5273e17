//! What can be asked for on the command line.
use std::path::PathBuf;

/// Compare this server with its peers: server CPU per delivery, latency, memory.
///
/// Starts each peer it finds on a free port of 127.0.0.1, pins server and load to different cores, runs every workload
/// in turn over several rounds and writes medians, ratios and a chart.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Workloads to run, by name or by the start of it (`--list` shows them)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Peers to run: floor, sterna, redis, valkey, redis8, kevy, nats, before
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub peers: Vec<String>,

    /// Rounds over all workloads and peers; the report has their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// One short round with small numbers: shows that everything runs, measures nothing of worth
    #[arg(long)]
    pub quick: bool,

    /// Folder for the report (README.md, charts, samples.csv); without it the table goes to stdout only
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Keep the rows of the report in that folder that are not measured now
    #[arg(long, requires = "out")]
    pub keep: bool,

    /// Server binary to measure as Sterna; by default the running one, or `sterna` beside it
    #[arg(long, value_name = "PATH")]
    pub sterna: Option<PathBuf>,

    /// Another build of Sterna, a peer called `before`: what a change costs or saves
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,

    /// Count the servers' instructions (valgrind's callgrind) in place of their CPU time: exact on a busy machine, blind to the
    /// kernel and to caches. With `--out` the profiles are kept, for callgrind_annotate
    #[arg(long)]
    pub instructions: bool,

    /// List the workloads and the peers found, and run nothing
    #[arg(long)]
    pub list: bool,

    /// Serve as the floor on this port (used by the benchmark for its own child)
    #[arg(long, hide = true, value_name = "PORT")]
    pub floor: Option<u16>,
}
