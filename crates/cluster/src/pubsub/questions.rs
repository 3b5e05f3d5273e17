//! Questions to other nodes that have not been answered by all of them.
//!
//! Pure: the time is passed in, and whoever asked is handed out with the answers.

use std::collections::BTreeMap;
use std::time::Instant;

use sterna_server::Answer;

use super::frame::NodeId;

/// Bytes of one answer; a longer one is no answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One of them. `T`: who asked.
struct Asked<T> {
    /// Who has yet to answer, and what has come of it.
    open: BTreeMap<NodeId, Vec<u8>>,
    answers: Vec<Answer>,
    until: Instant,
    then: T,
}

/// See the module.
pub(super) struct Questions<T> {
    asked: BTreeMap<u64, Asked<T>>,
    next: u64,
    /// Answers that were not there in time, or could not be read.
    unanswered: u64,
}

impl<T> Questions<T> {
    pub(super) fn new() -> Questions<T> {
        Questions { asked: BTreeMap::new(), next: 0, unanswered: 0 }
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Notes a question to `nodes`, which are some; returns its number.
    pub(super) fn begin(&mut self, nodes: &[NodeId], until: Instant, then: T) -> u64 {
        let number = self.next;
        self.next += 1;
        let open = nodes.iter().map(|node| (*node, Vec::new())).collect();
        self.asked.insert(number, Asked { open, answers: Vec::new(), until, then });
        number
    }

    /// A part of a node's answer is there. With the last one of all: who asked, and the answers.
    pub(super) fn take(
        &mut self,
        from: NodeId,
        number: u64,
        is_last: bool,
        bytes: &[u8],
    ) -> Option<(T, Vec<Answer>)> {
        let asked = self.asked.get_mut(&number)?;
        let so_far = asked.open.get_mut(&from)?;
        if so_far.len() + bytes.len() <= ANSWER_BYTES_MAX {
            so_far.extend_from_slice(bytes);
        }
        if !is_last {
            return None;
        }
        let answer = asked.open.remove(&from).and_then(|bytes| Answer::read(&bytes));
        self.unanswered += u64::from(answer.is_none());
        asked.answers.extend(answer);
        self.end_if(number, |asked| asked.open.is_empty())
    }

    /// Nobody waits any more for a node that is lost.
    pub(super) fn note_lost(&mut self, node: NodeId) -> Vec<(T, Vec<Answer>)> {
        let numbers: Vec<u64> = self.asked.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.take(node, number, true, &[])).collect()
    }

    /// Questions whose time is over end with the answers that are there.
    pub(super) fn give_up_late(&mut self, now: Instant) -> Vec<(T, Vec<Answer>)> {
        let numbers: Vec<u64> = self.asked.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.end_if(number, |asked| asked.until <= now)).collect()
    }

    /// All end with the answers that are there.
    pub(super) fn end_all(&mut self) -> Vec<(T, Vec<Answer>)> {
        std::mem::take(&mut self.asked).into_values().map(|asked| (asked.then, asked.answers)).collect()
    }

    fn end_if(&mut self, number: u64, is_over: impl Fn(&Asked<T>) -> bool) -> Option<(T, Vec<Answer>)> {
        self.asked.get(&number).filter(|asked| is_over(asked))?;
        let asked = self.asked.remove(&number)?;
        self.unanswered += asked.open.len() as u64;
        Some((asked.then, asked.answers))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counts(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Answer::Counts(numbers.to_vec()).write(&mut bytes);
        bytes
    }

    #[test]
    fn who_asked_has_the_answers_when_all_have_answered_are_lost_or_late() {
        let (one, two) = (NodeId(1), NodeId(2));
        let start = Instant::now();
        let until = start + Duration::from_secs(1);
        let mut questions = Questions::new();

        let number = questions.begin(&[one, two], until, "answered in parts");
        let answer = counts(&[7]);
        let (front, back) = answer.split_at(answer.len() / 2);
        assert!(questions.take(one, number, false, front).is_none());
        assert!(questions.take(two, number, true, &counts(&[8])).is_none());
        assert!(questions.take(two, number, true, &counts(&[9])).is_none(), "it has answered");
        let (then, answers) = questions.take(one, number, true, back).unwrap();
        assert_eq!(
            (then, answers),
            ("answered in parts", vec![Answer::Counts(vec![8]), Answer::Counts(vec![7])])
        );
        assert_eq!(questions.unanswered(), 0);

        let number = questions.begin(&[one, two], until, "lost");
        questions.take(one, number, true, &answer);
        assert_eq!(questions.note_lost(two), [("lost", vec![Answer::Counts(vec![7])])]);
        assert_eq!(questions.unanswered(), 1);

        questions.begin(&[one, two], until, "late");
        assert!(questions.give_up_late(start).is_empty());
        assert_eq!(questions.give_up_late(until), [("late", Vec::new())]);
        assert_eq!(questions.unanswered(), 3);

        let number = questions.begin(&[one], until, "ended");
        assert_eq!(questions.end_all(), [("ended", Vec::new())]);
        assert!(questions.take(one, number, true, &answer).is_none());
    }
}
