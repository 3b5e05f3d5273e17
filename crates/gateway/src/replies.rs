//! Where replies end in what the engine has sent so far.
//!
//! Each byte is looked at once, however the bytes are cut, and nothing is built: a reply of a million elements is as long as
//! it is and no more.

use memchr::memchr;

/// Bytes that are no replies; the connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// What has been looked at.
    at: usize,
    /// Where the reply that is being looked at begins.
    start: usize,
    /// Its elements that have yet to end; 0 between replies.
    open: usize,
    /// Bytes of a string that have yet to come.
    skip: usize,
    /// It is a push, which no request asked for.
    is_push: bool,
    /// Where whole replies lie, pushes left out.
    found: Vec<(usize, usize)>,
}

impl Scanner {
    /// Looks at what is new in `buf`, which is what it was before and more.
    pub(crate) fn scan(&mut self, buf: &[u8]) -> Result<(), Broken> {
        loop {
            if self.skip > 0 {
                let taken = self.skip.min(buf.len() - self.at);
                self.at += taken;
                self.skip -= taken;
                if self.skip > 0 {
                    return Ok(());
                }
                self.end_element();
            }
            let Some(line) = memchr(b'\n', &buf[self.at..]) else { return Ok(()) };
            let (kind, digits) = buf[self.at..self.at + line].split_first().ok_or(Broken)?;
            if self.open == 0 {
                (self.open, self.start, self.is_push) = (1, self.at, *kind == b'>');
            }
            self.at += line + 1;
            match kind {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.end_element(),
                b'$' | b'!' | b'=' => match length(digits)? {
                    None => self.end_element(),
                    // With its CR and LF.
                    Some(bytes) => self.skip = bytes.checked_add(2).ok_or(Broken)?,
                },
                b'*' | b'~' | b'>' => self.open_elements(length(digits)?, 1)?,
                b'%' => self.open_elements(length(digits)?, 2)?,
                _ => return Err(Broken),
            }
        }
    }

    fn open_elements(&mut self, count: Option<usize>, each: usize) -> Result<(), Broken> {
        let count = count.unwrap_or(0).checked_mul(each).ok_or(Broken)?;
        self.open = self.open.checked_add(count).ok_or(Broken)?;
        self.end_element();
        Ok(())
    }

    fn end_element(&mut self) {
        self.open -= 1;
        if self.open == 0 && !self.is_push {
            self.found.push((self.start, self.at));
        }
    }

    /// Where the replies lie that have been found.
    pub(crate) fn found(&self) -> &[(usize, usize)] {
        &self.found
    }
}

/// A length; `None` is null.
pub(crate) fn length(digits: &[u8]) -> Result<Option<usize>, Broken> {
    let text = str::from_utf8(digits).map_err(|_| Broken)?.trim_end_matches('\r');
    match text {
        "-1" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 8] = [
        b"+OK\r\n",
        b"$-1\r\n",
        b"$5\r\na\r\nb\n\r\n",
        b"*3\r\n:1\r\n*0\r\n*2\r\n$0\r\n\r\n*-1\r\n",
        b"-ERR no\r\n",
        b"%1\r\n+a\r\n*1\r\n#t\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"*0\r\n",
    ];

    #[test]
    fn replies_are_found_however_they_are_cut() {
        let all = REPLIES.concat();
        for step in 1..=all.len() {
            let mut scanner = Scanner::default();
            for end in (step..all.len()).step_by(step).chain([all.len()]) {
                scanner.scan(&all[..end]).unwrap();
            }
            let found: Vec<&[u8]> = scanner.found().iter().map(|&(from, to)| &all[from..to]).collect();
            assert_eq!(found, REPLIES, "in steps of {step}");
        }
    }

    #[test]
    fn pushes_are_no_replies() {
        let mut scanner = Scanner::default();
        let push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n";
        scanner.scan(&[push, &b"+OK\r\n"[..]].concat()).unwrap();
        assert_eq!(scanner.found(), [(push.len(), push.len() + 5)]);
    }

    #[test]
    fn what_is_no_reply_is_known_and_harms_nothing() {
        for wrong in [&b"\n"[..], b"$x\r\n", b"*-2\r\n", b"?\r\n", b"$18446744073709551615\r\n", b"*\xff\r\n"]
        {
            assert_eq!(Scanner::default().scan(wrong), Err(Broken), "{}", wrong.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(proptest::sample::select(b"*$%+-:0123\r\n".as_slice()), 0..40)) {
            let _ = Scanner::default().scan(&bytes);
        }
    }
}
