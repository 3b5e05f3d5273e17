//! Views of a request's arguments.

use std::fmt;
use std::ops::Index;

use crate::request::Parser;

/// The arguments of one request, index 0 being the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    /// Start and end of each argument in `buf`.
    spans: &'a [(u32, u32)],
}

/// Arguments that own their bytes: a request queued by MULTI.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedArgs {
    /// The arguments back to back.
    buf: Box<[u8]>,
    spans: Box<[(u32, u32)]>,
}

/// Arguments that come one after the other, each copied once.
#[derive(Debug, Default)]
pub struct ArgsBuilder {
    buf: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl ArgsBuilder {
    /// Adds an argument.
    ///
    /// # Panics
    /// If the arguments together are longer than 4 GiB.
    pub fn push_arg(&mut self, arg: &[u8]) {
        let offset = |len: usize| u32::try_from(len).expect("a request is at most 4 GiB long");
        let start = offset(self.buf.len());
        self.buf.extend_from_slice(arg);
        self.spans.push((start, offset(self.buf.len())));
    }

    /// Forgets them, and keeps the memory for others.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.spans.clear();
    }

    /// Bytes of memory that are kept.
    pub fn capacity(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<(u32, u32)>()
    }

    /// A view of them.
    pub fn args(&self) -> Args<'_> {
        Args { buf: &self.buf, spans: &self.spans }
    }
}

/// Iterates over arguments: see [`Args::iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    buf: &'a [u8],
    spans: std::slice::Iter<'a, (u32, u32)>,
}

impl<'a> Args<'a> {
    /// A view of `spans` of `buf`.
    #[inline]
    pub(crate) fn new(buf: &'a [u8], spans: &'a [(u32, u32)]) -> Args<'a> {
        Args { buf, spans }
    }

    /// How many, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// About how many bytes of the buffer they take, from the first to the last.
    #[inline]
    pub fn extent(&self) -> usize {
        match self.spans {
            [(start, end)] | [(start, _), .., (_, end)] => (end - start) as usize,
            [] => 0,
        }
    }

    /// Argument `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.get(index)?;
        self.buf.get(start as usize..end as usize)
    }

    /// The first argument: the command's name, or the subcommand's after [`from(1)`](Args::from).
    #[inline]
    pub fn first(&self) -> Option<&'a [u8]> {
        self.get(0)
    }

    /// The arguments in order.
    pub fn iter(&self) -> Iter<'a> {
        Iter { buf: self.buf, spans: self.spans.iter() }
    }

    /// The arguments from `index` on; empty past the end.
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(index..).unwrap_or(&[]) }
    }

    /// A copy that owns its bytes: those of the arguments, nothing else of the buffer.
    pub fn to_owned(&self) -> OwnedArgs {
        let bytes = self.iter().map(<[u8]>::len).sum();
        OwnedArgs::gather(self.iter(), Vec::with_capacity(bytes), Vec::with_capacity(self.len()))
    }
}

impl OwnedArgs {
    /// Those of the request that `parser` has found at the beginning of `buf`, which is kept as it is.
    pub fn of_request(buf: Vec<u8>, parser: Parser) -> OwnedArgs {
        let (spans, inline) = parser.into_parts();
        let buf = if inline.is_empty() { buf } else { inline };
        OwnedArgs { buf: buf.into(), spans: spans.into() }
    }

    /// Owns copies of `args`.
    pub fn from_slices(args: &[&[u8]]) -> OwnedArgs {
        args.iter().collect()
    }

    /// A view of them.
    pub fn args(&self) -> Args<'_> {
        Args { buf: &self.buf, spans: &self.spans }
    }

    /// # Panics
    /// If the arguments together are longer than 4 GiB, which no parsed request is.
    fn gather<A: AsRef<[u8]>>(
        args: impl Iterator<Item = A>,
        mut buf: Vec<u8>,
        mut spans: Vec<(u32, u32)>,
    ) -> OwnedArgs {
        let offset = |len: usize| u32::try_from(len).expect("a request is at most 4 GiB long");
        for arg in args {
            let start = offset(buf.len());
            buf.extend_from_slice(arg.as_ref());
            spans.push((start, offset(buf.len())));
        }
        OwnedArgs { buf: buf.into(), spans: spans.into() }
    }

    /// Bytes on the heap, for the accounting of queued requests.
    pub fn heap_bytes(&self) -> usize {
        self.buf.len() + size_of_val(&*self.spans)
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for OwnedArgs {
    /// # Panics
    /// If the arguments together are longer than 4 GiB, which no parsed request is.
    fn from_iter<I: IntoIterator<Item = A>>(args: I) -> OwnedArgs {
        OwnedArgs::gather(args.into_iter(), Vec::new(), Vec::new())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.spans.next().map(|&(start, end)| &self.buf[start as usize..end as usize])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.spans.next_back().map(|&(start, end)| &self.buf[start as usize..end as usize])
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    /// If there is no such argument: only for indexes that the command's arity covers.
    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.buf[start as usize..end as usize]
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Parser};

    #[test]
    fn arguments_are_reached_by_index_in_order_and_from_the_back() {
        let owned = OwnedArgs::from_slices(&[b"XADD", b"", b"*"]);
        let args = owned.args();
        assert_eq!((args.len(), args.is_empty()), (3, false));
        assert_eq!(args.first(), Some(&b"XADD"[..]));
        assert_eq!((args.get(1), args.get(3)), (Some(&b""[..]), None));
        assert_eq!(&args[2], b"*");
        assert_eq!(args.iter().len(), 3);
        assert_eq!(args.into_iter().rev().collect::<Vec<_>>(), [&b"*"[..], b"", b"XADD"]);
    }

    #[test]
    fn a_tail_starts_anew_and_may_be_empty() {
        let owned: OwnedArgs = ["CLIENT", "KILL", "ID"].into_iter().collect();
        let args = owned.args();
        assert_eq!(args.from(1).first(), Some(&b"KILL"[..]));
        assert_eq!(args.from(1).from(1).iter().collect::<Vec<_>>(), [b"ID"]);
        assert!(args.from(3).is_empty() && args.from(usize::MAX).is_empty());
    }

    #[test]
    fn a_copy_owns_the_arguments_bytes_and_no_others() {
        let buf = [b"*2\r\n$4\r\nPING\r\n$2\r\nhi\r\n", &[b'x'; 10_000][..]].concat();
        let mut parser = Parser::default();
        parser.parse(&buf, &Limits::default()).unwrap();
        let owned = parser.args(&buf).to_owned();
        assert_eq!(owned, OwnedArgs::from_slices(&[b"PING", b"hi"]));
        assert_eq!(owned.heap_bytes(), 6 + 2 * 8);
        // Of a tail too: what stands before it is not kept.
        assert_eq!(owned.args().from(1).to_owned().heap_bytes(), 2 + 8);
    }
}
