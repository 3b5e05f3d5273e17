//! When the next append begins: not with the first record after the last one, but with those of the clients that it has answered.
//!
//! One append flies at a time, and who writes meanwhile waits for the next. Clients that wait for their answer before they write
//! again would end up in two halves, each waiting for the other's append, and every append would carry half of what it could. A
//! pause, far shorter than an append, lets those join who were just answered.

use std::time::{Duration, Instant};

/// The pause is at most this part of the time that the last append took, and no longer than [`PAUSE_MAX`].
const PART: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// A pause that is shorter is not worth its timer, which counts milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Whether the next append waits for others to join.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What was taken last, in bytes, and when it was sent or the last part of it was answered.
    taken: Option<(usize, Instant)>,
    until: Option<Instant>,
}

impl Gather {
    /// Records of so many bytes are sent.
    pub(super) fn on_taken(&mut self, bytes: usize, now: Instant) {
        (self.taken, self.until) = (Some((bytes, now)), None);
    }

    /// They are answered, or a part of them.
    pub(super) fn on_answered(&mut self, now: Instant) {
        if let Some((_, began)) = &mut self.taken {
            let pause = PAUSE_MAX.min((now - *began) / PART);
            *began = now;
            self.until = (pause >= PAUSE_MIN).then(|| now + pause);
        }
    }

    /// How long records of `waiting` bytes still wait for others. `None`: they go now.
    pub(super) fn pause(&mut self, waiting: usize, now: Instant) -> Option<Duration> {
        let answered = self.taken.map_or(0, |(bytes, _)| bytes);
        let left = self.left(now).filter(|_| waiting < answered);
        if left.is_none() {
            self.until = None;
        }
        left
    }

    /// How much is left of the pause, if there is one.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_joins_and_nobody_waits_longer_than_a_part_of_an_append() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let micros = |micros| Some(Duration::from_micros(micros));
        let mut gather = Gather::default();
        assert_eq!(gather.pause(0, at(0)), None, "nobody was answered");

        gather.on_taken(300, at(0));
        assert_eq!(gather.pause(0, at(10)), None, "one that flies is waited for as it is");
        gather.on_answered(at(3000));
        assert_eq!(gather.pause(0, at(3000)), micros(1500));
        assert_eq!(gather.pause(200, at(4100)), micros(400));
        assert_eq!(gather.pause(300, at(4200)), None, "all are there");
        assert_eq!(gather.pause(0, at(4300)), None, "that was the pause");

        gather.on_taken(300, at(5000));
        gather.on_answered(at(9000));
        assert_eq!(gather.pause(200, at(11_000)), None, "the others do not come");

        gather.on_taken(300, at(20_000));
        gather.on_answered(at(99_000));
        assert_eq!(gather.pause(0, at(99_000)), Some(PAUSE_MAX));

        gather.on_taken(300, at(200_000));
        gather.on_answered(at(201_000));
        assert_eq!(gather.pause(0, at(201_000)), None, "appends are fast");
    }
}
