//! The workloads: what is done to a server, in which unit the answer is, and what Sterna must reach.
mod commands;
mod fanout;
mod kept;
mod keyed;
mod membership;
mod memory;
mod paced;
mod patterns;
mod pauses;
mod pressure;
mod row;
mod scene;
mod scripts;
mod snapshot;
mod table;
mod tls_storm;
mod types;

pub(crate) use row::{Section, Target, Workload};
pub(crate) use scene::{Bench, Figures, Scale};
pub(crate) use table::select;

use crate::limit::Failure;

/// One measurement against one freshly started server.
pub(crate) trait Measure: Sync {
    /// It takes so long that the first rounds' samples have to do.
    fn heavy(&self) -> bool {
        false
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure>;
}
