//! What was compiled ahead, until the request asks for it that it was compiled for.
//!
//! A client may leave before it does: then this goes when others come.

use std::collections::VecDeque;

use crate::functions::Library;

/// Texts that are kept at most, and bytes of theirs, but for the last.
const PREPARED_MAX: usize = 64;
const PREPARED_BYTES_MAX: usize = 16 << 20;

/// What became of a text: libraries, or the text of an error reply.
type Outcome = Result<Vec<Library>, Vec<u8>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// By their texts, the oldest first.
    outcomes: VecDeque<(Box<[u8]>, Outcome)>,
    bytes: usize,
}

impl Prepared {
    pub(crate) fn has(&self, text: &[u8]) -> bool {
        self.outcomes.iter().any(|(of, _)| **of == *text)
    }

    pub(crate) fn take(&mut self, text: &[u8]) -> Option<Outcome> {
        let at = self.outcomes.iter().position(|(of, _)| **of == *text)?;
        self.bytes -= text.len();
        self.outcomes.remove(at).map(|(_, outcome)| outcome)
    }

    /// Returns the libraries that nobody has asked for, or that were prepared from the same text.
    pub(crate) fn add(&mut self, text: &[u8], outcome: Outcome) -> Vec<Library> {
        let mut gone = self.take(text).and_then(Result::ok).unwrap_or_default();
        self.bytes += text.len();
        self.outcomes.push_back((text.into(), outcome));
        while self.outcomes.len() > PREPARED_MAX || self.bytes > PREPARED_BYTES_MAX && self.outcomes.len() > 1
        {
            let Some((text, outcome)) = self.outcomes.pop_front() else { break };
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
        assert_eq!(prepared.add(b"a", Ok(vec![library("a")])), []);
        assert_eq!(prepared.add(b"a", Ok(vec![library("b")])), [library("a")], "the same text");
        assert!(prepared.has(b"a") && !prepared.has(b"b"));
        assert_eq!(prepared.take(b"a"), Some(Ok(vec![library("b")])));
        assert_eq!(prepared.take(b"a"), None);
        prepared.add(b"first", Ok(vec![library("first")]));
        let gone: Vec<Library> = (0..PREPARED_MAX)
            .flat_map(|number| prepared.add(number.to_string().as_bytes(), Err(Vec::new())))
            .collect();
        assert_eq!(gone, [library("first")]);
        let long = vec![b' '; PREPARED_BYTES_MAX];
        prepared.add(&long, Ok(vec![library("long")]));
        assert!(prepared.has(&long) && !prepared.has(b"0") && prepared.outcomes.len() == 1);
        assert_eq!(prepared.add(b"x", Err(Vec::new())), [library("long")]);
        assert_eq!(prepared.bytes, 1);
    }
}
