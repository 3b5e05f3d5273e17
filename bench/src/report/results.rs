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
    /// How many of them an earlier run has measured.
    pub kept: usize,
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
            kept: 0,
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

    /// Takes over the samples of an earlier run (see [`Results::csv`]) of the workloads that were not measured now. `all` are those there
    /// are, in their order. What is no longer known is left out.
    pub(crate) fn keep(&mut self, csv: &str, all: &[&'static Workload]) {
        let measured: Vec<&str> = self.workloads.iter().map(|workload| workload.name).collect();
        for line in csv.lines().skip(1) {
            let mut fields = line.splitn(3, ',');
            let (Some(name), Some(peer), Some(rest)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            // A figure's name may hold a comma.
            let Some(((round, figure), value)) =
                rest.rsplit_once(',').and_then(|(head, value)| Some((head.split_once(',')?, value)))
            else {
                continue;
            };
            let (Ok(round), Ok(value)) = (round.parse::<u32>(), value.parse::<f64>()) else { continue };
            let Some(&workload) = all.iter().find(|workload| workload.name == name) else { continue };
            let Some(column) = self.columns.iter().find(|column| column.name == peer) else { continue };
            if measured.contains(&name) {
                continue;
            }
            let samples = &mut self.cells.entry((workload.name, column.id)).or_default().samples;
            if figure == workload.unit.label(self.cost) {
                samples.push((round, Figures::new(value)));
            } else if let Some((_, figures)) = samples.last_mut() {
                // As long as the program runs, which is not long.
                figures.also.push((String::from(figure).leak(), value));
            }
        }
        let is_known = |workload: &Workload| self.cells.keys().any(|(name, _)| *name == workload.name);
        self.workloads =
            all.iter().copied().filter(|of| measured.contains(&of.name) || is_known(of)).collect();
        self.kept = self.workloads.len() - measured.len();
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
    use crate::workload::select;

    fn results_of(only: &str) -> Results {
        let workloads = select(&[only.to_owned()]).unwrap();
        let mut results = Results::new(Description::read(), 1, Cost::CpuTime, &[], &workloads);
        results.columns.push(Column {
            id: PeerId::Floor,
            name: "floor",
            title: String::new(),
            present: true,
        });
        results
    }

    #[test]
    fn rows_of_an_earlier_run_stay_and_those_measured_now_are_new() {
        let all = select(&[]).unwrap();
        let mut earlier = results_of("fan-out-64");
        earlier.keep(
            "workload,peer,round,figure,value\nnobody,floor,1,ns,3\nset,nobody,1,ns/op,4\nset,floor\n",
            &all,
        );
        assert_eq!((earlier.kept, earlier.workloads.len()), (0, 1), "what is not known is left out");
        earlier.add(1, "fan-out-64", PeerId::Floor, Ok(Figures::new(5.0).also("MiB", 6.0)));
        earlier.add(2, "fan-out-64", PeerId::Floor, Ok(Figures::new(7.0).also("MiB", 8.0)));
        let csv = earlier.csv();

        let mut anew = results_of("pause-watch");
        anew.add(1, "pause-watch", PeerId::Floor, Ok(Figures::new(1.0).also("p99, ms", 2.0)));
        anew.keep(&csv, &all);
        assert_eq!((anew.kept, anew.main("fan-out-64", PeerId::Floor)), (1, Some(6.0)));
        assert_eq!(anew.cell("fan-out-64", PeerId::Floor).unwrap().also("MiB"), Some(7.0));
        assert_eq!(
            anew.workloads.iter().map(|of| of.name).collect::<Vec<_>>(),
            ["fan-out-64", "pause-watch"]
        );

        let mut again = results_of("fan-out-64");
        again.add(1, "fan-out-64", PeerId::Floor, Ok(Figures::new(9.0)));
        again.keep(&anew.csv(), &all);
        assert_eq!((again.kept, again.main("fan-out-64", PeerId::Floor)), (1, Some(9.0)));
        assert_eq!(again.cell("pause-watch", PeerId::Floor).unwrap().also("p99, ms"), Some(2.0));
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
