//! Scripts: what an EVAL costs at all, what rate limiters cost, and what a job queue's scripts do.
//!
//! BullMQ's scripts are those of the package that the examples install: its library sends them to the server that is
//! measured (`bench/queues/requests.js`), and says which requests it sent; these are sent again, pipelined.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::command;
use crate::peer::Settings;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One connection sends one kind of script, pipelined: server CPU of each, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripts {
    /// EVAL of `return 1`.
    One,
    /// EVAL of a limiter that counts in fixed windows.
    FixedWindow,
    /// EVAL of a limiter that keeps each call of a window in a sorted set: twenty of them.
    SlidingWindow,
    /// FCALL of a function that does what the one with fixed windows does.
    Function,
    /// BullMQ's `Queue.add`.
    AddJob,
    /// BullMQ's `Worker.getNextJob` with jobs that wait.
    TakeJob,
}

const FIXED_WINDOW: &str = "local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used >= tonumber(ARGV[1]) then return {0, used, redis.call('PTTL', KEYS[1])} end
used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {1, used, 0}";

const SLIDING_WINDOW: &str =
    "local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - window)
local used = redis.call('ZCARD', KEYS[1])
if used >= limit then return {0, used, 0} end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], window)
return {1, used + 1, 0}";

/// Limiters' keys: each has called before, mostly.
const KEYS: usize = 1000;
/// Requests sent at once.
const PIPELINE: usize = 128;
/// Jobs that wait to be taken.
const JOBS: usize = 40_000;
/// All limiters answer an array of three numbers.
const LIMITER_LINES: u64 = 4;

/// What is sent in the timed part.
enum Requests {
    Made,
    /// The same again and again.
    Recorded(Vec<u8>),
}

impl Measure for Scripts {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let jobs = bench.count(JOBS);
        let requests = self.prepare(&mut scene, jobs)?;
        let most = if *self == Scripts::TakeJob { jobs } else { usize::MAX };
        let lines = self.lines(&scene, &requests)?;
        scene.pipelined(bench, (PIPELINE, most, lines), |out, n| self.request(out, n, &requests))
    }
}

impl Scripts {
    fn prepare(self, scene: &mut Scene, jobs: usize) -> Result<Requests, Failure> {
        match self {
            Scripts::One | Scripts::FixedWindow | Scripts::SlidingWindow => Ok(Requests::Made),
            Scripts::Function => {
                let library = format!(
                    "#!lua name=limits\nredis.register_function('limit', function(KEYS, ARGV)\n{FIXED_WINDOW}\nend)"
                );
                scene.text(&[b"FUNCTION", b"LOAD", library.as_bytes()])?;
                Ok(Requests::Made)
            }
            Scripts::AddJob => Ok(Requests::Recorded(recorded(scene)?.add)),
            Scripts::TakeJob => {
                let recorded = recorded(scene)?;
                let add = Requests::Recorded(recorded.add);
                let lines = Scripts::AddJob.lines(scene, &add)?;
                scene.ask("jobs", jobs, lines, |out, n| Scripts::AddJob.request(out, n, &add))?;
                Ok(Requests::Recorded(recorded.take))
            }
        }
    }

    /// Lines that answer one request.
    fn lines(self, scene: &Scene, requests: &Requests) -> Result<u64, Failure> {
        match requests {
            Requests::Made if self == Scripts::One => Ok(1),
            Requests::Made => Ok(LIMITER_LINES),
            Requests::Recorded(bytes) => {
                let reply = scene.answer(bytes)?;
                match reply.strip_prefix('-') {
                    Some(error) => Err(Failure::Reply(error.lines().next().unwrap_or_default().to_owned())),
                    // One is PING's.
                    None => Ok(reply.lines().count() as u64 - 1),
                }
            }
        }
    }

    /// Appends the `n`th request.
    fn request(self, out: &mut Vec<u8>, n: usize, requests: &Requests) {
        let key = format!("limit:{:04}", n % KEYS);
        let key = key.as_bytes();
        match self {
            Scripts::One => command(out, &[b"EVAL", b"return 1", b"0"]),
            Scripts::FixedWindow => {
                command(out, &[b"EVAL", FIXED_WINDOW.as_bytes(), b"1", key, b"1000000", b"60000"]);
            }
            Scripts::Function => command(out, &[b"FCALL", b"limit", b"1", key, b"1000000", b"60000"]),
            Scripts::SlidingWindow => {
                let now = (1_700_000_000_000 + n).to_string();
                let window = (20 * KEYS).to_string();
                let body = SLIDING_WINDOW.as_bytes();
                let now = now.as_bytes();
                command(out, &[b"EVAL", body, b"1", key, now, window.as_bytes(), b"100", now]);
            }
            Scripts::AddJob | Scripts::TakeJob => {
                if let Requests::Recorded(bytes) = requests {
                    out.extend_from_slice(bytes);
                }
            }
        }
    }
}

/// BullMQ's requests.
struct Recorded {
    add: Vec<u8>,
    take: Vec<u8>,
}

/// Has BullMQ send its scripts to the server, and say what it sent.
fn recorded(scene: &Scene) -> Result<Recorded, Failure> {
    let program = recorder().ok_or(Failure::Inapplicable("BullMQ is not installed: see ./test"))?;
    let port = scene.server.address.port().to_string();
    let output = Command::new("node").arg(program).arg(port).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut requests = text.split_whitespace().map(bytes_of);
    match (requests.next().flatten(), requests.next().flatten()) {
        (Some(add), Some(take)) => Ok(Recorded { add, take }),
        _ => Err(Failure::Reply(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

/// The program that records, if this runs in a checkout whose examples are installed.
fn recorder() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    let root = folder.ancestors().find(|root| root.join("bench/queues/requests.js").is_file())?;
    let is_installed = Path::is_dir(&root.join("examples/node_modules/bullmq"));
    is_installed.then(|| root.join("bench/queues/requests.js"))
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_become_bytes_and_nothing_else_does() {
        assert_eq!(bytes_of("2a0dff"), Some(vec![0x2a, 0x0d, 0xff]));
        assert_eq!(bytes_of("2a0"), None);
        assert_eq!(bytes_of("zz"), None);
    }
}
