//! The workloads as rows: a file for what is about one thing, in the order of the report.
mod clients;
mod fan_out;
mod journal;
mod pressure;
mod scripts;
mod streams;
mod types;

use super::row::Workload;
use crate::limit::Failure;
use crate::peer::PeerId;
use PeerId::{Floor, Kevy, Nats, Redis, Redis8, Sterna, Valkey};

const ALL: &[PeerId] = &[Floor, Sterna, Redis, Valkey, Redis8, Kevy, Nats];
const WITH_STREAMS: &[PeerId] = &[Sterna, Valkey, Redis8];
/// What no other server has, or has in this way.
const SOLO: &[PeerId] = &[Sterna];
const IN_MEMORY: &[PeerId] = &[Sterna, Valkey, Redis8, Kevy];
const REDIS_FAMILY: &[PeerId] = &[Sterna, Redis, Valkey, Redis8];
const ALL_BUT_FLOOR: &[PeerId] = &[Sterna, Redis, Valkey, Redis8, Kevy, Nats];

const TABLE: &[&[Workload]] =
    &[fan_out::ROWS, clients::ROWS, streams::ROWS, types::ROWS, scripts::ROWS, journal::ROWS, pressure::ROWS];

/// Every workload, in the order of the report.
fn all() -> impl Iterator<Item = &'static Workload> {
    TABLE.iter().copied().flatten()
}

/// The workloads whose names begin with one of `only`; all of them if it is empty.
pub(crate) fn select(only: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    let matches = |workload: &Workload, prefix: &String| workload.name.starts_with(prefix.as_str());
    for prefix in only {
        if !all().any(|workload| matches(workload, prefix)) {
            return Err(Failure::Unknown(prefix.clone()));
        }
    }
    let chosen =
        |workload: &&Workload| only.is_empty() || only.iter().any(|prefix| matches(workload, prefix));
    Ok(all().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::super::row::{Section, Target};
    use super::*;

    #[test]
    fn names_are_unique_and_each_selects_its_row() {
        for workload in all() {
            assert_eq!(all().filter(|other| other.name == workload.name).count(), 1, "{}", workload.name);
            let selected = select(&[workload.name.to_owned()]).unwrap();
            assert!(selected.iter().any(|other| other.name == workload.name));
        }
        assert!(matches!(select(&["nothing".to_owned()]), Err(Failure::Unknown(_))));
    }

    #[test]
    fn targets_name_workloads_that_exist() {
        for workload in all() {
            for target in workload.targets {
                if let Target::Own(other, _) | Target::AlsoOwn(_, other, _) = target {
                    assert!(all().any(|row| row.name == *other), "{}: {other}", workload.name);
                }
            }
        }
    }

    #[test]
    fn a_row_stands_with_the_others_of_its_section() {
        let sections: Vec<Section> = all().map(|workload| workload.section).collect();
        assert!(sections.is_sorted());
    }
}
