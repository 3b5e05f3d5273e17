//! Under pressure: more than a shard can take, from many clients, while a quiet one asks; what it waits, and what the
//! server's memory grows by.
//!
//! Publishers send as fast as they are answered, a pipeline at a time, and subscribers read whatever comes; nobody
//! waits for deliveries. So a server that takes more from its publishers than it can hand on shows it in memory, in
//! subscribers that it closes, or in the quiet client's times.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Group, Meter, Publish, Quiet, Subject, command};
use crate::peer::{PeerId, Settings};
use std::time::{Duration, Instant};

/// The quiet client's 99th percentile where it isn't the main figure.
pub(super) const P99_MS: &str = "p99 ms";
/// Growth of resident memory, at its peak.
pub(super) const PEAK_MIB: &str = "peak MiB";
/// Connections that the server closed.
pub(super) const CLOSED: &str = "closed";

/// One publisher and so many subscribers on two shards: the quiet client, on the subscribers' shard, waits so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Apart {
    pub subscribers: usize,
    pub pipeline: usize,
    pub payload_bytes: usize,
    pub placement: Placement,
}

/// Where the subscribers are on a server with two shards; the others have one place for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// All on the shard where the publisher isn't.
    Opposite,
    /// Half of them on each.
    Balanced,
}

const CHANNEL: &str = "pressure:all";

impl Measure for Apart {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings { threads: 2, ..Settings::default() })?;
        let publisher = scene.connect(Group::Publisher)?;
        let subscribers = self.place(&mut scene, bench)?;
        for &id in &subscribers {
            scene.swarm.measure(id, Meter::Bytes);
        }
        let watch = Watch::start(&mut scene)?;
        let message = Publish { channel: CHANNEL, payload: &vec![b'x'; self.payload_bytes] };
        let mut batch = Vec::new();
        (0..self.pipeline).for_each(|_| scene.dialect().publish(&mut batch, message));
        let mut clients = [Pipelining::new(publisher, batch, self.pipeline as u64)];
        let (passed, peak) = run(&mut scene, &mut clients, &watch, 4 * bench.time())?;
        let delivered = scene.swarm.total(Group::Subscriber) / scene.dialect().delivery_bytes(message);
        let closed = scene.swarm.closed();
        watch.figures(peak).map(|figures| {
            figures.also("deliveries/s", delivered as f64 / passed.as_secs_f64()).also(CLOSED, closed as f64)
        })
    }
}

impl Apart {
    /// New connections go to the shard with the fewest, the first one if they are equal. So after the publisher came to the
    /// first, they alternate, beginning with the second.
    fn place(&self, scene: &mut Scene, bench: &Bench<'_>) -> Result<Vec<ConnId>, Failure> {
        let count = bench.count(self.subscribers);
        let one = |scene: &mut Scene| scene.subscribers(1, |_| Subject::Channel(CHANNEL));
        let mut subscribers = Vec::with_capacity(count);
        for _ in 0..count {
            subscribers.extend(one(scene)?);
            if self.placement == Placement::Opposite && scene.server.peer.id.kind() == PeerId::Sterna {
                // Somebody for the publisher's shard, so that the next subscriber goes to the other one again.
                scene.connect(Group::Bystander)?;
            }
        }
        Ok(subscribers)
    }
}

/// So many clients, each with a pipeline of SETs, beside a quiet one: how long it waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greedy {
    pub clients: usize,
    pub pipeline: usize,
}

impl Measure for Greedy {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let mut batch = Vec::new();
        for n in 0..self.pipeline {
            command(&mut batch, &[b"SET", format!("key:{n}").as_bytes(), b"0123456789"]);
        }
        let mut clients = Vec::new();
        for _ in 0..bench.count(self.clients) {
            let id = scene.connect(Group::Publisher)?;
            scene.swarm.measure(id, Meter::Lines);
            clients.push(Pipelining::new(id, batch.clone(), self.pipeline as u64));
        }
        let watch = Watch::start(&mut scene)?;
        let before = scene.swarm.total(Group::Publisher);
        let (passed, peak) = run(&mut scene, &mut clients, &watch, 4 * bench.time())?;
        let done = (scene.swarm.total(Group::Publisher) - before) as f64;
        Ok(watch.figures(peak)?.also("ops/s", done / passed.as_secs_f64()))
    }
}

/// Clients that don't read what they asked for, of one kind: the server's growth, and what a quiet client waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unread {
    pub clients: usize,
    pub what: What,
}

/// What is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Small messages, each followed by a large one to somebody who reads.
    SmallBetweenLarge { messages: usize, large_bytes: usize },
    /// The answers to so many PINGs each.
    Pongs { each: usize },
    /// So many values of so many bytes each.
    Values { each: usize, bytes: usize },
}

const SMALL_CHANNEL: &str = "small:all";
const LARGE_CHANNEL: &str = "large:all";

impl Measure for Unread {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let count = bench.count(self.clients);
        let mut script: Vec<(ConnId, Vec<u8>, u64)> = Vec::new();
        let mut idle = Vec::new();
        match self.what {
            What::SmallBetweenLarge { messages, large_bytes } => {
                idle = scene.subscribers(count, |_| Subject::Channel(SMALL_CHANNEL))?;
                let reader = scene.subscribers(1, |_| Subject::Channel(LARGE_CHANNEL))?;
                scene.swarm.measure(reader[0], Meter::Bytes);
                let publisher = scene.connect(Group::Publisher)?;
                let (small, large) = (vec![b's'; 64], vec![b'l'; large_bytes]);
                for _ in 0..bench.count(messages) {
                    let mut pair = Vec::new();
                    scene.dialect().publish(&mut pair, Publish { channel: SMALL_CHANNEL, payload: &small });
                    scene.dialect().publish(&mut pair, Publish { channel: LARGE_CHANNEL, payload: &large });
                    script.push((publisher, pair, 2));
                }
            }
            What::Pongs { each } => {
                let pings = b"PING\r\n".repeat(bench.count(each));
                for _ in 0..count {
                    let id = scene.connect(Group::Bystander)?;
                    idle.push(id);
                    script.push((id, pings.clone(), 0));
                }
            }
            What::Values { each, bytes } => {
                let value = vec![b'v'; bytes];
                scene.ask("a value", 1, 1, |out, _| command(out, &[b"SET", b"large", &value]))?;
                let mut gets = Vec::new();
                (0..bench.count(each)).for_each(|_| command(&mut gets, &[b"GET", b"large"]));
                for _ in 0..count {
                    let id = scene.connect(Group::Bystander)?;
                    idle.push(id);
                    script.push((id, gets.clone(), 0));
                }
            }
        }
        for &id in &idle {
            scene.swarm.set_reading(id, false)?;
            scene.swarm.shrink_receive_buffer(id)?;
        }
        let watch = Watch::start(&mut scene)?;
        let mut peak = 0;
        let mut lines = 0;
        let begun = Instant::now();
        for (id, bytes, answers) in script {
            // A server may close whoever reads nothing; that is an answer too.
            if scene.swarm.send(id, &bytes).is_err() {
                continue;
            }
            lines += answers;
            while answers > 0 && scene.swarm.seen(id) < lines && begun.elapsed() < DEADLINE {
                scene.swarm.poll(Duration::from_millis(1))?;
            }
            peak = peak.max(watch.grown(&scene)?);
        }
        let settled = Instant::now();
        while settled.elapsed() < bench.time() {
            scene.swarm.poll(Duration::from_millis(10))?;
            peak = peak.max(watch.grown(&scene)?);
        }
        let closed = scene.swarm.closed() as f64;
        let times = watch.quiet.stop()?;
        Ok(Figures::new(peak as f64 / f64::from(1 << 20))
            .also(P99_MS, times.percentile_ms(0.99))
            .also("longest ms", times.longest_ms())
            .also(CLOSED, closed))
    }
}

/// Longest time for the part in which clients are sent what they don't read.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client that sends its batch again as soon as it has the answers.
struct Pipelining {
    id: ConnId,
    batch: Vec<u8>,
    lines: u64,
    due: u64,
}

impl Pipelining {
    fn new(id: ConnId, batch: Vec<u8>, lines: u64) -> Self {
        Self { id, batch, lines, due: 0 }
    }
}

/// Has the clients send for so long; the time that passed, and the most that the server grew.
fn run(
    scene: &mut Scene,
    clients: &mut [Pipelining],
    watch: &Watch,
    time: Duration,
) -> Result<(Duration, u64), Failure> {
    for client in clients.iter_mut() {
        client.due = scene.swarm.seen(client.id);
    }
    let begun = Instant::now();
    let (mut peak, mut sample_at) = (0, Duration::ZERO);
    while begun.elapsed() < time {
        for client in clients.iter_mut() {
            if scene.swarm.seen(client.id) >= client.due {
                scene.swarm.send(client.id, &client.batch)?;
                client.due += client.lines;
            }
        }
        scene.swarm.poll(Duration::from_millis(1))?;
        if begun.elapsed() > sample_at {
            peak = peak.max(watch.grown(scene)?);
            sample_at = begun.elapsed() + Duration::from_millis(50);
        }
    }
    Ok((begun.elapsed(), peak))
}

/// Somebody who only asks, and an eye on the memory.
pub(super) struct Watch {
    pub quiet: Quiet,
    resident_before: u64,
}

impl Watch {
    pub(super) fn start(scene: &mut Scene) -> Result<Self, Failure> {
        Ok(Self {
            resident_before: scene.resident_bytes()?,
            quiet: Quiet::start(scene.server.address, scene.server.pid())?,
        })
    }

    /// What the server has grown by.
    pub(super) fn grown(&self, scene: &Scene) -> Result<u64, Failure> {
        Ok(scene.resident_bytes()?.saturating_sub(self.resident_before))
    }

    fn figures(self, peak: u64) -> Result<Figures, Failure> {
        let times = self.quiet.stop()?;
        Ok(Figures::new(times.percentile_ms(0.99))
            .also("p50 ms", times.percentile_ms(0.5))
            .also("longest ms", times.longest_ms())
            .also(PEAK_MIB, peak as f64 / f64::from(1 << 20)))
    }
}
