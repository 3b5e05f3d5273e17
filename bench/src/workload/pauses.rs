//! Pauses: one thing that a client asks for, or that the clock brings, and the longest that the server is busy with it while
//! somebody else waits.
//!
//! The other client stands on the same shard. What is asked for may be refused: a limit is an answer as good as a slice.
use super::Measure;
use super::pressure::{PEAK_MIB, Watch};
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Group, Meter, command};
use crate::peer::Settings;
use std::time::{Duration, Instant};

/// What is done while somebody else asks: the most that the server was busy while it waited, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub of: Cause,
    /// Names, keys or clients.
    pub count: usize,
}

/// What may hold a shard up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// One request of this name with so many names after its fixed words.
    Request(Request),
    /// A client with so many channels leaves.
    Leave,
    /// So many keys expire in one moment.
    Expiry,
    /// So many blocked readers time out in one moment.
    Timeouts,
}

/// A request and what its names look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// The words before the names.
    pub words: &'static [&'static str],
    /// The words for each name; `#` is its number.
    pub each: &'static [&'static str],
    /// Whether there are as many keys in the server before.
    pub filled: bool,
}

impl Request {
    /// `word`, then names.
    pub(super) const fn of_names(words: &'static [&'static str]) -> Self {
        Self { words, each: &["key:#"], filled: false }
    }

    fn bytes(&self, count: usize) -> Vec<u8> {
        let words = self.words.len() + count * self.each.len();
        let mut bytes = format!("*{words}\r\n").into_bytes();
        let mut push = |word: &str| {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        };
        self.words.iter().for_each(|word| push(word));
        for n in 0..count {
            self.each.iter().for_each(|word| push(&word.replace('#', &n.to_string())));
        }
        bytes
    }
}

/// How long after the last sign of it the thing counts as over.
const SETTLED: Duration = Duration::from_millis(700);
/// When it is over in any case.
const DEADLINE: Duration = Duration::from_secs(60);
/// When the keys, or the readers, are all there and the clock has yet to strike.
const LEAD: Duration = Duration::from_millis(3000);

impl Measure for Pause {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        raise_limits(&mut scene)?;
        let count = bench.count(self.count);
        let watch;
        match self.of {
            Cause::Request(request) => {
                if request.filled {
                    fill(&mut scene, count, None)?;
                }
                let id = asker(&mut scene)?;
                let bytes = request.bytes(if request.each.is_empty() { 0 } else { count });
                watch = Watch::start(&mut scene)?;
                scene.swarm.send(id, &bytes)?;
                settle(&mut scene, id)?;
            }
            Cause::Leave => {
                let id = asker(&mut scene)?;
                for first in (0..count).step_by(1000) {
                    let names: Vec<String> =
                        (first..count.min(first + 1000)).map(|n| format!("channel:{n}")).collect();
                    let mut words: Vec<&[u8]> = vec![b"SUBSCRIBE"];
                    words.extend(names.iter().map(String::as_bytes));
                    let mut bytes = Vec::new();
                    command(&mut bytes, &words);
                    scene.swarm.send(id, &bytes)?;
                    scene.swarm.poll(Duration::from_millis(1))?;
                }
                settle(&mut scene, id)?;
                watch = Watch::start(&mut scene)?;
                std::thread::sleep(Duration::from_millis(50));
                scene.swarm.close(id)?;
                std::thread::sleep(SETTLED.max(bench.time()));
            }
            Cause::Expiry => {
                let at = std::time::SystemTime::now() + LEAD.max(Duration::from_micros(3 * count as u64));
                fill(&mut scene, count, Some(at))?;
                watch = Watch::start(&mut scene)?;
                let left = at.duration_since(std::time::SystemTime::now()).unwrap_or_default();
                std::thread::sleep(left + 2 * SETTLED);
            }
            Cause::Timeouts => {
                let at = Instant::now() + LEAD;
                let mut readers = Vec::new();
                for _ in 0..count {
                    readers.push(scene.connect(Group::Bystander)?);
                }
                let answered = scene.swarm.total(Group::Bystander) + count as u64;
                for id in readers {
                    let left = at.saturating_duration_since(Instant::now()).as_millis().max(1).to_string();
                    let mut bytes = Vec::new();
                    command(&mut bytes, &[b"XREAD", b"BLOCK", left.as_bytes(), b"STREAMS", b"s", b"$"]);
                    scene.swarm.send(id, &bytes)?;
                }
                watch = Watch::start(&mut scene)?;
                let limit = scene.limit("the readers to time out");
                scene.swarm.until(&limit, |swarm| swarm.total(Group::Bystander) >= answered)?;
            }
        }
        let grown = watch.grown(&scene)?;
        let times = watch.quiet.stop()?;
        Ok(Figures::new(times.busiest_ms())
            .also("longest wait ms", times.longest_ms())
            .also("p99 ms", times.percentile_ms(0.99))
            .also(PEAK_MIB, grown as f64 / f64::from(1 << 20)))
    }
}

/// Lets a reply be as long as it is: what is measured is not where a client is closed.
fn raise_limits(scene: &mut Scene) -> Result<(), Failure> {
    scene.text(&[b"CONFIG", b"SET", b"client-output-buffer-limit", b"pubsub 0 0 0"]).map(drop)
}

/// A client whose answers are only measured in bytes.
fn asker(scene: &mut Scene) -> Result<ConnId, Failure> {
    let id = scene.connect(Group::Bystander)?;
    scene.swarm.measure(id, Meter::Bytes);
    Ok(id)
}

/// Waits until the server has taken the request, and for a while has had nothing more to say to it.
fn settle(scene: &mut Scene, id: ConnId) -> Result<(), Failure> {
    let begun = Instant::now();
    let (mut seen, mut since) = (scene.swarm.seen(id), Instant::now());
    let closed = scene.swarm.closed();
    while begun.elapsed() < DEADLINE && scene.swarm.closed() == closed {
        scene.swarm.poll(Duration::from_millis(5))?;
        if scene.swarm.seen(id) != seen || scene.swarm.unsent(id) > 0 {
            (seen, since) = (scene.swarm.seen(id), Instant::now());
        } else if seen > 0 && since.elapsed() > SETTLED {
            return Ok(());
        }
    }
    Ok(())
}

/// Sets so many keys, to expire at the same moment if there is one.
fn fill(scene: &mut Scene, count: usize, at: Option<std::time::SystemTime>) -> Result<(), Failure> {
    let at_ms =
        at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map(|at| at.as_millis().to_string());
    scene.ask("keys to be set", count, 1, |out, n| {
        let key = format!("key:{n}");
        match &at_ms {
            Some(at_ms) => command(out, &[b"SET", key.as_bytes(), b"v", b"PXAT", at_ms.as_bytes()]),
            None => command(out, &[b"SET", key.as_bytes(), b"v"]),
        }
    })
}
