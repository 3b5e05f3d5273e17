//! Targets against medians: what was asked, what was reached.
use super::results::Results;
use crate::peer::PeerId;
use crate::workload::{Target, Workload};

/// Redis and Valkey, whatever their version.
pub(super) const REDIS_FAMILY: [PeerId; 3] = [PeerId::Redis, PeerId::Valkey, PeerId::Redis8];
/// Everyone who could be used instead.
const PEERS: [PeerId; 5] = [PeerId::Redis, PeerId::Valkey, PeerId::Redis8, PeerId::Kevy, PeerId::Nats];

/// One target of one workload.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// As in "≤ 0.55 × the best of Redis and Valkey".
    pub asked: String,
    /// Sterna's figure in the unit of what was asked: a ratio, or the figure itself. None: not measured.
    pub reached: Option<f64>,
    pub bound: f64,
}

impl Verdict {
    pub(super) fn met(&self) -> Option<bool> {
        self.reached.map(|reached| reached <= self.bound)
    }

    pub(super) fn new(results: &Results, workload: &Workload, target: Target) -> Self {
        let own = |name: &str| results.main(name, PeerId::Sterna);
        let also = |name: &str| results.cell(workload.name, PeerId::Sterna)?.also(name);
        let main = own(workload.name);
        let best = |peers: &[PeerId]| results.best(workload.name, peers).map(|(figure, _)| figure);
        let ratio = |figure: Option<f64>, reference: Option<f64>| Some(figure? / reference?);
        let (asked, reached, bound) = match target {
            Target::Floor(x) => {
                ("the floor".to_owned(), ratio(main, results.main(workload.name, PeerId::Floor)), x)
            }
            Target::BestRedis(x) => {
                ("the best of Redis and Valkey".to_owned(), ratio(main, best(&REDIS_FAMILY)), x)
            }
            Target::BestPeer(x) => ("the best peer".to_owned(), ratio(main, best(&PEERS)), x),
            Target::Own(other, x) => (format!("`{other}`"), ratio(main, own(other)), x),
            Target::AtMost(x) => return Self::absolute(workload.unit.label(results.cost), main, x),
            Target::AlsoAtMost(name, x) => return Self::absolute(name, also(name), x),
            Target::AlsoBestRedis(name, x) => {
                let cells =
                    REDIS_FAMILY.iter().filter_map(|&peer| results.cell(workload.name, peer)?.also(name));
                let best = cells.min_by(f64::total_cmp);
                (format!("{name} of the best of Redis and Valkey"), ratio(also(name), best), x)
            }
            Target::AlsoOwn(name, other, x) => {
                (format!("{} of `{other}`", name), ratio(also(name), own(other)), x)
            }
        };
        Self { asked: format!("≤ {bound} × {asked}"), reached, bound }
    }

    fn absolute(unit: &str, reached: Option<f64>, bound: f64) -> Self {
        Self { asked: format!("≤ {bound} {unit}"), reached, bound }
    }
}
