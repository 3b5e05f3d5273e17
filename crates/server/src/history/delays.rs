//! What LATENCY shows: how long the slowest commands of a kind took, second by second.

use std::collections::{BTreeMap, VecDeque};

/// Delays on record, by event.
#[derive(Debug, Default)]
pub(crate) struct Delays(pub(crate) BTreeMap<&'static str, Latencies>);

/// Delays of one event, oldest first: at most one a second, as Unix time in seconds and milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) samples: VecDeque<(u64, u64)>,
    pub(crate) worst_ms: u64,
}

/// Delays kept of one event. Source: Redis's `LATENCY_TS_LEN`.
const SAMPLES_MAX: usize = 160;

impl Delays {
    pub(crate) fn add(&mut self, event: &'static str, at_s: u64, took_ms: u64) {
        let event = self.0.entry(event).or_default();
        event.worst_ms = event.worst_ms.max(took_ms);
        match event.samples.back_mut() {
            Some((last_s, last_ms)) if *last_s == at_s => *last_ms = took_ms.max(*last_ms),
            _ => event.samples.push_back((at_s, took_ms)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.pop_front();
        }
    }

    pub(crate) fn event(&self, name: &[u8]) -> Option<&Latencies> {
        let name = std::str::from_utf8(name).ok()?;
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_delay_of_a_second_is_kept_and_so_many_seconds() {
        let mut delays = Delays::default();
        for (at_s, took_ms) in [(1, 10), (1, 30), (1, 20), (2, 5)] {
            delays.add("command", at_s, took_ms);
        }
        let event = delays.event(b"command").unwrap();
        assert_eq!(event.samples, [(1, 30), (2, 5)]);
        assert_eq!(event.worst_ms, 30);
        (3..1000).for_each(|at_s| delays.add("command", at_s, 1));
        let event = delays.event(b"command").unwrap();
        assert_eq!((event.samples.len(), event.samples[0]), (SAMPLES_MAX, (840, 1)));
        assert_eq!(event.worst_ms, 30, "the worst is remembered after its second is forgotten");
        assert!(delays.event(b"nosuch").is_none());
    }
}
