//! The page: how it was measured, targets, and a table for each section.
use super::chart::Chart;
use super::figure;
use super::results::{Column, Results};
use super::verdict::{REDIS_FAMILY, Verdict};
use crate::machine::Cost;
use crate::peer::PeerId;
use crate::workload::{Section, Workload};
use std::fmt::Write as _;

/// The report as Markdown; `charts` are shown above the tables of their sections.
///
/// Writing to a String can't fail, so the results of `writeln!` are dropped throughout.
pub(super) fn page(results: &Results, charts: &[Chart]) -> String {
    let mut page = String::new();
    introduction(&mut page, results);
    if results.cost == Cost::CpuTime {
        targets(&mut page, results);
    }
    for section in Section::ALL {
        let rows: Vec<&Workload> =
            results.workloads.iter().copied().filter(|workload| workload.section == section).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(page, "\n## {}\n", section.title());
        if let Some(chart) = charts.iter().find(|chart| chart.section == section) {
            let _ = writeln!(page, "![{}]({})\n", section.title(), chart.file);
        }
        table(&mut page, results, &rows);
        beside(&mut page, results, &rows);
    }
    notes(&mut page, results);
    page
}

fn introduction(page: &mut String, results: &Results) {
    let machine = &results.description;
    let rounds = match results.rounds {
        1 => "One round".to_owned(),
        rounds => format!("Medians of {rounds} rounds"),
    };
    let rounds = match results.kept {
        0 => rounds,
        kept => format!("{rounds} ({kept} rows are of an earlier run)"),
    };
    if results.cost == Cost::Instructions {
        let _ = writeln!(
            page,
            "# Instructions\n\n{rounds}. What each server executes itself, all its threads together, counted by callgrind; what it executes\n\
             when nobody asks is taken off. What the kernel does for it is not in these figures, nor what it waits for memory."
        );
        return;
    }
    let _ = writeln!(
        page,
        "# Benchmark\n\n\
         `bench/run` installs the peers, measures and writes this page. {rounds} on {} ({} cores, {} GiB, {}).\n\n\
         Smaller is better in every table. CPU figures are the time all threads of the server spent on a core, divided\n\
         by what they did: a delivery, a command, a connection. The server is pinned to one core and the load generator\n\
         to another. *Floor* encodes a batch once and `send`s it, and does nothing else that a server does. Absolute\n\
         times differ between machines and from day to day; ratios within a run hold.",
        machine.processor, machine.cores, machine.memory_gib, machine.kernel
    );
}

fn targets(page: &mut String, results: &Results) {
    let rows: Vec<(&Workload, Verdict)> = results
        .workloads
        .iter()
        .flat_map(|&workload| {
            workload.targets.iter().map(move |&target| (workload, Verdict::new(results, workload, target)))
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## Targets\n\n| workload | at most | reached | |\n|---|---|---|---|");
    for (workload, verdict) in rows {
        let reached = verdict.reached.map_or("–".to_owned(), figure);
        let met = match verdict.met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(page, "| `{}` | {} | {reached} | {met} |", workload.name, verdict.asked);
    }
}

fn table(page: &mut String, results: &Results, rows: &[&Workload]) {
    let has_before = results.columns.iter().any(|column| column.id == PeerId::Before);
    let _ = write!(page, "| | unit |");
    for column in &results.columns {
        let _ = write!(page, " {} |", column.title);
    }
    let _ = write!(page, " Sterna ÷ best Redis/Valkey |");
    let _ = writeln!(page, "{}", if has_before { " Sterna ÷ before |" } else { "" });
    let ratios = 1 + usize::from(has_before);
    let _ = writeln!(page, "|---|---|{}", "---:|".repeat(results.columns.len() + ratios));
    for workload in rows {
        let _ = write!(
            page,
            "| {} (`{}`) | {} |",
            workload.title,
            workload.name,
            workload.unit.label(results.cost)
        );
        for column in &results.columns {
            let _ = write!(page, " {} |", cell(results, workload, column));
        }
        let own = results.main(workload.name, PeerId::Sterna);
        let ratio =
            |other: Option<f64>| own.zip(other).map_or("–".to_owned(), |(own, other)| figure(own / other));
        let best = results.best(workload.name, &REDIS_FAMILY).map(|(figure, _)| figure);
        let _ = write!(page, " {} |", ratio(best));
        if has_before {
            let _ = write!(page, " {} |", ratio(results.main(workload.name, PeerId::Before)));
        }
        page.push('\n');
    }
}

fn cell(results: &Results, workload: &Workload, column: &Column) -> String {
    if !column.present {
        return "not installed".to_owned();
    }
    match results.main(workload.name, column.id) {
        Some(median) => figure(median),
        None if results.cell(workload.name, column.id).is_some() => "failed".to_owned(),
        None => "–".to_owned(),
    }
}

/// The figures that stand beside the main ones, one row each.
fn beside(page: &mut String, results: &Results, rows: &[&Workload]) {
    let mut lines = String::new();
    for workload in rows {
        let cells = results.columns.iter().filter_map(|column| results.cell(workload.name, column.id));
        let Some(names) = cells.map(super::results::Cell::also_names).find(|names| !names.is_empty()) else {
            continue;
        };
        for name in names {
            let _ = write!(lines, "| `{}` | {name} |", workload.name);
            for column in &results.columns {
                let value = results.cell(workload.name, column.id).and_then(|cell| cell.also(name));
                let _ = write!(lines, " {} |", value.map_or("–".to_owned(), figure));
            }
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        return;
    }
    let _ = write!(page, "\nBeside them:\n\n| | |");
    for column in &results.columns {
        let _ = write!(page, " {} |", column.title);
    }
    let _ = writeln!(page, "\n|---|---|{}\n{}", "---:|".repeat(results.columns.len()), lines.trim_end());
}

/// What has no figure, and why.
fn notes(page: &mut String, results: &Results) {
    let mut lines = String::new();
    for column in results.columns.iter().filter(|column| !column.present) {
        let _ = writeln!(lines, "- {}: not installed.", column.name);
    }
    for workload in &results.workloads {
        for column in results.columns.iter().filter(|column| column.present) {
            let failure = results.cell(workload.name, column.id).and_then(|cell| cell.failure.as_deref());
            if let Some(failure) = failure {
                let _ = writeln!(lines, "- `{}` on {}: {failure}.", workload.name, column.title);
            }
        }
    }
    if !lines.is_empty() {
        let _ = write!(page, "\n## Without a figure\n\n{lines}");
    }
}
