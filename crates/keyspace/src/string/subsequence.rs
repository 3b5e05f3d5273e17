//! The longest common subsequence of two strings.
//!
//! The usual table of numbers, a row for each byte of one string and a column for each of the other, is kept as bits: within a
//! row a number is as large as the one before it, or one larger.
//!
//! ```text
//! row        0 1 1 2 2 3        numbers L(x, y), x = 1 …
//! bits       0 1 0 1 0 1        a bit for each column, 64 in a word; rows stand below each other
//! ```
//!
//! A row follows from the one above by an addition and three operations a word, so the largest table that Redis allows, 2^27
//! numbers, takes 2^21 steps and 16 MiB instead of 2^27 and 512 MiB. The columns are the longer string's.
//!
//! Source: Hyyrö, *Bit-Parallel LCS-length Computation Revisited*, 2004. Which of several subsequences is taken is Redis's:
//! from the end, the step to the larger number, and of equal ones the one that shortens the second string.

/// Numbers that Redis's table can have: 4 bytes each, 512 MiB in all.
const TABLE_MAX: usize = (512 << 20) / 4;

/// A run of bytes that both strings have, with the places of its first and last byte in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// In the first string.
    pub(crate) a: (usize, usize),
    /// In the second.
    pub(crate) b: (usize, usize),
}

impl Match {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.a.1 - self.a.0 + 1
    }
}

/// Whether the table of two strings of so many bytes is larger than Redis allows.
pub(crate) fn is_too_large(a: usize, b: usize) -> bool {
    (a + 1).checked_mul(b + 1).is_none_or(|numbers| numbers > TABLE_MAX)
}

/// The length. Cost: O(`a` × `b` / 64).
pub(crate) fn length(a: &[u8], b: &[u8]) -> usize {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let masks = Masks::of(long, short);
    let (mut row, mut next) = (vec![0; masks.words], vec![0; masks.words]);
    for &byte in short {
        masks.advance(byte, &row, &mut next);
        std::mem::swap(&mut row, &mut next);
    }
    ones(&row, long.len())
}

/// The matches that make up the subsequence, from the last to the first. Cost: as [`length`], and as many bits.
pub(crate) fn matches(a: &[u8], b: &[u8]) -> Vec<Match> {
    let table = Table::of(a, b);
    let mut matches: Vec<Match> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    let mut walk = Walk::begin(&table, i, j);
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            i -= 1;
            j -= 1;
            walk.step(true, true);
            match matches.last_mut() {
                Some(last) if last.a.0 == i + 1 && last.b.0 == j + 1 => {
                    last.a.0 = i;
                    last.b.0 = j;
                }
                _ => matches.push(Match { a: (i, i), b: (j, j) }),
            }
        } else if walk.shortens_first() {
            i -= 1;
            walk.step(true, false);
        } else {
            j -= 1;
            walk.step(false, true);
        }
    }
    matches
}

/// Where each byte of the shorter string stands in the longer one, as bits.
struct Masks {
    words: usize,
    /// Where a byte's mask begins in `bits`, in words; `usize::MAX`: the shorter string does not have it.
    at: Box<[usize; 256]>,
    bits: Vec<u64>,
}

impl Masks {
    fn of(long: &[u8], short: &[u8]) -> Masks {
        let words = long.len().div_ceil(64);
        let mut at = Box::new([usize::MAX; 256]);
        let mut len = 0;
        for &byte in short {
            if at[usize::from(byte)] == usize::MAX {
                at[usize::from(byte)] = len;
                len += words;
            }
        }
        let mut bits = vec![0; len];
        if len > 0 {
            for (place, &byte) in long.iter().enumerate() {
                if let Some(word) = bits.get_mut(at[usize::from(byte)].saturating_add(place / 64)) {
                    *word |= 1 << (place % 64);
                }
            }
        }
        Masks { words, at, bits }
    }

    /// The row for one more byte of the shorter string, which has it.
    fn advance(&self, byte: u8, row: &[u64], next: &mut [u64]) {
        let at = self.at[usize::from(byte)];
        let mask = &self.bits[at..at + self.words];
        let mut carry = false;
        for ((next, &row), &mask) in next.iter_mut().zip(row).zip(mask) {
            // The algorithm's bits are the other way round.
            let flat = !row;
            let (sum, over) = flat.overflowing_add(flat & mask);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            carry = over || again;
            *next = !(sum | flat & !mask);
        }
    }
}

/// All rows, the empty one first.
struct Table {
    words: usize,
    rows: Vec<u64>,
    /// Whether the columns are the first string's.
    first_is_long: bool,
}

impl Table {
    fn of(a: &[u8], b: &[u8]) -> Table {
        let first_is_long = a.len() >= b.len();
        let (long, short) = if first_is_long { (a, b) } else { (b, a) };
        let masks = Masks::of(long, short);
        let words = masks.words;
        let mut rows = vec![0; words * (short.len() + 1)];
        for (nth, &byte) in short.iter().enumerate() {
            let (above, below) = rows.split_at_mut((nth + 1) * words);
            masks.advance(byte, &above[nth * words..], &mut below[..words]);
        }
        Table { words, rows, first_is_long }
    }

    fn row(&self, y: usize) -> &[u64] {
        &self.rows[y * self.words..(y + 1) * self.words]
    }

    /// Whether the number in column `x`, from 1 on, is larger than the one before it.
    fn rises(&self, x: usize, y: usize) -> bool {
        self.row(y)[(x - 1) / 64] >> ((x - 1) % 64) & 1 == 1
    }
}

/// A place in the table on the way back from its last number.
struct Walk<'a> {
    table: &'a Table,
    x: usize,
    y: usize,
    /// The number here, and the one in the row above; kept only where the columns are the first string's, which needs them to
    /// tell a tie.
    here: usize,
    above: usize,
}

impl Walk<'_> {
    fn begin(table: &Table, i: usize, j: usize) -> Walk<'_> {
        let (x, y) = if table.first_is_long { (i, j) } else { (j, i) };
        let mut walk = Walk { table, x, y, here: ones(table.row(y), x), above: 0 };
        walk.read_above();
        walk
    }

    /// Whether the number for the first string without its last byte is larger than that for the second without its. The
    /// bytes here differ: so the number here is the larger of those two.
    fn shortens_first(&self) -> bool {
        let rises = self.table.rises(self.x, self.y);
        if self.table.first_is_long { !rises && self.above < self.here } else { rises }
    }

    fn step(&mut self, first: bool, second: bool) {
        let (left, up) = if self.table.first_is_long { (first, second) } else { (second, first) };
        if left && self.table.first_is_long {
            self.here -= usize::from(self.table.rises(self.x, self.y));
            self.above -= usize::from(self.table.rises(self.x, self.y - 1));
        }
        self.x -= usize::from(left);
        if up {
            self.y -= 1;
            self.here = self.above;
            self.read_above();
        }
    }

    fn read_above(&mut self) {
        if self.table.first_is_long && self.y > 0 {
            self.above = ones(self.table.row(self.y - 1), self.x);
        }
    }
}

/// How many of the first `len` bits are set.
fn ones(row: &[u64], len: usize) -> usize {
    let whole: u32 = row[..len / 64].iter().map(|word| word.count_ones()).sum();
    let rest = match len % 64 {
        0 => 0,
        bits => (row[len / 64] & ((1 << bits) - 1)).count_ones(),
    };
    (whole + rest) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the command's documentation has it: the whole table, and the way back.
    fn plain(a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut table = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j) = (a.len(), b.len());
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match matches.last_mut() {
                    Some(last) if last.a.0 == i + 1 && last.b.0 == j + 1 => (last.a.0, last.b.0) = (i, j),
                    _ => matches.push(Match { a: (i, i), b: (j, j) }),
                }
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        let total: usize = matches.iter().map(|run| run.a.1 - run.a.0 + 1).sum();
        assert_eq!(total, table[a.len()][b.len()]);
        matches
    }

    #[test]
    fn the_example_of_the_documentation() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        assert_eq!(length(a, b), 6);
        assert_eq!(matches(a, b), [Match { a: (4, 7), b: (5, 8) }, Match { a: (2, 3), b: (0, 1) }]);
        assert_eq!(matches(b"", b"x"), []);
        assert_eq!(length(b"x", b""), 0);
    }

    #[test]
    fn the_largest_table_is_the_one_redis_allows() {
        assert!(!is_too_large(11_584, 11_584));
        assert!(is_too_large(11_585, 11_585));
    }

    proptest! {
        #[test]
        fn it_is_the_subsequence_of_the_plain_table(a in "[abc]{0,150}", b in "[abcd]{0,150}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let expected = plain(a, b);
            let len: usize = expected.iter().map(|run| run.a.1 - run.a.0 + 1).sum();
            prop_assert_eq!(length(a, b), len);
            prop_assert_eq!(matches(a, b), expected);
        }
    }
}
