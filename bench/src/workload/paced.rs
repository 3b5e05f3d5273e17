//! Paced latency: messages at a steady rate, each carrying the time it was sent, and what disturbs them.
//!
//! The load generator spins instead of sleeping: its core is its own, and a timer's slack would be measured as the
//! server's.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::{Failure, Limit};
use crate::load::{AgeMeter, ConnId, Dialect, Group, Meter, Publish, STAMP_DIGITS, Subject, command};
use crate::peer::Settings;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// One publisher, so many subscribers, so many messages a second: the 99th percentile of the age at arrival, in
/// microseconds. With stalled subscribers the figure is the server's growth in MiB instead, and the age stands beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced {
    pub subscribers: usize,
    pub per_second: u32,
    pub messages: usize,
    pub beside: Beside,
}

/// What else the server has to do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    /// Subscribers that don't read are sent so many bytes each, the limits on their queues being raised: three quarters
    /// before, which is more than the kernel takes for them, and the rest meanwhile.
    Stalled {
        subscribers: usize,
        bytes_each: usize,
    },
    /// A client that sends commands without end, as fast as they are taken.
    EndlessPipeline,
    /// A subscriber that begins to read so many bytes just then.
    Backlog {
        bytes: usize,
    },
}

const CHANNEL: &str = "prices:live";
const BULK_CHANNEL: &str = "bulk:all";
const PAYLOAD_BYTES: usize = 64;
const BULK_PAYLOAD_BYTES: usize = 1024;
/// Bulk messages sent together.
const BULK_BATCH: usize = 4;
/// Bytes of commands that the endless pipeline keeps ready.
const ENDLESS_BYTES: usize = 256 << 10;

impl Measure for Paced {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let scene = bench.start(&Settings::default())?;
        let mut stage = Stage::prepare(self, scene, bench)?;
        let messages = bench.count(self.messages);
        let cpu = stage.scene.cpu()?;
        let mut ages = stage.run(messages, self.per_second)?;
        if ages.len() < messages * stage.listeners.len() / 2 {
            return Err(Failure::Timeout("the paced messages"));
        }
        ages.sort_unstable();
        stage.beside.finish(&mut stage.scene)?;
        let grown = stage.scene.resident_bytes()?.saturating_sub(stage.resident_before);
        let cpu_us = stage.scene.cpu()?.since(&cpu) as f64 / 1000.0 / messages as f64;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| percentile_us(&ages, part));
        Ok(match self.beside {
            Beside::Stalled { .. } => Figures::new(grown as f64 / f64::from(1 << 20)).also(P99, p99),
            _ => Figures::new(p99).also("p50 µs", p50).also("p99.9 µs", p999),
        }
        .also("µs CPU/message", cpu_us))
    }
}

/// Name of the 99th percentile where it isn't the main figure.
pub(super) const P99: &str = "p99 µs";

fn percentile_us(sorted: &[u64], part: f64) -> f64 {
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |&ns| ns as f64 / 1000.0)
}

struct Stage {
    scene: Scene,
    epoch: Instant,
    publisher: ConnId,
    listeners: Vec<ConnId>,
    beside: Disturbance,
    resident_before: u64,
}

/// A disturbance under way.
enum Disturbance {
    None,
    Bulk {
        publisher: ConnId,
        batch: Vec<u8>,
        batches: usize,
        batches_left: usize,
    },
    Endless {
        client: ConnId,
        block: Vec<u8>,
    },
    /// A subscriber whose queue is full, and that has not begun to read.
    Asleep {
        subscriber: ConnId,
    },
}

impl Stage {
    fn prepare(shape: &Paced, mut scene: Scene, bench: &Bench<'_>) -> Result<Self, Failure> {
        let dialect = scene.dialect();
        let channel = dialect.name(CHANNEL);
        let listeners = scene.subscribers(bench.count(shape.subscribers), |_| Subject::Channel(&channel))?;
        let publisher = scene.connect(Group::Publisher)?;
        let resident_before = scene.resident_bytes()?;
        let beside = disturb(shape.beside, &mut scene, bench)?;
        let mut all = listeners.clone();
        all.push(publisher);
        scene.quiet(&all)?;
        let epoch = Instant::now();
        let message = Publish { channel: &channel, payload: &[b'x'; PAYLOAD_BYTES] };
        let stamp_at = dialect.delivery_header(message, None).len();
        for &id in &listeners {
            let meter = AgeMeter::new(epoch, dialect.delivery_bytes(message) as usize, stamp_at);
            scene.swarm.measure(id, Meter::Ages(meter));
        }
        scene.swarm.measure(publisher, Meter::Bytes);
        Ok(Self { scene, epoch, publisher, listeners, beside, resident_before })
    }

    /// Sends `messages` at their times, then waits for those under way; their ages in nanoseconds.
    fn run(&mut self, messages: usize, per_second: u32) -> Result<Vec<u64>, Failure> {
        let interval = Duration::from_secs(1) / per_second;
        let limit = self.scene.limit("paced messages");
        let dialect = self.scene.dialect();
        let channel = dialect.name(CHANNEL);
        let begun = Instant::now();
        let mut request = Vec::new();
        for n in 0..messages {
            let due = begun + interval * n as u32;
            while Instant::now() < due {
                self.turn(&limit)?;
            }
            // The stamp is the time of sending, not the time it was due: what the load generator is late by is not the
            // server's, and a server that is late can't delay the next message, for nobody waits for its replies.
            let payload = stamped(self.epoch);
            request.clear();
            dialect.publish(&mut request, Publish { channel: &channel, payload: &payload });
            self.scene.swarm.send(self.publisher, &request)?;
            if n % 4 == 0 {
                self.beside.next_batch(&mut self.scene)?;
            }
        }
        let due = (messages * self.listeners.len()) as u64;
        let mut ages = self.scene.swarm.take_ages();
        let patience = Instant::now() + Duration::from_secs(10);
        while (ages.len() as u64) < due && Instant::now() < patience {
            self.turn(&limit)?;
            ages.append(&mut self.scene.swarm.take_ages());
        }
        Ok(ages)
    }

    fn turn(&mut self, limit: &Limit) -> Result<(), Failure> {
        limit.check()?;
        self.beside.keep_busy(&mut self.scene)?;
        self.scene.swarm.poll(Duration::ZERO)
    }
}

/// A payload that begins with the time.
fn stamped(epoch: Instant) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [b'x'; PAYLOAD_BYTES];
    let mut space = payload.as_mut_slice();
    // Sixteen digits of nanoseconds are 115 days.
    let _ = write!(space, "{:0width$}", epoch.elapsed().as_nanos(), width = STAMP_DIGITS);
    payload
}

impl Disturbance {
    /// Called every four messages: the bulk goes out at a steady pace too.
    fn next_batch(&mut self, scene: &mut Scene) -> Result<(), Failure> {
        match self {
            Disturbance::Bulk { publisher, batch, batches_left, .. } if *batches_left > 0 => {
                *batches_left -= 1;
                scene.swarm.send(*publisher, batch)?;
            }
            Disturbance::Asleep { subscriber } => {
                scene.swarm.set_reading(*subscriber, true)?;
                *self = Disturbance::None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until the server has taken all of the bulk, and holds the stalled subscribers still.
    fn finish(&self, scene: &mut Scene) -> Result<(), Failure> {
        let Disturbance::Bulk { publisher, batches, batches_left, .. } = self else { return Ok(()) };
        let sent = (batches - batches_left) as u64;
        let lines =
            scene.dialect().greeting_lines() + sent * scene.dialect().published_lines(BULK_BATCH as u64);
        let limit = scene.limit("the bulk to be taken");
        scene.swarm.until(&limit, |swarm| swarm.seen(*publisher) >= lines)?;
        match scene.swarm.closed() {
            0 => Ok(()),
            _ => Err(Failure::Closed("their stalling")),
        }
    }

    fn keep_busy(&self, scene: &mut Scene) -> Result<(), Failure> {
        if let Disturbance::Endless { client, block } = self
            && scene.swarm.unsent(*client) < ENDLESS_BYTES
        {
            scene.swarm.send(*client, block)?;
        }
        Ok(())
    }
}

fn disturb(beside: Beside, scene: &mut Scene, bench: &Bench<'_>) -> Result<Disturbance, Failure> {
    match beside {
        Beside::Nothing => Ok(Disturbance::None),
        Beside::Stalled { subscribers, bytes_each } => {
            raise_limits(scene)?;
            for id in stalled(scene, bench.count(subscribers))? {
                // What the kernel would hold for them is not in the server's queue.
                scene.swarm.shrink_receive_buffer(id)?;
            }
            let batches = bench.count(bytes_each / BULK_PAYLOAD_BYTES / BULK_BATCH);
            let before = batches - batches / 4;
            let (publisher, batch) = send_bulk(scene, before)?;
            Ok(Disturbance::Bulk { publisher, batch, batches, batches_left: batches - before })
        }
        Beside::EndlessPipeline => {
            let dialect = scene.dialect();
            let client = scene.connect(Group::Bystander)?;
            scene.swarm.measure(client, Meter::Bytes);
            let nobody = dialect.name("nobody:listens");
            let mut block = Vec::new();
            while block.len() < ENDLESS_BYTES {
                dialect.publish(&mut block, Publish { channel: &nobody, payload: &[b'x'; PAYLOAD_BYTES] });
            }
            Ok(Disturbance::Endless { client, block })
        }
        Beside::Backlog { bytes } => {
            raise_limits(scene)?;
            let sleeper = stalled(scene, 1)?;
            send_bulk(scene, bench.count(bytes / BULK_PAYLOAD_BYTES / BULK_BATCH))?;
            Ok(Disturbance::Asleep { subscriber: sleeper[0] })
        }
    }
}

/// Subscribers of the bulk channel that have stopped reading.
fn stalled(scene: &mut Scene, count: usize) -> Result<Vec<ConnId>, Failure> {
    let channel = scene.dialect().name(BULK_CHANNEL);
    let ids = scene.subscribers(count, |_| Subject::Channel(&channel))?;
    for &id in &ids {
        scene.swarm.measure(id, Meter::Bytes);
        scene.swarm.set_reading(id, false)?;
    }
    Ok(ids)
}

/// Publishes so many batches to the bulk channel and waits until the server has taken them; who sent them, and one batch.
fn send_bulk(scene: &mut Scene, batches: usize) -> Result<(ConnId, Vec<u8>), Failure> {
    let dialect = scene.dialect();
    let channel = dialect.name(BULK_CHANNEL);
    let id = scene.connect(Group::Bystander)?;
    let mut batch = Vec::new();
    for _ in 0..BULK_BATCH {
        dialect.publish(&mut batch, Publish { channel: &channel, payload: &[b'x'; BULK_PAYLOAD_BYTES] });
    }
    dialect.end_batch(&mut batch);
    let limit = scene.limit("the bulk to be taken");
    let mut lines = dialect.greeting_lines();
    for _ in 0..batches {
        scene.swarm.send(id, &batch)?;
        lines += dialect.published_lines(BULK_BATCH as u64);
        scene.swarm.until(&limit, |swarm| swarm.seen(id) >= lines)?;
    }
    Ok((id, batch))
}

/// Lets output queues grow without end; NATS is started so.
fn raise_limits(scene: &mut Scene) -> Result<(), Failure> {
    if scene.dialect() == Dialect::Nats {
        return Ok(());
    }
    let id = scene.connect(Group::Bystander)?;
    let mut request = Vec::new();
    command(&mut request, &[b"CONFIG", b"SET", b"client-output-buffer-limit", b"pubsub 0 0 0"]);
    scene.swarm.send(id, &request)?;
    let limit = scene.limit("CONFIG SET");
    scene.swarm.until(&limit, |swarm| swarm.seen(id) >= 1)
}
