//! Requests: arrays of bulk strings and inline commands.

/// What a client may send; checked while parsing, before anything is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// Most arguments in one request.
    pub multibulk_len_max: usize,
    /// Longest inline command, and longest header line, in bytes.
    pub inline_bytes_max: usize,
    /// Whether the client has yet to authenticate: the two limits above are then Redis's small ones and the errors say so.
    pub unauthenticated: bool,
}

/// Where the arguments of one request lie. Keeps its place when the request is incomplete.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<(u32, u32)>,
    /// Unescaped arguments of an inline command, which don't lie in the caller's buffer.
    inline: Vec<u8>,
}

/// What [`Parser::parse`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A whole request of `consumed` bytes; it may have no arguments (an empty line, `*0`), and is then skipped.
    Request {
        /// Bytes of the buffer that belong to it.
        consumed: usize,
    },
    /// The request goes on past the end of the buffer: at least `bytes_at_least` from its start are needed.
    Incomplete {
        /// Lower bound of the request's total length, for reserving memory; never above what the limits allow.
        bytes_at_least: usize,
    },
}

/// The peer broke the protocol: the connection answers the error and is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolError {
    /// See the wire text.
    InvalidMultibulkLength,
}

/// The arguments of one request, index 0 being the command's name.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [(u32, u32)],
}

/// Arguments that own their bytes: a request queued by MULTI.
#[derive(Debug, Clone)]
pub struct OwnedArgs {
    buf: Box<[u8]>,
    spans: Box<[(u32, u32)]>,
}

impl Parser {
    /// Parses the request at the start of `buf`. After `Incomplete`, call again with the same bytes and more behind them:
    /// parsing goes on where it stopped. After `Request` or an error the next call starts anew.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let _ = (buf, limits, &mut self.inline);
        Ok(Progress::Incomplete { bytes_at_least: 0 })
    }

    /// The arguments of the request last found in `buf`.
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args { buf, spans: &self.spans }
    }
}

impl<'a> Args<'a> {
    /// How many, the name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.get(index)?;
        self.buf.get(start as usize..end as usize)
    }

    /// The arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let buf = self.buf;
        self.spans.iter().map(move |&(start, end)| &buf[start as usize..end as usize])
    }

    /// The arguments from `index` on; empty past the end.
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(index..).unwrap_or(&[]) }
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs { buf: self.buf.into(), spans: self.spans.into() }
    }
}

impl OwnedArgs {
    /// A view of them.
    pub fn args(&self) -> Args<'_> {
        Args { buf: &self.buf, spans: &self.spans }
    }
}

impl std::ops::Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.buf[start as usize..end as usize]
    }
}
