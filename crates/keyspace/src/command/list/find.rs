//! LPOS: where an element is.

use super::*;

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

    /// The indices that are found, at most as many as are asked for.
    fn run(&self, list: &List, wanted: &[u8]) -> Vec<u64> {
        let (len, number) = (list.len(), integer(wanted));
        let towards = if self.rank > 0 { End::Back } else { End::Front };
        let mut skipped = self.rank.unsigned_abs() - 1;
        let most = match self.count {
            None => 1,
            Some(0) => u64::MAX,
            Some(count) => count,
        };
        let compared_max = if self.compared_max == 0 { u64::MAX } else { self.compared_max };
        let (mut found, mut compared) = (Vec::new(), 0);
        list.visit(if self.rank > 0 { 0 } else { len }, towards, |element| {
            let is_match = match (element, number) {
                (Element::Int(one), Some(other)) => one == other,
                (Element::Text(one), None) => one == wanted,
                _ => false,
            };
            if is_match && skipped > 0 {
                skipped -= 1;
            } else if is_match {
                found.push(if self.rank > 0 { compared } else { len - 1 - compared });
            }
            compared += 1;
            compared < compared_max && (found.len() as u64) < most
        });
        found
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
    let list = read_list(ctx, &args[1])?;
    let found = list.map_or_else(Vec::new, |list| search.run(list, &args[2]));
    if search.count.is_some() {
        reply.array(found.len());
        found.iter().for_each(|&index| reply.int(index as i64));
    } else if let [index] = found[..] {
        reply.int(index as i64);
    } else {
        reply.null();
    }
    Ok(Outcome::Replied)
}
