//! PUBLISH past patterns that don't match: what a message pays for subscriptions that aren't meant.
//!
//! The patterns are spread over connections, a thousand on each: Redis 7 looks through a connection's list of patterns
//! on every PSUBSCRIBE, and how long it takes to join is not the question here.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Dialect, Group, Meter, Publish, Subject};
use crate::peer::Settings;
use std::time::Instant;

/// So many patterns, and one publisher of channels that none of them matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct PastPatterns {
    pub patterns: usize,
    pub shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `user:N:*`: the channel shares a long beginning with many of them.
    Prefix,
    /// `*N*a*b`: every one of them has to be followed through the whole channel, which ends in the wrong letter.
    Hostile,
}

impl Shape {
    fn pattern(self, n: usize) -> String {
        match self {
            Shape::Prefix => format!("user:{n}:*"),
            Shape::Hostile => format!("*{n}*a*b"),
        }
    }

    /// Channels of one length, none of which any pattern matches: no pattern has a number of seven digits.
    fn channel(self, n: usize) -> String {
        let number = 9_000_000 + 37 * n;
        match self {
            Shape::Prefix => format!("user:{number}:typing"),
            Shape::Hostile => format!("zone:{number}:aaaaaaaaaaaaaaac"),
        }
    }
}

/// Messages sent before the replies are awaited, and channels they go to.
const PIPELINE: usize = 16;
/// A peer that needs more CPU time for one message, in nanoseconds, is sent one at a time.
const SLOW_NS: u64 = 5_000_000;
/// Patterns of one connection, subscribed to before their confirmations are awaited.
const CHUNK: usize = 1000;

impl Measure for PastPatterns {
    fn heavy(&self) -> bool {
        self.patterns >= 1_000_000
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        if scene.dialect() == Dialect::Nats && self.shape == Shape::Hostile {
            return Err(Failure::Inapplicable("NATS's wildcards stand for whole words"));
        }
        let publisher = scene.connect(Group::Publisher)?;
        let empty = scene.resident_bytes()?;
        let patterns = bench.count(self.patterns);
        let mut everybody = vec![publisher];
        everybody.extend(self.subscribe(&mut scene, patterns)?);
        scene.quiet(&everybody)?;
        let grown = scene.resident_bytes()?.saturating_sub(empty);
        let us = self.publish(&mut scene, publisher, bench)?;
        let figures = Figures::new(us);
        Ok(if patterns == 0 {
            figures
        } else {
            figures.also("bytes/pattern", grown as f64 / patterns as f64)
        })
    }
}

impl PastPatterns {
    fn subscribe(&self, scene: &mut Scene, patterns: usize) -> Result<Vec<ConnId>, Failure> {
        let dialect = scene.dialect();
        let limit = scene.limit("patterns to be subscribed");
        let mut ids = Vec::new();
        let mut request = Vec::new();
        for first in (0..patterns).step_by(CHUNK) {
            let count = CHUNK.min(patterns - first);
            request.clear();
            for n in first..first + count {
                let pattern = dialect.name(&self.shape.pattern(n));
                dialect.subscribe(&mut request, Subject::Pattern(&pattern), n + 1);
            }
            dialect.end_batch(&mut request);
            let id = scene.connect(Group::Subscriber)?;
            scene.swarm.send(id, &request)?;
            let lines = dialect.greeting_lines() + dialect.subscribed_lines(count as u64);
            scene.swarm.until(&limit, |swarm| swarm.seen(id) >= lines)?;
            ids.push(id);
        }
        Ok(ids)
    }

    /// CPU of one PUBLISH in microseconds.
    fn publish(&self, scene: &mut Scene, publisher: ConnId, bench: &Bench<'_>) -> Result<f64, Failure> {
        scene.swarm.measure(publisher, Meter::Lines);
        let cpu = scene.cpu()?;
        self.batch(scene, publisher, 1)?;
        let pipeline = if scene.cpu()?.since(&cpu) > SLOW_NS { 1 } else { PIPELINE };
        self.batch(scene, publisher, pipeline)?;
        let cpu = scene.cpu()?;
        let begun = Instant::now();
        let mut messages = 0;
        while messages == 0 || begun.elapsed() < bench.time() {
            self.batch(scene, publisher, pipeline)?;
            messages += pipeline;
        }
        Ok(scene.cpu()?.since(&cpu) as f64 / messages as f64 / 1000.0)
    }

    /// Publishes `count` messages and waits for their replies.
    fn batch(&self, scene: &mut Scene, publisher: ConnId, count: usize) -> Result<(), Failure> {
        let dialect = scene.dialect();
        let mut request = Vec::new();
        for n in 0..count {
            let channel = dialect.name(&self.shape.channel(n));
            dialect.publish(&mut request, Publish { channel: &channel, payload: &[b'x'; 64] });
        }
        dialect.end_batch(&mut request);
        let lines = scene.swarm.seen(publisher) + dialect.published_lines(count as u64);
        scene.swarm.send(publisher, &request)?;
        let limit = scene.batch_limit("PUBLISH past the patterns");
        scene.swarm.until(&limit, |swarm| swarm.seen(publisher) >= lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_s_number_is_a_channel_s() {
        for n in 0..PIPELINE {
            let channel = Shape::Prefix.channel(n);
            let number = channel.split(':').nth(1).unwrap();
            assert!(number.parse::<usize>().unwrap() >= 1_000_000);
            assert!(!Shape::Hostile.channel(n).ends_with('b'));
        }
    }

    #[test]
    fn channels_of_a_shape_are_of_one_length() {
        for shape in [Shape::Prefix, Shape::Hostile] {
            assert!((0..PIPELINE).all(|n| shape.channel(n).len() == shape.channel(0).len()));
        }
    }
}
