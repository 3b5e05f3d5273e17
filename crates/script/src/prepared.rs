//! What was compiled ahead, until the request asks for it that it was compiled for.
//!
//! A client may leave before it does: then this goes when others come.

use std::collections::VecDeque;

use crate::functions::Library;

/// Texts that are kept at most, and bytes of theirs, but for the last.
const PREPARED_MAX: usize = 64;
const PREPARED_BYTES_MAX: usize = 16 << 20;

/// What a text is sent as: the same bytes may be sent as another, and that has an outcome of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Of EVAL.
    Script,
    /// Of FUNCTION LOAD.
    Library,
    /// Of FUNCTION RESTORE.
    Payload,
}

/// What became of a text: libraries, or the text of an error reply.
type Outcome = Result<Vec<Library>, Vec<u8>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// By their texts, the oldest first.
    outcomes: VecDeque<(TextKind, Box<[u8]>, Outcome)>,
    bytes: usize,
}

impl Prepared {
    fn place_of(&self, kind: TextKind, text: &[u8]) -> Option<usize> {
        self.outcomes.iter().position(|(as_kind, of, _)| *as_kind == kind && **of == *text)
    }

    pub(crate) fn has(&self, kind: TextKind, text: &[u8]) -> bool {
        self.place_of(kind, text).is_some()
    }

    pub(crate) fn take(&mut self, kind: TextKind, text: &[u8]) -> Option<Outcome> {
        let at = self.place_of(kind, text)?;
        self.bytes -= text.len();
        self.outcomes.remove(at).map(|(_, _, outcome)| outcome)
    }

    /// Returns the libraries that nobody has asked for, or that were prepared from the same text.
    pub(crate) fn add(&mut self, kind: TextKind, text: &[u8], outcome: Outcome) -> Vec<Library> {
        let mut gone = self.take(kind, text).and_then(Result::ok).unwrap_or_default();
        self.bytes += text.len();
        self.outcomes.push_back((kind, text.into(), outcome));
        while self.outcomes.len() > PREPARED_MAX || self.bytes > PREPARED_BYTES_MAX && self.outcomes.len() > 1
        {
            let Some((_, text, outcome)) = self.outcomes.pop_front() else { break };
            self.bytes -= text.len();
            gone.extend(outcome.unwrap_or_default());
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str) -> Library {
        Library { name: name.to_owned(), code: b""[..].into(), functions: Vec::new() }
    }

    #[test]
    fn what_is_asked_for_is_there_once_and_what_nobody_asks_for_goes() {
        let mut prepared = Prepared::default();
        assert_eq!(prepared.add(TextKind::Library, b"a", Ok(vec![library("a")])), []);
        assert_eq!(
            prepared.add(TextKind::Library, b"a", Ok(vec![library("b")])),
            [library("a")],
            "the same text"
        );
        assert!(prepared.has(TextKind::Library, b"a") && !prepared.has(TextKind::Library, b"b"));
        assert_eq!(prepared.take(TextKind::Library, b"a"), Some(Ok(vec![library("b")])));
        assert_eq!(prepared.take(TextKind::Library, b"a"), None);
        prepared.add(TextKind::Library, b"first", Ok(vec![library("first")]));
        let gone: Vec<Library> = (0..PREPARED_MAX)
            .flat_map(|number| {
                prepared.add(TextKind::Library, number.to_string().as_bytes(), Err(Vec::new()))
            })
            .collect();
        assert_eq!(gone, [library("first")]);
        let long = vec![b' '; PREPARED_BYTES_MAX];
        prepared.add(TextKind::Library, &long, Ok(vec![library("long")]));
        assert!(
            prepared.has(TextKind::Library, &long)
                && !prepared.has(TextKind::Library, b"0")
                && prepared.outcomes.len() == 1
        );
        assert_eq!(prepared.add(TextKind::Library, b"x", Err(Vec::new())), [library("long")]);
        assert_eq!(prepared.bytes, 1);
    }

    #[test]
    fn what_a_text_is_as_one_thing_says_nothing_of_it_as_another() {
        let mut prepared = Prepared::default();
        prepared.add(TextKind::Library, b"text", Ok(vec![library("a")]));
        prepared.add(TextKind::Payload, b"text", Err(b"no payload".to_vec()));
        assert!(!prepared.has(TextKind::Script, b"text"));
        assert_eq!(prepared.take(TextKind::Script, b"text"), None);
        assert_eq!(prepared.take(TextKind::Payload, b"text"), Some(Err(b"no payload".to_vec())));
        assert_eq!(prepared.take(TextKind::Library, b"text"), Some(Ok(vec![library("a")])));
        assert_eq!(prepared.bytes, 0);
    }
}
