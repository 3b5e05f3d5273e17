//! XADD at a steady rate while a snapshot is taken: what it adds to the latency and to the memory.
use super::Measure;
use super::kept::rewriting;
use super::scene::{Bench, Figures, Scale, Scene};
use crate::limit::{Failure, Limit};
use crate::load::{ConnId, Group, Meter, command};
use crate::machine::proportional_bytes;
use crate::peer::{Durability, Settings};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Keys of 4 KiB, and XADDs at this rate: by how much the snapshot raises the 99th percentile of their answers, in
/// microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) keys: usize,
    pub(crate) per_second: u32,
}

/// Share of memory that the snapshot may add.
pub(crate) const GROWTH: &str = "memory growth %";

const VALUE_BYTES: usize = 4096;
/// How often INFO and the memory are asked for meanwhile; rarely, for the asking is felt.
const SAMPLE: Duration = Duration::from_millis(200);

impl Measure for Snapshot {
    fn heavy(&self) -> bool {
        true
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let settings = Settings { durability: Durability::EverySecond, ..Settings::default() };
        let mut scene = bench.start(&settings)?;
        scene.ask("two GiB of keys", bench.count(self.keys), 1, |out, n| {
            command(out, &[b"SET", format!("key:{n:07}").as_bytes(), &value(n)]);
        })?;
        // The two GiB just logged would otherwise reach the disk during the calm that is the reference.
        let _ = std::process::Command::new("sync").status();
        let client = scene.connect(Group::Publisher)?;
        scene.swarm.measure(client, Meter::Lines);
        let limit = scene.limit("the snapshot");
        let mut paced = Paced {
            client,
            interval: Duration::from_secs(1) / self.per_second,
            next: Instant::now(),
            asked: VecDeque::new(),
            answered: 0,
            ages: Vec::new(),
            limit,
        };
        let calm = Instant::now() + if bench.scale == Scale::Quick { SAMPLE } else { 10 * SAMPLE };
        paced.run(&mut scene, calm)?;
        let before_us = paced.p99_us();
        let before_bytes = proportional_bytes(scene.server.pid())?;

        let mut request = Vec::new();
        command(&mut request, &[b"BGREWRITEAOF"]);
        let operator = scene.connect(Group::Bystander)?;
        let begun = Instant::now();
        scene.swarm.send(operator, &request)?;
        let mut peak = before_bytes;
        loop {
            paced.run(&mut scene, Instant::now() + SAMPLE)?;
            peak = peak.max(proportional_bytes(scene.server.pid())?);
            if !rewriting(&scene)? {
                break;
            }
        }
        let during_us = paced.p99_us();
        let growth = 100.0 * (peak as f64 / before_bytes as f64 - 1.0);
        Ok(Figures::new((during_us - before_us).max(0.0))
            .also("p99 µs without", before_us)
            .also("p99 µs meanwhile", during_us)
            .also(GROWTH, growth)
            .also("s", begun.elapsed().as_secs_f64()))
    }
}

/// Bytes that don't compress, different for each key.
fn value(n: usize) -> Vec<u8> {
    let mut state = n as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    while bytes.len() < VALUE_BYTES {
        // xorshift64: any cheap generator will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A client that sends at its times, whether or not it has been answered.
struct Paced {
    client: ConnId,
    interval: Duration,
    next: Instant,
    /// When those not yet answered were sent.
    asked: VecDeque<Instant>,
    answered: u64,
    /// Nanoseconds from sending to answer.
    ages: Vec<u64>,
    limit: Limit,
}

/// Lines of XADD's reply.
const ANSWER_LINES: u64 = 2;

impl Paced {
    fn run(&mut self, scene: &mut Scene, until: Instant) -> Result<(), Failure> {
        let mut request = Vec::new();
        command(&mut request, &[b"XADD", b"s", b"MAXLEN", b"~", b"10000", b"*", b"field", &[b'x'; 20]]);
        while Instant::now() < until {
            self.limit.check()?;
            if Instant::now() >= self.next {
                // Late ones are sent at once: what the load generator is late by is not the server's.
                self.next = (self.next + self.interval).max(Instant::now() - 100 * self.interval);
                self.asked.push_back(Instant::now());
                scene.swarm.send(self.client, &request)?;
            }
            scene.swarm.poll(Duration::ZERO)?;
            let answered = scene.swarm.seen(self.client) / ANSWER_LINES;
            let now = Instant::now();
            for _ in self.answered..answered {
                let sent = self.asked.pop_front();
                self.ages.extend(sent.map(|sent| (now - sent).as_nanos() as u64));
            }
            self.answered = answered;
        }
        Ok(())
    }

    /// 99th percentile of the answers since the last call.
    fn p99_us(&mut self) -> f64 {
        let mut ages = std::mem::take(&mut self.ages);
        ages.sort_unstable();
        ages.get(ages.len() * 99 / 100).map_or(0.0, |&ns| ns as f64 / 1000.0)
    }
}
