//! LPOS: where an element is.

use super::*;
use crate::long::{LONG_MIN, Steps};

pub(in crate::command) const LPOS: Command<Run> = row(
    Spec {
        name: "lpos",
        flags: Flags::READONLY,
        uses: KeyUses::ByFlags,
        since: "6.0.6",
        complexity: "O(N) for N elements compared",
        summary: "Answers the index of an element, or the indices of several that are equal.",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        reply: &[ReplyShape::Integer, ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    lpos,
);

/// LPOS's options.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// The first match that counts; from the end if it is negative. Not 0.
    rank: i64,
    /// How many matches, 0: all; `None`: one, answered as such.
    count: Option<u64>,
    /// How many elements are compared, 0: all.
    compared_max: u64,
}

impl Search {
    fn read(args: Args<'_>) -> Result<Search, Error> {
        let mut search = Search { rank: 1, count: None, compared_max: 0 };
        let mut index = 3;
        while index < args.len() {
            let option = &args[index];
            let Some(value) = args.get(index + 1) else { return Err(Error::Syntax) };
            if is(option, "RANK") {
                search.rank = rank(value)?;
            } else if is(option, "COUNT") {
                search.count = Some(not_negative(value, "COUNT")?);
            } else if is(option, "MAXLEN") {
                search.compared_max = not_negative(value, "MAXLEN")?;
            } else {
                return Err(Error::Syntax);
            }
            index += 2;
        }
        Ok(search)
    }

    /// How many elements are compared at most.
    fn bound(&self, len: u64) -> u64 {
        if self.compared_max == 0 { len } else { self.compared_max.min(len) }
    }

    /// How many matches are answered at most.
    fn most(&self) -> u64 {
        match self.count {
            None => 1,
            Some(0) => u64::MAX,
            Some(count) => count,
        }
    }

    fn write(&self, reply: &mut Reply<'_>, found: &[u64]) {
        if self.count.is_some() {
            reply.array(found.len());
            found.iter().for_each(|&index| reply.int(index as i64));
        } else if let [index] = found[..] {
            reply.int(index as i64);
        } else {
            reply.null();
        }
    }
}

/// How far a search has come.
#[derive(Debug, Default)]
struct Progress {
    compared: u64,
    /// Matches that the rank passes over.
    passed: u64,
    found: Vec<u64>,
}

impl Progress {
    /// Compares up to `budget` elements more; returns whether the search goes on.
    fn advance(&mut self, search: &Search, list: ListRef<'_>, wanted: &[u8], budget: u64) -> bool {
        let (len, number) = (list.len(), integer(wanted));
        let (bound, most, rank) = (search.bound(len), search.most(), search.rank.unsigned_abs());
        let until = bound.min(self.compared.saturating_add(budget));
        let is_forward = search.rank > 0;
        let (from, towards) = match is_forward {
            true => (self.compared, End::Back),
            false => (len - self.compared, End::Front),
        };
        if self.compared < until {
            list.visit(from, towards, |element| {
                let is_match = match (element, number) {
                    (Element::Int(one), Some(other)) => one == other,
                    (Element::Text(one), None) => one == wanted,
                    _ => false,
                };
                if is_match && self.passed + 1 < rank {
                    self.passed += 1;
                } else if is_match {
                    self.found.push(if is_forward { self.compared } else { len - 1 - self.compared });
                }
                self.compared += 1;
                self.compared < until && (self.found.len() as u64) < most
            });
        }
        self.compared < bound && (self.found.len() as u64) < most
    }
}

/// A search through a long list.
#[derive(Debug)]
struct LongSearch {
    search: Search,
    list: List,
    wanted: Box<[u8]>,
    progress: Progress,
}

impl Steps for LongSearch {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        let LongSearch { search, list, wanted, progress } = self;
        let goes_on = progress.advance(search, list.view(), wanted, LONG_MIN as u64);
        if !goes_on {
            search.write(reply, &progress.found);
        }
        goes_on
    }
}

fn rank(value: &[u8]) -> Result<i64, Error> {
    match integer(value).ok_or(Error::NotInteger)? {
        i64::MIN => Err(Error::NotNegatable),
        0 => Err(Error::RankZero),
        rank => Ok(rank),
    }
}

fn not_negative(value: &[u8], option: &'static str) -> Result<u64, Error> {
    integer(value).and_then(|number| u64::try_from(number).ok()).ok_or(Error::Negative { option })
}

fn lpos(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let search = Search::read(args)?;
    let may_wait = ctx.caller.may_yield;
    let wanted = &args[2];
    let mut progress = Progress::default();
    if let Some(list) = read_list(ctx, &args[1])? {
        // What is near the beginning is found at once.
        let budget = if may_wait { LONG_MIN as u64 } else { u64::MAX };
        if progress.advance(&search, list, wanted, budget) {
            let (list, wanted) = (list.to_list(), wanted.into());
            return Ok(Outcome::Long(Box::new(LongSearch { search, list, wanted, progress })));
        }
    }
    search.write(reply, &progress.found);
    Ok(Outcome::Replied)
}
