//! `sterna top`: what a server does, in a terminal, and what it has to do with whom.
//!
//! ```text
//!   collector (a thread)                          the screen
//!   Source: INFO, LATENCY HISTOGRAM,    Sample    Figures: what lies between two samples
//!   CLIENT LIST, SCAN, XINFO GROUPS  ──────────►  view: drawn at each sample, key and change of size
//! ```
//!
//! It is a client like any other, so the server's rules hold for it: who may not see clients or streams sees the rest. A server
//! that does not answer keeps nobody from leaving, and one that is started anew is found again.

mod figures;
mod sample;
mod screen;
mod view;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use clap::Args;
use ratatui_core::terminal::Terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use self::figures::Figures;
use self::sample::{Sample, Source};
use self::screen::Screen;
use self::view::View;
use crate::Failure;
use crate::link::{Link, LinkError, Reach};

/// Which server, and how often to look.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: Reach,
    /// Seconds between two looks
    #[arg(short = 'i', long, value_name = "SECONDS", default_value = "1", value_parser = interval_of)]
    interval: Duration,
    /// Print what happens in one interval as text, and end; the default where there is no terminal
    #[arg(long)]
    once: bool,
    /// Print JSON: a line for each interval, or with --once one
    #[arg(long)]
    json: bool,
}

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Between two looks for keys, signals and changes of the terminal's size.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

fn interval_of(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.1 to 3600".to_owned())
}

/// Shows it until its user has seen enough.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, interval, once, json } = options;
    // Who can't get in is told before the screen is taken.
    let mut source = Source::new(open(&reach)?);
    if once || json || !Screen::is_possible() {
        return print(&mut source, &reach, interval, json, once || !json);
    }
    let (sender, samples) = mpsc::channel();
    let address = reach.address();
    thread::spawn(move || collect(source, &reach, interval, &sender));
    show(&samples, View::new(address))
}

fn open(reach: &Reach) -> Result<Link, LinkError> {
    let link = Link::open(reach)?;
    link.wait_at_most(ANSWER_MAX)?;
    Ok(link)
}

/// Prints what happens between one look and the next, once or until nobody reads.
fn print(
    source: &mut Source,
    reach: &Reach,
    interval: Duration,
    json: bool,
    once: bool,
) -> Result<(), Failure> {
    let mut before: Option<Sample> = None;
    loop {
        let sample = match source.sample() {
            Ok(sample) => sample,
            Err(error) if error.may_pass() && !once => {
                eprintln!("{error}; connecting again");
                *source = Source::new(Link::open_again(reach)?);
                before = None;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(before) = &before {
            let figures = Figures::between(Some(before), &sample);
            let text =
                if json { format!("{}\n", figures.json()) } else { view::text(&figures, &reach.address()) };
            let mut out = io::stdout().lock();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(|e| Failure::Io("cannot print", e))?,
            }
            if once {
                return Ok(());
            }
        }
        before = Some(sample);
        thread::sleep(interval);
    }
}

/// What the collector tells.
enum News {
    Sample(Box<Sample>),
    /// It is tried again.
    Away(String),
    /// It is not.
    Refused(LinkError),
}

/// Takes samples for as long as somebody wants them.
fn collect(mut source: Source, reach: &Reach, interval: Duration, sender: &Sender<News>) {
    loop {
        let news = match source.sample() {
            Ok(sample) => News::Sample(Box::new(sample)),
            Err(error) if error.may_pass() => {
                if sender.send(News::Away(error.to_string())).is_err() {
                    return;
                }
                match Link::open_again(reach).and_then(|link| link.wait_at_most(ANSWER_MAX).map(|()| link)) {
                    Ok(link) => source = Source::new(link),
                    Err(error) if error.may_pass() => {}
                    Err(error) => return drop(sender.send(News::Refused(error))),
                }
                continue;
            }
            Err(error) => News::Refused(error),
        };
        let is_end = matches!(news, News::Refused(_));
        if sender.send(news).is_err() || is_end {
            return;
        }
        thread::sleep(interval);
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Quit,
    Pause,
    Sort,
    Next,
    Zoom,
    Up,
    Down,
}

/// The keys that these bytes of a terminal are.
fn keys_of(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        keys.extend(match first {
            // Ctrl-C is a byte here, and no signal.
            b'q' | b'Q' | 3 => Some(Key::Quit),
            b'p' | b' ' => Some(Key::Pause),
            b's' => Some(Key::Sort),
            b'\t' => Some(Key::Next),
            b'z' | b'\r' | b'\n' => Some(Key::Zoom),
            b'k' => Some(Key::Up),
            b'j' => Some(Key::Down),
            0x1b => {
                let arrow = [(&b"[A"[..], Key::Up), (b"OA", Key::Up), (b"[B", Key::Down), (b"OB", Key::Down)];
                let found = arrow.iter().find(|(sequence, _)| rest.starts_with(sequence));
                rest = &rest[found.map_or(0, |(sequence, _)| sequence.len())..];
                found.map(|&(_, key)| key)
            }
            _ => None,
        });
    }
    keys
}

/// Draws what comes, and obeys keys, until one says that it is over.
fn show(samples: &Receiver<News>, mut view: View) -> Result<(), Failure> {
    let failed = |e| Failure::Io("the terminal", e);
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&stopped)).map_err(failed)?;
    }
    // Its drop gives the terminal back, whatever this ends with.
    let screen = Screen::take().map_err(failed)?;
    let mut terminal = Terminal::new(screen).map_err(failed)?;
    let mut before: Option<Box<Sample>> = None;
    let mut is_changed = true;
    let mut size = terminal.size().map_err(failed)?;
    while !stopped.load(Relaxed) {
        for news in samples.try_iter() {
            match news {
                News::Sample(sample) => {
                    view.take(Figures::between(before.as_deref(), &sample));
                    before = Some(sample);
                }
                News::Away(error) => view.lose(error),
                News::Refused(error) => return Err(error.into()),
            }
            is_changed = true;
        }
        let now = terminal.size().map_err(failed)?;
        if is_changed || now != size {
            size = now;
            terminal.draw(|frame| view.draw(frame.buffer_mut())).map_err(failed)?;
            is_changed = false;
        }
        for key in keys_of(&pressed().map_err(failed)?) {
            if key == Key::Quit {
                return Ok(());
            }
            view.obey(key);
            is_changed = true;
        }
    }
    Ok(())
}

/// What was pressed within a tick. Errors: the terminal is gone.
fn pressed() -> io::Result<Vec<u8>> {
    let input = io::stdin();
    let mut waits = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)];
    match poll(&mut waits, Some(&TICK)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Ok(_) => {
            let mut bytes = [0; 64];
            match rustix::io::read(input.as_fd(), &mut bytes) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => Ok(bytes[..n].to_vec()),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_or_sequences_and_others_are_none() {
        let rows: [(&[u8], &[Key]); 6] = [
            (b"q", &[Key::Quit]),
            (b"\x03", &[Key::Quit]),
            (b"s \t", &[Key::Sort, Key::Pause, Key::Next]),
            (b"\x1b[A\x1bOBz", &[Key::Up, Key::Down, Key::Zoom]),
            (b"\x1b", &[]),
            (b"x\xff", &[]),
        ];
        for (bytes, keys) in rows {
            assert_eq!(keys_of(bytes), keys, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_interval_is_neither_nothing_nor_for_ever() {
        assert_eq!(interval_of("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "NaN", "inf", "1e9", ""] {
            assert!(interval_of(text).is_err(), "{text}");
        }
    }
}
