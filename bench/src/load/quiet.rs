//! A quiet client: one PING at a time, on a thread of its own, each with the time until its answer.
//!
//! It stands for everybody who is not the cause of what happens: whatever holds its shard for a while is the longest
//! of its times. It asks again a moment after it was answered, so a pause is met by one PING, whole.
//!
//! Beside the time that passed stands the time that the server was on a core meanwhile: on a busy machine the first is
//! mostly the machine's, the second is what the server itself was busy with for somebody else.
use crate::limit::Failure;
use crate::machine::CpuTime;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between an answer and the next PING.
const INTERVAL: Duration = Duration::from_micros(200);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that asks until it is told to stop.
#[derive(Debug)]
pub(crate) struct Quiet {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Times, Failure>>,
}

/// How long its PINGs took.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Nanoseconds, rising.
    sorted: Vec<u64>,
    /// The longest time that the server was on a core during one of them, nanoseconds.
    busiest: u64,
}

impl Quiet {
    /// Connects to the server, which is this process, and asks from now on.
    pub(crate) fn start(address: SocketAddr, pid: u32) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread =
            std::thread::Builder::new().name("quiet".to_owned()).spawn(move || ask(stream, pid, &told))?;
        Ok(Self { is_over, thread })
    }

    /// Stops asking.
    pub(crate) fn stop(self) -> Result<Times, Failure> {
        // Relaxed: the flag publishes nothing but itself.
        self.is_over.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().map_err(|_| Failure::Closed("the quiet client"))??;
        times.sorted.sort_unstable();
        Ok(times)
    }
}

impl Times {
    /// The time that this part of the PINGs, between 0 and 1, took at most, in milliseconds.
    pub(crate) fn percentile_ms(&self, part: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let index = ((self.sorted.len() as f64 * part) as usize).min(last);
        self.sorted.get(index).map_or(0.0, |&ns| ns as f64 / 1e6)
    }

    /// The most that the server was busy while one of them waited, in milliseconds.
    pub(crate) fn busiest_ms(&self) -> f64 {
        self.busiest as f64 / 1e6
    }

    /// The longest, in milliseconds.
    pub(crate) fn longest_ms(&self) -> f64 {
        self.percentile_ms(1.0)
    }
}

fn ask(mut stream: TcpStream, pid: u32, is_over: &AtomicBool) -> Result<Times, Failure> {
    let mut times = Times::default();
    let mut reply = [0; 16];
    while !is_over.load(Ordering::Relaxed) {
        let cpu = CpuTime::read(pid)?;
        let begun = Instant::now();
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut reply[..b"+PONG\r\n".len()])?;
        times.sorted.push(begun.elapsed().as_nanos() as u64);
        times.busiest = times.busiest.max(CpuTime::read(pid)?.since(&cpu));
        std::thread::sleep(INTERVAL);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = Times { sorted: (1..=100).map(|ms| ms * 1_000_000).collect(), busiest: 0 };
        assert_eq!((times.percentile_ms(0.5), times.percentile_ms(0.99)), (51.0, 100.0));
        assert_eq!(times.longest_ms(), 100.0);
        assert_eq!(Times::default().longest_ms(), 0.0);
    }
}
