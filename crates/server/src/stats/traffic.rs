//! What passes through a shard: messages, deliveries, how long they take to their sockets, which channels are the busiest,
//! and how much of its time it needs for all that.
//!
//! ```text
//!   Tally     plain numbers of the turn, in the shard's fan-out          added up with every message
//!   Sampler   which messages are looked at more closely                  a countdown with every message
//!   Traffic   what others may read                                       the tally once a turn, the rest by the sample
//! ```
//!
//! Up to `EXACT_MAX` messages in `GRANT_INTERVAL` all are sampled; of more, one of some [`SKIP_MEAN`], at random distances, so
//! that no rhythm of the publishers' falls in with it. Each sampled message stands for those that were passed over before it.
//!
//! Of sampled messages, one a turn at most is a *probe*: the time from its PUBLISH to the moment when one of its subscribers,
//! chosen at random, has had its last byte written to the socket. A subscriber who doesn't read makes such times long: that is
//! what it waits for.
//!
//! Cost: three additions and a countdown for a message; for one of the sample a lock that nobody contends for and a look in
//! a hash table, some thousands of times a second at most; two readings of the clock for a probe.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::connection::client::Client;
use crate::connection::state::ConnectionRef;
use crate::histogram::Histogram;
use crate::lock::{Level, Mutex};
use crate::stats::top::{Counts, Top};

/// Mean distance of samples where there are many messages.
const SKIP_MEAN: u32 = 128;

/// So many messages are sampled one by one in each interval.
const EXACT_MAX: u32 = 32;
const GRANT_INTERVAL: Duration = Duration::from_millis(10);

/// Probes of a shard that are under way. They are more only if their subscribers don't read: then the oldest ends.
const PROBES_MAX: usize = 16;

/// What others may read of a shard's traffic. Written by that shard alone.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Messages published by connections of this shard, and their payloads' bytes.
    pub(crate) published: AtomicU64,
    pub(crate) published_bytes: AtomicU64,
    /// Messages queued for subscribers of this shard: one for each subscription that matched.
    pub(crate) deliveries: AtomicU64,
    /// Time spent waiting for something to do.
    pub(crate) idle_ns: AtomicU64,
    /// Turns, and how long all took without that time.
    pub(crate) turns: AtomicU64,
    pub(crate) turns_ns: AtomicU64,
    /// From PUBLISH to a subscriber's socket.
    pub(crate) latency: Histogram,
    busiest: Mutex<Busiest, { Level::Busiest as u8 }>,
}

/// Channels and patterns.
#[derive(Debug, Default)]
pub(crate) struct Busiest {
    pub(crate) channels: Top,
    pub(crate) patterns: Top,
}

/// Numbers of the turn.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    published: u64,
    published_bytes: u64,
    deliveries: u64,
}

/// Which messages are looked at more closely.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Messages until the next sample, that one included.
    left: u32,
    /// The distance from the last sample to that one.
    distance: u32,
    /// Messages that are sampled one by one before distances grow.
    exact: u32,
    granted: Instant,
    /// No message of this turn is a probe yet.
    may_probe: bool,
}

/// A message of the sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Messages that it stands for.
    weight: u32,
    /// When it was published, if it is a probe.
    pub(crate) probe: Option<Instant>,
}

/// Messages under way whose time is taken.
#[derive(Debug, Default)]
pub(crate) struct Probes(Vec<Probe>);

#[derive(Debug, Clone, Copy)]
struct Probe {
    who: ConnectionRef,
    /// The message has been sent when so many bytes of the connection's have been.
    sent_at_bytes: u64,
    since: Instant,
}

impl Tally {
    #[inline]
    pub(crate) fn publish(&mut self, bytes: usize) {
        self.published += 1;
        self.published_bytes += bytes as u64;
    }

    #[inline]
    pub(crate) fn deliver(&mut self, count: usize) {
        self.deliveries += count as u64;
    }

    /// How many there have been since it was taken over.
    #[inline]
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.published == 0 && self.deliveries == 0
    }
}

impl Traffic {
    /// Takes the turn's numbers over.
    pub(crate) fn add(&self, tally: &mut Tally) {
        Client::add(&self.published, tally.published);
        Client::add(&self.published_bytes, tally.published_bytes);
        Client::add(&self.deliveries, tally.deliveries);
        *tally = Tally::default();
    }

    /// Counts a sampled message of `bytes` that caused so many deliveries.
    #[cold]
    pub(crate) fn note<'a>(
        &self,
        sample: Sample,
        (channel, bytes, deliveries): (&[u8], usize, usize),
        patterns: impl Iterator<Item = &'a [u8]>,
        now: Instant,
    ) {
        let weight = u64::from(sample.weight);
        let counts = Counts {
            messages: weight,
            deliveries: weight.saturating_mul(deliveries as u64),
            bytes: weight.saturating_mul(bytes as u64),
        };
        let mut busiest = self.busiest.lock();
        busiest.channels.count(channel, counts, now);
        // How many of the deliveries are a pattern's is not known here.
        for pattern in patterns {
            busiest.patterns.count(pattern, Counts { deliveries: 0, ..counts }, now);
        }
    }

    /// Has `read` see the busiest names.
    pub(crate) fn with_busiest(&self, read: impl FnOnce(&Busiest)) {
        read(&self.busiest.lock());
    }

    /// Counts a turn that took so long.
    #[inline]
    pub(crate) fn count_turn(&self, took: Duration) {
        Client::add(&self.turns, 1);
        Client::add(&self.turns_ns, took.as_nanos() as u64);
    }

    /// CONFIG RESETSTAT. What is being counted meanwhile may survive it.
    pub(crate) fn reset(&self) {
        for counter in [&self.published, &self.published_bytes, &self.deliveries, &self.turns, &self.turns_ns]
        {
            counter.store(0, Relaxed);
        }
        self.latency.reset();
        *self.busiest.lock() = Busiest::default();
    }
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { left: 1, distance: 1, exact: EXACT_MAX, granted: Instant::now(), may_probe: true }
    }
}

impl Sampler {
    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.may_probe = true;
        if now.saturating_duration_since(self.granted) >= GRANT_INTERVAL {
            self.granted = now;
            self.exact = EXACT_MAX;
            // What was passed over so far is the next sample's to stand for.
            self.distance -= self.left - 1;
            self.left = 1;
        }
    }

    /// Counts a message; `Some` if it is one of the sample.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Sample> {
        self.left -= 1;
        if self.left > 0 { None } else { Some(self.take()) }
    }

    #[cold]
    fn take(&mut self) -> Sample {
        let weight = self.distance;
        self.distance = match self.exact.checked_sub(1) {
            Some(exact) => {
                self.exact = exact;
                1
            }
            None => fastrand::u32(1..2 * SKIP_MEAN),
        };
        self.left = self.distance;
        Sample { weight, probe: std::mem::take(&mut self.may_probe).then(Instant::now) }
    }
}

impl Probes {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is on its way to `who`.
    #[inline]
    pub(crate) fn has_one_to(&self, who: ConnectionRef) -> bool {
        self.0.iter().any(|probe| probe.who == who)
    }

    /// A message that was published at `since` has been sent to `who` when so many of its bytes have been.
    pub(crate) fn begin(
        &mut self,
        who: ConnectionRef,
        sent_at_bytes: u64,
        since: Instant,
        times: &Histogram,
    ) {
        if self.0.len() >= PROBES_MAX {
            let oldest = self.0.remove(0);
            times.count(oldest.since.elapsed());
        }
        self.0.push(Probe { who, sent_at_bytes, since });
    }

    /// So many bytes of `who` have been sent.
    #[cold]
    pub(crate) fn note_sent(&mut self, who: ConnectionRef, sent_bytes: u64, times: &Histogram) {
        self.0.retain(|probe| {
            let has_arrived = probe.who == who && probe.sent_at_bytes <= sent_bytes;
            if has_arrived {
                times.count(probe.since.elapsed());
            }
            !has_arrived
        });
    }

    /// Forgets those whose connections are not there any more.
    pub(crate) fn retain(&mut self, is_there: impl Fn(ConnectionRef) -> bool) {
        self.0.retain(|probe| is_there(probe.who));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_all_messages_and_are_few_where_messages_are_many() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let (mut samples, mut stand_for) = (0_u64, 0_u64);
        for turn in 0..1000_u32 {
            sampler.begin_turn(start + turn * Duration::from_millis(1));
            for _ in 0..1000 {
                if let Some(sample) = sampler.next() {
                    samples += 1;
                    stand_for += u64::from(sample.weight);
                }
            }
        }
        let most = 1_000_000 / u64::from(SKIP_MEAN) * 5 / 4 + u64::from(EXACT_MAX) * 101;
        assert!(samples < most, "{samples}");
        assert!((1_000_000 - 2 * u64::from(SKIP_MEAN)..=1_000_000).contains(&stand_for), "{stand_for}");
    }

    #[test]
    fn few_messages_are_all_sampled_and_one_a_turn_is_a_probe() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        for turn in 1..100_u32 {
            sampler.begin_turn(start + turn * Duration::from_millis(20));
            let samples: Vec<Sample> = (0..10).filter_map(|_| sampler.next()).collect();
            assert!(samples.iter().all(|sample| sample.weight == 1) && samples.len() == 10);
            assert_eq!(samples.iter().filter(|sample| sample.probe.is_some()).count(), 1);
        }
    }

    #[test]
    fn a_probe_ends_when_its_bytes_are_sent_and_probes_have_a_bound() {
        let (mut probes, times) = (Probes::default(), Histogram::default());
        let who = |id| ConnectionRef { slot: 1, id };
        let counted = || crate::histogram::Durations::sum(std::iter::once(&times)).count;
        probes.begin(who(1), 100, Instant::now(), &times);
        probes.begin(who(2), 50, Instant::now(), &times);
        probes.note_sent(who(1), 99, &times);
        assert_eq!(counted(), 0);
        probes.note_sent(who(1), 100, &times);
        assert_eq!((counted(), probes.0.len()), (1, 1));
        probes.retain(|probe| probe.id != 2);
        assert!(probes.is_empty());
        (0..100).for_each(|id| probes.begin(who(id), 1, Instant::now(), &times));
        assert_eq!((counted(), probes.0.len()), (1 + 100 - PROBES_MAX as u64, PROBES_MAX));
    }
}
