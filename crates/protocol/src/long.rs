//! A request with very many arguments, to be executed a part at a time.
//!
//! ```text
//!   spans   [ name │ 1 2 3 4 │ 5 6 7 8 │ 9 … ]          part 1: name 1 2 3 4
//!   later   [ name │ 1 2 3 name │ 5 6 7 8 │ 9 … ]       part 2: name 5 6 7 8
//! ```
//!
//! It takes over the buffer that the request arrived in and the parser's list of spans, so nothing is copied however
//! long it is. A part is a view as of a request of its own: the words of the name are written in front of it, over the
//! places of arguments that are done with.
//!
//! Invariants: `name.len()` ≤ `at` ≤ `spans.len()`; arguments below `at` have been in a part.

use crate::args::Args;
use crate::request::Parser;

/// See the module. By default it is empty.
#[derive(Debug, Default)]
pub struct LongRequest {
    buf: Vec<u8>,
    /// Where the request begins in `buf`.
    start: usize,
    spans: Vec<(u32, u32)>,
    /// The words that name the command.
    name: Vec<(u32, u32)>,
    at: usize,
}

impl LongRequest {
    /// The request that `parser` has found at `start` in `buf`; its first `head` arguments name the command.
    ///
    /// # Panics
    /// If the request has fewer arguments.
    pub fn new(buf: Vec<u8>, start: usize, parser: Parser, head: usize) -> LongRequest {
        let (spans, inline) = parser.into_parts();
        let (buf, start) = if inline.is_empty() { (buf, start) } else { (inline, 0) };
        let name = spans[..head].to_vec();
        LongRequest { buf, start, spans, name, at: head }
    }

    /// The request as it came, while no part of it has been taken.
    pub fn args(&self) -> Args<'_> {
        debug_assert_eq!(self.at, self.name.len(), "places of arguments that are done with are used again");
        Args::new(&self.buf[self.start..], &self.spans)
    }

    /// Arguments behind the name.
    pub fn names(&self) -> usize {
        self.spans.len() - self.name.len()
    }

    /// Whether every argument has been in a part.
    pub fn is_done(&self) -> bool {
        self.at == self.spans.len()
    }

    /// The command's name with the next arguments: `most` of them, or as many as have `bytes_max` bytes, at least one, or what is left.
    pub fn next_part(&mut self, most: usize, bytes_max: usize) -> Args<'_> {
        let from = self.at - self.name.len();
        self.spans[from..self.at].copy_from_slice(&self.name);
        let mut bytes = 0;
        let fits = |&&(start, end): &&(u32, u32)| {
            bytes += (end - start) as usize;
            bytes <= bytes_max
        };
        let fitting = self.spans[self.at..].iter().take(most).take_while(fits).count();
        self.at += fitting.max(1).min(self.spans.len() - self.at);
        Args::new(&self.buf[self.start..], &self.spans[from..self.at])
    }

    /// Has the last part, which had so many arguments, be taken again with the next.
    pub fn put_back(&mut self, arguments: usize) {
        debug_assert!(self.at - self.name.len() >= arguments, "no more than was taken");
        self.at -= arguments;
    }

    /// The buffer that it arrived in.
    pub fn into_buf(self) -> Vec<u8> {
        self.buf
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use crate::request::{Limits, Progress};

    fn long(words: &[&str], head: usize) -> LongRequest {
        let mut buf = b"before".to_vec();
        let start = buf.len();
        encode::request(&mut buf, words);
        let mut parser = Parser::default();
        let progress = parser.parse(&buf[start..], &Limits::default());
        assert!(matches!(progress, Ok(Progress::Request { .. })));
        LongRequest::new(buf, start, parser, head)
    }

    fn words(args: Args<'_>) -> Vec<String> {
        args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    #[test]
    fn every_part_has_the_name_and_each_argument_is_in_one_part() {
        let mut request = long(&["pubsub", "numsub", "a", "b", "c", "d", "e"], 2);
        assert_eq!((request.names(), request.args().len()), (5, 7));
        for part in [vec!["a", "b"], vec!["c", "d"], vec!["e"]] {
            assert!(!request.is_done());
            assert_eq!(words(request.next_part(2, 100)), [vec!["pubsub", "numsub"], part].concat());
        }
        assert!(request.is_done());
        assert_eq!(words(request.next_part(2, 100)), ["pubsub", "numsub"]);
    }

    #[test]
    fn a_part_has_as_many_bytes_as_are_taken_together_or_one_argument() {
        let mut request = long(&["exists", "a", "bb", "ccc", "dddd", "e"], 1);
        for part in [vec!["a", "bb"], vec!["ccc"], vec!["dddd"], vec!["e"]] {
            assert_eq!(words(request.next_part(5, 3))[1..], part);
        }
        assert!(request.is_done());
    }

    #[test]
    fn a_part_that_is_put_back_comes_again() {
        let mut request = long(&["exists", "a", "b", "c", "d"], 1);
        for (part, back) in [(["a", "b"], true), (["a", "b"], false), (["c", "d"], true), (["c", "d"], false)]
        {
            assert_eq!(words(request.next_part(2, 100))[1..], part);
            if back {
                request.put_back(2);
            }
        }
        assert!(request.is_done());
    }

    #[test]
    fn parts_shorter_than_the_name_are_right_too() {
        let mut request = long(&["a", "b", "1", "2", "3"], 2);
        for part in ["1", "2", "3"] {
            assert_eq!(words(request.next_part(1, 100)), ["a", "b", part]);
        }
        assert!(request.is_done());
    }
}
