//! Finds the ends of frames without looking at what they say. Each byte is looked at once, however it arrives.

/// No reply has a longer string, or more elements.
const LENGTH_MAX: u64 = 1 << 40;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Frames that have yet to come until the one that was begun is whole; 0: none was begun.
    open: u64,
    /// Bytes of a bulk string to pass over.
    skip: u64,
    line: Line,
}

/// The header that is being read.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    kind: u8,
    length: u64,
    is_null: bool,
}

/// Bytes that are no replies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoReply;

impl Scanner {
    /// Where the frame that was begun ends in `bytes`; `None`: not yet. An empty rest is none.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, NoReply> {
        let mut at = 0;
        if self.open == 0 {
            self.open = 1;
        }
        while at < bytes.len() {
            if self.skip > 0 {
                let passed = self.skip.min((bytes.len() - at) as u64);
                self.skip -= passed;
                at += passed as usize;
                if self.skip > 0 {
                    return Ok(None);
                }
                if self.ends_one() {
                    return Ok(Some(at));
                }
                continue;
            }
            if self.line.kind == 0 {
                self.line = Line { kind: bytes[at], ..Line::default() };
                at += 1;
                if !b"+-:$*_#,(!=%~>|".contains(&self.line.kind) {
                    return Err(NoReply);
                }
            }
            let rest = &bytes[at..];
            let counts = b"$*!=%~>|".contains(&self.line.kind);
            let end = rest.iter().position(|byte| *byte == b'\n');
            let text = &rest[..end.unwrap_or(rest.len())];
            if counts {
                for &byte in text {
                    match byte {
                        b'0'..=b'9' => {
                            let digit = u64::from(byte - b'0');
                            let length =
                                self.line.length.checked_mul(10).and_then(|length| length.checked_add(digit));
                            self.line.length =
                                length.filter(|length| *length <= LENGTH_MAX).ok_or(NoReply)?;
                        }
                        b'-' => self.line.is_null = true,
                        b'\r' => {}
                        _ => return Err(NoReply),
                    }
                }
            }
            let Some(end) = end else { return Ok(None) };
            at += end + 1;
            if self.end_line() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A header is whole. True: so is the frame.
    fn end_line(&mut self) -> bool {
        let Line { kind, length, is_null } = std::mem::take(&mut self.line);
        match kind {
            _ if is_null => {}
            b'$' | b'!' | b'=' => {
                self.skip = length + 2;
                return false;
            }
            b'*' | b'~' | b'>' => self.open += length,
            b'%' => self.open += 2 * length,
            b'|' => {
                // Attributes stand before the frame that they belong to.
                self.open += 2 * length;
                return false;
            }
            _ => {}
        }
        self.ends_one()
    }

    fn ends_one(&mut self) -> bool {
        self.open -= 1;
        self.open == 0
    }
}
