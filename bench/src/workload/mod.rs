//! The workloads: what is done to a server, in which unit the answer is, and what Sterna must reach.
mod commands;
mod fanout;
mod kept;
mod membership;
mod memory;
mod paced;
mod patterns;
mod scene;
mod table;

pub use scene::{Bench, Figures, Scale};
pub use table::{Section, Target, Unit, Workload, select, table};

use crate::limit::Failure;

/// One measurement against one freshly started server.
pub trait Measure: Sync {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure>;
}
