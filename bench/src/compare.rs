//! The comparison: every workload against every peer, in turn, over several rounds.
//!
//! Peers take turns inside a workload and workloads inside a round, so that a machine that slows down slows all alike;
//! what is compared is the medians over the rounds.
use crate::args::Args;
use crate::callgrind;
use crate::limit::{Failure, Interrupt};
use crate::machine::{self, Cores, Cost, Description};
use crate::peer::{self, Found};
use crate::report::{self, Results};
use crate::workload::{self, Bench, Scale, Workload};
use std::fs;
use std::path::PathBuf;

/// Rounds in which the workloads that take minutes are measured.
const HEAVY_ROUNDS: u32 = 2;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let cost = if args.instructions { Cost::Instructions } else { Cost::CpuTime };
    let mut workloads = workload::select(&args.only)?;
    if cost == Cost::Instructions {
        workloads.retain(|workload| workload.unit.is_work());
    }
    let peers = peer::find(args)?;
    if args.list {
        list(&workloads, cost, &peers);
        return Ok(());
    }
    if cost == Cost::Instructions && !callgrind::is_installed() {
        return Err(Failure::NoValgrind);
    }
    if let (Some(folder), Cost::Instructions) = (&args.out, cost) {
        fs::create_dir_all(folder).map_err(|source| Failure::Report { path: folder.clone(), source })?;
    }
    let interrupt = Interrupt::install()?;
    let cores = Cores::split()?;
    let description = Description::read();
    machine::raise_open_files();
    cores.pin_load()?;
    let (scale, rounds) = if args.quick { (Scale::Quick, 1) } else { (Scale::Full, args.rounds) };

    let mut results = Results::new(description, rounds, cost, &peers, &workloads);
    let mut measure_all = || {
        for round in 1..=rounds {
            for workload in &workloads {
                if workload.work.heavy() && round > HEAVY_ROUNDS {
                    continue;
                }
                for found in &peers {
                    interrupt.check()?;
                    if !workload.peers.contains(&found.peer.id.kind()) {
                        continue;
                    }
                    let profile = profile_of(args, workload, found);
                    let bench = Bench { found, cores: &cores, interrupt: &interrupt, scale, cost, profile };
                    let outcome = workload.work.measure(&bench);
                    announce(round, workload, cost, found, &outcome);
                    if let Err(Failure::Interrupted) = outcome {
                        return Err(Failure::Interrupted);
                    }
                    results.add(round, workload.name, found.peer.id, outcome);
                }
            }
        }
        Ok(())
    };
    let measured = measure_all();
    if let (true, Some(folder)) = (args.keep, &args.out) {
        let path = folder.join("samples.csv");
        let earlier = fs::read_to_string(&path).map_err(|source| Failure::Report { path, source })?;
        results.keep(&earlier, &workload::select(&[])?);
    }
    // What was measured before an interruption is worth as much.
    report::write(&results, args.out.as_deref())?;
    measured
}

/// Where the profile of a measurement goes.
fn profile_of(args: &Args, workload: &Workload, found: &Found) -> Option<PathBuf> {
    let folder = args.out.as_ref().filter(|_| args.instructions)?;
    Some(folder.join(format!("{}.{}.callgrind", workload.name, found.peer.name)))
}

fn list(workloads: &[&Workload], cost: Cost, peers: &[Found]) {
    for workload in workloads {
        println!("{:<24} {} ({})", workload.name, workload.title, workload.unit.label(cost));
    }
    for found in peers {
        let state = if found.binary.is_some() { found.title() } else { "not found".to_owned() };
        println!("{:<24} {state}", found.peer.name);
    }
}

fn announce(
    round: u32,
    workload: &Workload,
    cost: Cost,
    found: &Found,
    outcome: &Result<workload::Figures, Failure>,
) {
    let (name, peer, unit) = (workload.name, found.peer.name, workload.unit.label(cost));
    match outcome {
        Ok(figures) => {
            let also: String =
                figures.also.iter().map(|(name, value)| format!(", {name} {value:.1}")).collect();
            eprintln!("{round}  {name:<20} {peer:<8} {:>12.1} {unit}{also}", figures.main);
        }
        Err(failure) => eprintln!("{round}  {name:<20} {peer:<8} {failure}"),
    }
}
