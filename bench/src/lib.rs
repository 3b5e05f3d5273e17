//! Load generator and comparison with the peers.
//!
//! One question: what does a server pay for a delivery, a subscription, a command? The answer is its CPU time before and
//! after, divided by what was done in between, so the load generator may be as slow as it likes and a busy machine
//! stretches every peer alike. With `--instructions` it is its instructions, which a busy machine doesn't stretch at all.
//!
//! ```text
//!   compare ── for each round, workload, peer ──► Server (child, core S)   redis, valkey, nats, sterna, floor
//!      │                                            ▲  │
//!      │                                    sockets │  │ /proc/PID/task/*/schedstat, status
//!      │                                            │  ▼
//!      └──────────── workload ─────────────────► Swarm (this process, core L): counts bytes, parses nothing
//!      └──► report: medians, ratios, targets ──► README.md, fan-out.svg, samples.csv
//! ```
//!
//! Invariants
//! - Every wait has a bound (`limit::Limit`) and ends early on SIGINT or SIGTERM.
//! - A server that was started is stopped when its `peer::Server` is dropped, so also on an error or a panic.
//! - While the clock runs, the load generator reads lengths only: frames are of fixed size, or lines are counted.
//!
//! A workload is a row of `workload/table/`; a peer is a row of `peer/table.rs`. Adding either touches nothing else.
#![forbid(unsafe_code)]

mod args;
mod callgrind;
mod compare;
mod floor;
mod limit;
mod load;
mod machine;
mod peer;
mod report;
mod workload;

pub use args::Args;
pub use limit::Failure;

/// Runs what `args` ask for: the comparison, or, in a child process, the floor server.
///
/// Progress goes to stderr. Errors: the arguments name nothing that exists, the report can't be written, or the run was
/// interrupted; a peer that fails a workload is a cell of the report, not an error.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.floor {
        Some(port) => floor::serve(port),
        None => compare::run(&args),
    }
}
