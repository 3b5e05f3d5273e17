//! An append-only file, command by command.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $1\r\nv\r\n        a command
//! #TS:1700000000\r\n                                  a note: Unix time in seconds of what follows
//! ```
//!
//! A file that ends within a command was being written when its server died: [`CommandError::Cut`], with the place where the
//! last whole command ends. Anything else that is no command is damage. What such an end with further commands in it is
//! ([`finds_command`]) can't be told: nothing is written behind a write that was not finished, but a length that has changed takes what
//! follows for its own; and a value may be what somebody has kept of another such file. It is taken for damage, of which nothing
//! gets lost unsaid.

use std::io::{self, BufRead, Read};

/// Strings longer than this are not Redis's.
const STRING_BYTES_MAX: u64 = 512 << 20;
/// Words of one command, at most: as many as Redis takes from a client.
const WORDS_MAX: u64 = 1 << 31;
/// Digits of a number with the sign before it and the end of its line behind it.
const NUMBER_BYTES_MAX: usize = 32;
/// A note that is longer than this is none.
const NOTE_BYTES_MAX: usize = 1024;
/// Digits of a count of words, and of the length of a command's name, in a command that is searched for.
const COUNT_DIGITS_MAX: usize = 10;
const LENGTH_DIGITS_MAX: usize = 2;
/// A command up to the end of its name: `*COUNT\r\n$LENGTH\r\nNAME\r\n`.
const HEAD_BYTES_MAX: usize = 1 + COUNT_DIGITS_MAX + 2 + 1 + LENGTH_DIGITS_MAX + 2 + 99 + 2;

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A command: its words, at least one.
    Command(Vec<Vec<u8>>),
    /// When what follows was done, Unix time in seconds.
    Time(u64),
    /// The end.
    End,
}

/// Why it can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It ends within a command, which begins at this offset.
    #[error("it ends in the middle of a command that begins at offset {0}")]
    Cut(u64),
    /// It ends within a command, which begins at this offset, and further commands seem to be in that.
    #[error(
        "it is cut or damaged at offset {0}: it ends in the middle of a command that seems to have others in it"
    )]
    CutOrDamaged(u64),
    /// What stands there is no command.
    #[error("it is damaged at offset {0}")]
    Damaged(u64),
    /// The system's word.
    #[error("it can't be read: {0}")]
    Io(io::Error),
}

/// A file being read.
#[derive(Debug)]
pub struct Commands<R> {
    input: R,
    /// Bytes read so far.
    pub offset: u64,
    /// Where the command begins that is being read.
    begin: u64,
}

impl<R: BufRead> Commands<R> {
    /// Of a file that has been read up to `offset`.
    pub fn from(input: R, offset: u64) -> Commands<R> {
        Commands { input, offset, begin: offset }
    }

    /// Where what was read last begins.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The next command, or the end.
    pub fn advance(&mut self) -> Result<Line, CommandError> {
        loop {
            self.begin = self.offset;
            let buffer = loop {
                match self.input.fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other.map_err(CommandError::Io)?,
                }
            };
            match buffer.first() {
                None => return Ok(Line::End),
                Some(b'#') => {
                    let note = self.line(NOTE_BYTES_MAX)?;
                    let time = note
                        .strip_prefix(b"#TS:")
                        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                    // What other notes say is for people.
                    if let Some(time) = time {
                        return Ok(Line::Time(time));
                    }
                }
                Some(_) => return self.command().map(Line::Command),
            }
        }
    }

    fn command(&mut self) -> Result<Vec<Vec<u8>>, CommandError> {
        let count = self.number(b'*')?;
        if count == 0 || count > WORDS_MAX {
            return Err(CommandError::Damaged(self.begin));
        }
        // Grows with what is there, not with what is claimed.
        let mut words = Vec::new();
        for _ in 0..count {
            let at = self.offset;
            let length = self.number(b'$')?;
            if length > STRING_BYTES_MAX {
                return Err(CommandError::Damaged(at));
            }
            let mut word = Vec::new();
            let read =
                self.input.by_ref().take(length + 2).read_to_end(&mut word).map_err(CommandError::Io)?;
            self.offset += read as u64;
            if (read as u64) < length + 2 {
                return Err(CommandError::Cut(self.begin));
            }
            if !word.ends_with(b"\r\n") {
                return Err(CommandError::Damaged(at));
            }
            word.truncate(read - 2);
            words.push(word);
        }
        Ok(words)
    }

    /// A line that is a number behind `sign`.
    fn number(&mut self, sign: u8) -> Result<u64, CommandError> {
        let at = self.offset;
        let line = self.line(NUMBER_BYTES_MAX)?;
        let digits = line.strip_prefix(&[sign]).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or(CommandError::Damaged(at))
    }

    /// A line without its end, of `bytes_max` with it.
    fn line(&mut self, bytes_max: usize) -> Result<Vec<u8>, CommandError> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(bytes_max as u64).read_until(b'\n', &mut line);
        let (at, read) = (self.offset, read.map_err(CommandError::Io)?);
        self.offset += read as u64;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_vec()),
            None if read < bytes_max && !line.ends_with(b"\n") => Err(CommandError::Cut(self.begin)),
            None => Err(CommandError::Damaged(at)),
        }
    }
}

/// Whether a command begins anywhere in `input`, with a name that is known.
///
/// Cost: one pass, and memory of 64 KiB.
pub fn finds_command(mut input: impl Read, is_known: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        let kept = bytes.len();
        input.by_ref().take(1 << 16).read_to_end(&mut bytes)?;
        let mut stars = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'*');
        if stars.any(|(at, _)| name_at(&bytes[at..]).is_some_and(&is_known)) {
            return Ok(true);
        }
        if bytes.len() == kept {
            return Ok(false);
        }
        // A head may straddle two pieces.
        bytes.drain(..bytes.len().saturating_sub(HEAD_BYTES_MAX));
    }
}

/// The name of a command that begins with `bytes`.
fn name_at(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = number_at(bytes.strip_prefix(b"*")?, COUNT_DIGITS_MAX)?;
    let (length, rest) = number_at(rest.strip_prefix(b"$")?, LENGTH_DIGITS_MAX)?;
    let (name, rest) = rest.split_at_checked(length)?;
    rest.starts_with(b"\r\n").then_some(name)
}

/// A number of so many digits, and what is behind the end of its line.
fn number_at(bytes: &[u8], digits_max: usize) -> Option<(usize, &[u8])> {
    let digits = bytes.iter().take(digits_max).take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    Some((number, bytes[digits..].strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (Vec<Line>, Option<String>) {
        let (mut commands, mut lines) = (Commands::from(bytes, 0), Vec::new());
        loop {
            match commands.advance() {
                Ok(Line::End) => return (lines, None),
                Ok(line) => lines.push(line),
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
    }

    const FILE: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n#other\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n";

    #[test]
    fn commands_and_times_come_in_order() {
        let command = |words: &[&[u8]]| Line::Command(words.iter().map(|word| word.to_vec()).collect());
        let expected =
            vec![command(&[b"SELECT", b"0"]), Line::Time(1_700_000_000), command(&[b"SET", b"", b"\r\n"])];
        assert_eq!(read(FILE), (expected, None));
    }

    #[test]
    fn wherever_a_file_is_cut_it_ends_with_its_last_whole_command() {
        for cut in 0..FILE.len() {
            let (lines, error) = read(&FILE[..cut]);
            let whole = match cut {
                0..23 => 0,
                23..39 => 1,
                _ => 2,
            };
            assert_eq!(lines.len(), whole, "cut at {cut}");
            assert_eq!(error.is_some(), ![0, 23, 39, 47].contains(&cut), "cut at {cut}: {error:?}");
            assert!(error.is_none_or(|error| error.contains("in the middle")), "cut at {cut}");
        }
    }

    #[test]
    fn a_command_is_found_wherever_it_begins_and_only_whole_up_to_its_name() {
        let known = |name: &[u8]| name.eq_ignore_ascii_case(b"set");
        for before in [0, 1, 100, (1 << 16) - 20, 1 << 16, (3 << 16) - 5] {
            let mut bytes = vec![b'*'; before];
            bytes.extend(b"*3\r\n$3\r\nSET\r\n");
            assert!(finds_command(&bytes[..], known).unwrap(), "behind {before} bytes");
            bytes.pop();
            assert!(!finds_command(&bytes[..], known).unwrap(), "behind {before} bytes");
        }
        for other in [
            &b"*3\r\n$3\r\nGET\r\n"[..],
            b"*3\r\n$4\r\nSET\r\n",
            b"*\r\n$3\r\nSET\r\n",
            b"",
            b"*",
            b"*3\r\n$99",
        ] {
            assert!(!finds_command(other, known).unwrap(), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_damage() {
        for bytes in [
            &b"SET a b\r\n"[..],
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$1\r\nabc",
            b"*1\r\n$99999999999\r\n",
            b"*11111111111111111111111111111111111111111111",
            b"*1\n$1\r\na\r\n",
        ] {
            let (_, error) = read(bytes);
            assert!(error.as_ref().is_some_and(|error| error.contains("damaged")), "{bytes:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop::sample::select(&b"*$#12\r\nab"[..]), 0..60)) {
            let (lines, _) = read(&bytes);
            let words = lines.iter().map(|line| match line { Line::Command(words) => words.len(), _ => 1 });
            prop_assert!(words.sum::<usize>() <= bytes.len());
        }
    }
}
