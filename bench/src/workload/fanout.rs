//! Fan-out: publishers send batches, subscribers take everything, CPU per delivery is what counts.
//!
//! The next batch of a publisher leaves when its last one has been answered and at most one round of batches is still
//! on its way to the subscribers. So the server always has work, its queues stay short, and how fast the load generator
//! reads changes how long it takes but not what is measured.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Dialect, Group, Meter, Publish, Subject};
use crate::peer::Settings;
use std::time::Instant;

/// Shape of the traffic.
#[derive(Debug, Clone, Copy)]
pub(super) struct FanOut {
    pub channels: usize,
    /// Subscribers of each channel.
    pub subscribers: usize,
    pub publishers: usize,
    /// Messages a publisher sends before it waits for the replies.
    pub pipeline: usize,
    pub payload_bytes: usize,
    pub through: Through,
    /// Sterna's shards.
    pub threads: u32,
    /// Subscribers come over TLS, the publisher doesn't.
    pub tls: bool,
}

/// How the subscribers asked for the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    Channel,
    /// One pattern that matches every channel.
    Pattern,
}

impl FanOut {
    /// One publisher, one channel.
    pub(super) const fn one_channel(subscribers: usize, pipeline: usize, payload_bytes: usize) -> Self {
        Self {
            channels: 1,
            subscribers,
            publishers: 1,
            pipeline,
            payload_bytes,
            through: Through::Channel,
            threads: 1,
            tls: false,
        }
    }
}

const PATTERN: &str = "channel:*";

impl Measure for FanOut {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let scene = bench.start(&Settings { threads: self.threads, tls: self.tls, ..Settings::default() })?;
        let channels = bench.count(self.channels);
        let mut traffic = Traffic::prepare(self, scene, channels, bench.count(self.subscribers))?;
        traffic.warm_up()?;
        traffic.run(bench.time())
    }
}

/// Commands ready to be sent, and what they cause.
struct Batch {
    bytes: Vec<u8>,
    messages: u64,
}

/// A publisher: its batches, sent in a circle, and the lines that answered so far.
struct Publisher {
    id: ConnId,
    batches: Vec<Batch>,
    next: usize,
    lines_due: u64,
}

struct Traffic {
    scene: Scene,
    publishers: Vec<Publisher>,
    /// Bytes that one message causes at all its subscribers, and how many those are.
    bytes_per_message: u64,
    deliveries_per_message: u64,
    messages: u64,
    /// Messages that may be on their way to subscribers when the next batch leaves.
    window: u64,
}

impl Traffic {
    fn prepare(
        shape: &FanOut,
        mut scene: Scene,
        channels: usize,
        subscribers: usize,
    ) -> Result<Self, Failure> {
        let dialect = scene.dialect();
        let names: Vec<String> = (0..channels).map(|n| dialect.name(&format!("channel:{n:04}"))).collect();
        let pattern = dialect.name(PATTERN);
        let listeners = match shape.tls {
            true => scene.tls_subscribers(subscribers, &names[0])?,
            false => scene.subscribers(channels * subscribers, |index| match shape.through {
                Through::Channel => Subject::Channel(&names[index % channels]),
                Through::Pattern => Subject::Pattern(&pattern),
            })?,
        };
        let payload = vec![b'x'; shape.payload_bytes];
        let mut publishers = Vec::new();
        for index in 0..shape.publishers {
            let id = scene.connect(Group::Publisher)?;
            let batches = batches(dialect, &names, index, shape.pipeline, &payload);
            publishers.push(Publisher { id, batches, next: 0, lines_due: 0 });
        }
        let mut all = listeners.clone();
        all.extend(publishers.iter().map(|publisher| publisher.id));
        scene.quiet(&all)?;
        if !shape.tls {
            for &id in &listeners {
                scene.swarm.measure(id, Meter::Bytes);
            }
        }
        for publisher in &publishers {
            scene.swarm.measure(publisher.id, Meter::Lines);
        }
        let message = Publish { channel: &names[0], payload: &payload };
        let delivery_bytes = match shape.through {
            Through::Channel => dialect.delivery_bytes(message),
            Through::Pattern => dialect.pattern_delivery_bytes(message, &pattern),
        };
        Ok(Self {
            scene,
            publishers,
            bytes_per_message: delivery_bytes * subscribers as u64,
            deliveries_per_message: subscribers as u64,
            messages: 0,
            window: (shape.publishers * shape.pipeline) as u64,
        })
    }

    fn warm_up(&mut self) -> Result<(), Failure> {
        for _ in 0..3 {
            self.send_where_answered()?;
            self.drain()?;
        }
        Ok(())
    }

    /// Sends its next batch on every publisher that has no reply to wait for.
    fn send_where_answered(&mut self) -> Result<(), Failure> {
        let dialect = self.scene.dialect();
        for publisher in &mut self.publishers {
            if self.scene.swarm.seen(publisher.id) < publisher.lines_due {
                continue;
            }
            let batch = &publisher.batches[publisher.next];
            publisher.next = (publisher.next + 1) % publisher.batches.len();
            publisher.lines_due += dialect.published_lines(batch.messages);
            self.messages += batch.messages;
            self.scene.swarm.send(publisher.id, &batch.bytes)?;
        }
        Ok(())
    }

    /// Waits until every message sent has reached its subscribers and every publisher its replies.
    fn drain(&mut self) -> Result<(), Failure> {
        let limit = self.scene.batch_limit("the last deliveries");
        let due = self.messages * self.bytes_per_message;
        let publishers = &self.publishers;
        self.scene.swarm.until(&limit, |swarm| {
            swarm.total(Group::Subscriber) >= due
                && publishers.iter().all(|publisher| swarm.seen(publisher.id) >= publisher.lines_due)
        })
    }

    fn run(&mut self, time: std::time::Duration) -> Result<Figures, Failure> {
        let before = self.messages;
        let cpu = self.scene.cpu()?;
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.send_where_answered()?;
            let limit = self.scene.batch_limit("a batch");
            let due = self.messages.saturating_sub(self.window) * self.bytes_per_message;
            let publishers = &self.publishers;
            self.scene.swarm.until(&limit, |swarm| {
                swarm.total(Group::Subscriber) >= due
                    && publishers.iter().any(|publisher| swarm.seen(publisher.id) >= publisher.lines_due)
            })?;
        }
        self.drain()?;
        let seconds = begun.elapsed().as_secs_f64();
        let used = self.scene.cpu()?.since(&cpu);
        let deliveries = ((self.messages - before) * self.deliveries_per_message) as f64;
        Ok(Figures::new(used as f64 / deliveries).also("deliveries/s", deliveries / seconds))
    }
}

/// Batches of `pipeline` messages that together name each channel once (a single channel: one batch of it).
///
/// Publishers walk the channels in strides of their own, so that neighbours in a batch aren't neighbours in any table.
fn batches(
    dialect: Dialect,
    names: &[String],
    publisher: usize,
    pipeline: usize,
    payload: &[u8],
) -> Vec<Batch> {
    let messages = names.len().max(pipeline);
    let stride = 7 + 2 * publisher;
    (0..messages)
        .step_by(pipeline)
        .map(|first| {
            let count = pipeline.min(messages - first);
            let mut bytes = Vec::new();
            for position in first..first + count {
                let channel = &names[position * stride % names.len()];
                dialect.publish(&mut bytes, Publish { channel, payload });
            }
            dialect.end_batch(&mut bytes);
            Batch { bytes, messages: count as u64 }
        })
        .collect()
}
