//! What was measured: samples by workload and peer, and their medians.
use crate::limit::Failure;
use crate::machine::{Cost, Description};
use crate::peer::{Found, PeerId};
use crate::workload::{Figures, Workload};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A peer as a column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub id: PeerId,
    pub name: &'static str,
    /// Name and version.
    pub title: String,
    /// Its binary was found.
    pub present: bool,
}

/// Samples of one workload on one peer.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// With the round each is from.
    samples: Vec<(u32, Figures)>,
    /// Why a round has no sample; the last one.
    pub failure: Option<String>,
}

impl Cell {
    /// Median of the main figure.
    pub(crate) fn main(&self) -> Option<f64> {
        median(self.samples.iter().map(|(_, figures)| figures.main).collect())
    }

    /// Median of a figure beside the main one.
    pub(crate) fn also(&self, name: &str) -> Option<f64> {
        let values = self.samples.iter().flat_map(|(_, figures)| &figures.also);
        median(values.filter(|(other, _)| *other == name).map(|(_, value)| *value).collect())
    }

    /// Names of the figures beside the main one.
    pub(crate) fn also_names(&self) -> Vec<&'static str> {
        let first = self.samples.first();
        first.map(|(_, figures)| figures.also.iter().map(|(name, _)| *name).collect()).unwrap_or_default()
    }
}

/// A run of the comparison.
pub(crate) struct Results {
    pub description: Description,
    pub rounds: u32,
    pub cost: Cost,
    pub columns: Vec<Column>,
    pub workloads: Vec<&'static Workload>,
    cells: BTreeMap<(&'static str, PeerId), Cell>,
}

impl Results {
    pub(crate) fn new(
        description: Description,
        rounds: u32,
        cost: Cost,
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
            cost,
            columns: peers.iter().map(column).collect(),
            workloads: workloads.to_vec(),
            cells: BTreeMap::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        round: u32,
        workload: &'static str,
        peer: PeerId,
        outcome: Result<Figures, Failure>,
    ) {
        let cell = self.cells.entry((workload, peer)).or_default();
        match outcome {
            Ok(figures) => cell.samples.push((round, figures)),
            Err(failure) => cell.failure = Some(failure.to_string()),
        }
    }

    pub(crate) fn cell(&self, workload: &str, peer: PeerId) -> Option<&Cell> {
        self.cells.iter().find(|((name, id), _)| *name == workload && *id == peer).map(|(_, cell)| cell)
    }

    /// Median of a workload's main figure on a peer.
    pub(crate) fn main(&self, workload: &str, peer: PeerId) -> Option<f64> {
        self.cell(workload, peer)?.main()
    }

    /// Smallest median among `peers`, and whose it is.
    pub(crate) fn best(&self, workload: &str, peers: &[PeerId]) -> Option<(f64, PeerId)> {
        let medians = peers.iter().filter_map(|&peer| Some((self.main(workload, peer)?, peer)));
        medians.min_by(|(a, _), (b, _)| a.total_cmp(b))
    }

    /// Every sample: workload, peer, round, figure, value.
    pub(crate) fn csv(&self) -> String {
        let mut text = "workload,peer,round,figure,value\n".to_owned();
        for workload in &self.workloads {
            for column in &self.columns {
                let Some(cell) = self.cell(workload.name, column.id) else { continue };
                for (round, figures) in &cell.samples {
                    let main = (workload.unit.label(self.cost), figures.main);
                    for (figure, value) in std::iter::once(&main).chain(&figures.also) {
                        // Writing to a String can't fail.
                        let _ =
                            writeln!(text, "{},{},{round},{figure},{value:.3}", workload.name, column.name);
                    }
                }
            }
        }
        text
    }
}

/// Middle value; of two middle ones their mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
