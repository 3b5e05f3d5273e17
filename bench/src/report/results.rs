//! What was measured: samples by workload and peer, and their medians.
use crate::limit::Failure;
use crate::machine::Description;
use crate::peer::{Found, PeerId};
use crate::workload::{Figures, Workload};
use std::collections::BTreeMap;

/// A peer as a column.
#[derive(Debug, Clone)]
pub struct Column {
    pub id: PeerId,
    pub name: &'static str,
    pub title: String,
    pub present: bool,
}

/// Samples of one workload on one peer.
#[derive(Debug, Default)]
pub struct Cell {
    pub samples: Vec<Figures>,
    /// Why a round has no sample; the last one.
    pub failure: Option<String>,
}

impl Cell {
    /// Median of the main figure.
    pub fn main(&self) -> Option<f64> {
        median(self.samples.iter().map(|figures| figures.main).collect())
    }
}

pub struct Results {
    pub description: Description,
    pub rounds: u32,
    pub columns: Vec<Column>,
    pub workloads: Vec<&'static Workload>,
    cells: BTreeMap<(&'static str, PeerId), Cell>,
}

impl Results {
    pub fn new(
        description: Description,
        rounds: u32,
        peers: &[Found],
        workloads: &[&'static Workload],
    ) -> Self {
        let column = |found: &Found| Column {
            id: found.peer.id,
            name: found.peer.name,
            title: found.title(),
            present: found.binary.is_some(),
        };
        Self {
            description,
            rounds,
            columns: peers.iter().map(column).collect(),
            workloads: workloads.to_vec(),
            cells: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, workload: &'static str, peer: PeerId, outcome: Result<Figures, Failure>) {
        let cell = self.cells.entry((workload, peer)).or_default();
        match outcome {
            Ok(figures) => cell.samples.push(figures),
            Err(failure) => cell.failure = Some(failure.to_string()),
        }
    }

    pub fn cell(&self, workload: &str, peer: PeerId) -> Option<&Cell> {
        self.cells.iter().find(|((name, id), _)| *name == workload && *id == peer).map(|(_, cell)| cell)
    }

    pub fn main(&self, workload: &str, peer: PeerId) -> Option<f64> {
        self.cell(workload, peer)?.main()
    }

    pub fn print(&self) {
        for workload in &self.workloads {
            println!("{} [{}]", workload.title, workload.unit.label());
            for column in &self.columns {
                let figure = self.main(workload.name, column.id);
                println!("    {:<16} {}", column.title, figure.map_or("–".to_owned(), |f| format!("{f:.1}")));
            }
        }
    }
}

/// Middle value; of two middle ones their mean.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
