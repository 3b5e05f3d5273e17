//! XTRIM, and the arguments that say how far to trim, which XADD takes too.

use super::*;
use crate::stream::{BlockLimits, Trim, TrimBound, Trimmed};
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XTRIM: Command<Run> = row(
    Spec {
        name: "xtrim",
        arity: -4,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        complexity: "O(N) for N entries removed, which is small as they go by blocks",
        summary: "Removes the oldest entries until few enough, or only new enough ones, are left.",
        syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
        reply: &[ReplyShape::Integer],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    xtrim,
);

/// What the trimming options came to, while they are read.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    bound: Option<TrimBound>,
    approximate: bool,
    limit: Option<u64>,
    references: Option<References>,
}

impl TrimOptions {
    /// Reads the option at `index`, if it is about trimming, and returns the index behind it.
    pub(super) fn read(&mut self, args: Args<'_>, index: usize) -> Result<Option<usize>, Error> {
        let option = &args[index];
        let has_value = index + 1 < args.len();
        if has_value && (is(option, "MAXLEN") || is(option, "MINID")) {
            return self.read_bound(args, index).map(Some);
        }
        if has_value && is(option, "LIMIT") {
            let limit = integer_at(args, index + 1)?;
            self.limit = Some(u64::try_from(limit).map_err(|_| StreamError::LimitNegative)?);
            return Ok(Some(index + 2));
        }
        match references_of(option) {
            Some(references) if self.references.is_none() => {
                self.references = Some(references);
                Ok(Some(index + 1))
            }
            _ => Ok(None),
        }
    }

    fn read_bound(&mut self, args: Args<'_>, index: usize) -> Result<usize, Error> {
        if self.bound.is_some() {
            return Err(StreamError::TrimTwice.into());
        }
        let mut at = index + 1;
        if at + 1 < args.len() && matches!(&args[at], b"~" | b"=") {
            self.approximate = &args[at] == b"~";
            at += 1;
        }
        self.bound = Some(if is(&args[index], "MAXLEN") {
            TrimBound::MaxLen(u64::try_from(integer_at(args, at)?).map_err(|_| StreamError::MaxLenNegative)?)
        } else {
            TrimBound::MinId(id_at(args, at)?)
        });
        Ok(at + 1)
    }

    /// What is to be done, once all options are read; `None`: nothing.
    pub(super) fn finish(self) -> Result<Option<TrimRequest>, Error> {
        match (self.bound, self.limit) {
            (None, Some(_)) => Err(StreamError::LimitAlone.into()),
            (Some(_), Some(_)) if !self.approximate => Err(StreamError::LimitExact.into()),
            (bound, limit) => Ok(bound.map(|bound| TrimRequest {
                bound,
                approximate: self.approximate,
                limit,
                references: self.references.unwrap_or_default(),
            })),
        }
    }
}

/// A trim as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrimRequest {
    bound: TrimBound,
    approximate: bool,
    limit: Option<u64>,
    references: References,
}

impl TrimRequest {
    /// With a limit where there must be one: an approximate trim stops after a hundred blocks.
    ///
    /// Source: XTRIM; without a limit on entries in a block, Redis takes 10 000, and never more than 1 000 000.
    pub(super) fn resolve(self, limits: BlockLimits) -> Trim {
        let default = match limits.entries_max {
            0 => 10_000,
            entries => entries.saturating_mul(100).min(1_000_000),
        };
        let whole_blocks = self.approximate.then(|| self.limit.unwrap_or(default));
        Trim { bound: self.bound, whole_blocks, references: self.references }
    }
}

/// Trims and notes what was removed.
pub(super) fn trim(stream: &mut Stream, recorder: &mut Recorder<'_>, trim: Trim) -> u64 {
    let Trimmed { removed, through, holes, dropped } = stream.trim(trim);
    if let Some(through) = through {
        recorder.record(&Change::Trim { through });
    }
    if !holes.is_empty() {
        recorder.record(&Change::Remove { ids: holes.into() });
    }
    if !dropped.is_empty() {
        recorder.record(&Change::Unreference { ids: dropped.into() });
    }
    removed
}

fn xtrim(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut options = TrimOptions::default();
    let mut index = 2;
    while index < args.len() {
        index = options.read(args, index)?.ok_or(Error::Syntax)?;
    }
    let request = options.finish()?.ok_or(StreamError::TrimNone)?;
    let limits = ctx.stream_settings(&args[1]).limits;
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    let request = request.resolve(limits);
    caller.check_work(stream_in(&slot)?.map_or(0, |stream| stream.work_of_trim(request, 0, APART_MIN)))?;
    let edited = slot.edit_stream(|stream, recorder| trim(stream, recorder, request));
    let removed = edited.unwrap_or(0);
    if removed > 0 {
        slot.count_changes(removed - 1);
        slot.touch();
        slot.event(event::XTRIM);
    }
    reply.int(removed as i64);
    Ok(Outcome::Replied)
}
