//! How much a transaction may have to do, as far as can be told before it begins: one that may take long goes on in slices.

use sterna_command::{Flags, Group, ReplyShape};
use sterna_protocol::Args;

use super::table::{Row, Runs, runs};
use crate::connection::transaction::Transaction;
use crate::partitions::{Held, Scene, Taken, keys_of};

/// Commands that are run in one piece, if what they name is not long: some 0.1 ms.
pub(super) const QUICK_COMMANDS_MAX: usize = 256;

/// Commands that tell of the server, or of all keys, which are run in one piece: INFO, and RANDOMKEY where most keys are due, the longest
/// of them, take some 0.2 ms.
const QUICK_REPORTS_MAX: usize = 16;

/// The same, where there are so many clients.
const REPORTS_OF_MANY_MAX: usize = 2;
const MANY_CLIENTS: usize = 1_000;

/// Bytes of what is queued, and of the values that it may read or write as a whole, that are no reason to take slices.
pub(super) const QUICK_BYTES_MAX: usize = 640 << 10;

/// Entries that XAUTOCLAIM claims where it is not told how many.
const CLAIMED_BY_DEFAULT: usize = 100;

/// Bytes that take as long as a byte of an element which a pattern makes the name of a key.
const LOOK_UP_BYTES: usize = 64;

/// Whether there is so much in the transaction that it may take long, whatever it is.
pub(super) fn is_long(transaction: &Transaction) -> bool {
    transaction.queued.len() > QUICK_COMMANDS_MAX
        || transaction.queued_bytes() > QUICK_BYTES_MAX
        || transaction.queued.iter().filter(|(row, _)| surveys(row)).nth(QUICK_REPORTS_MAX).is_some()
}

/// Whether a command tells of the server, or of all keys.
fn surveys(row: &Row) -> bool {
    reports(row) || row.has(Flags::ALL_KEYS.union(Flags::READONLY))
}

/// Whether there is so much that tells of the server, where its clients are very many: INFO adds up what they have, which takes a
/// millisecond for ten thousand.
pub(super) fn reports_much(transaction: &Transaction, clients: usize) -> bool {
    clients > MANY_CLIENTS
        && transaction.queued.iter().filter(|(row, _)| reports(row)).nth(REPORTS_OF_MANY_MAX).is_some()
}

/// Whether a command tells of the server, and not of keys, or walks past its clients.
fn reports(row: &Row) -> bool {
    row.has(Flags::LISTS) && row.spec.group != Group::Pubsub
        || row.spec.group == Group::Server
            && matches!(runs(row), Runs::Server(_))
            && !row.has(Flags::WRITE.union(Flags::CHANGES_SETTINGS).union(Flags::FAST))
}

/// Whether a command answers elements of what its keys hold.
fn answers_elements(row: &Row) -> bool {
    let are_elements =
        |shape: &ReplyShape| matches!(shape, ReplyShape::Array | ReplyShape::Set | ReplyShape::Map);
    row.spec.reply.iter().any(are_elements)
}

/// Whether a command answers values of what its keys hold.
fn answers_values(row: &Row) -> bool {
    row.spec.reply.iter().any(|shape| matches!(shape, ReplyShape::Bulk | ReplyShape::Array))
}

/// How many elements a request asks for at most, each once, and how many of which the same may come again: those that it names, and a
/// negative count of what is drawn by lot.
fn elements_asked(row: &Row, args: Args<'_>) -> (usize, usize) {
    if !row.spec.syntax.contains("count") {
        return (0, args.len());
    }
    let number = |arg: &[u8]| std::str::from_utf8(arg).ok()?.parse::<i64>().ok();
    let numbers = || args.from(2).iter().filter_map(number);
    let most = |numbers: &mut dyn Iterator<Item = u64>| numbers.max().map_or(0, |most| most as usize);
    let once = most(&mut numbers().map(|number| number.max(0).unsigned_abs()));
    let draws = row.spec.tips.contains(&"nondeterministic_output");
    let again = most(&mut numbers().filter(|&number| draws && number < 0).map(i64::unsigned_abs));
    // XAUTOCLAIM is told how long entries have been idle, and perhaps not how many it is to claim.
    let once = if row.spec.group == Group::Stream { once.max(CLAIMED_BY_DEFAULT) } else { once };
    (once, again.max(args.len()))
}

/// Whether its commands may look at much of what their keys hold: all but those that take one element, or few.
pub(super) fn names_long(transaction: &Transaction, held: &Held<'_>, scene: Scene) -> bool {
    let (mut bytes, mut taken) = (0, Taken::default());
    transaction.queued.iter().any(|(row, args)| {
        if matches!(runs(row), Runs::Keys(_)) {
            let keys = || keys_of(row.spec, args.args());
            let named = held.bytes_of(scene, keys(), row.has(Flags::FAST));
            let named = named.max(match answers_elements(row) {
                true => {
                    let asked = elements_asked(row, args.args());
                    held.bytes_of_elements(scene, keys(), asked, &mut taken)
                }
                false => 0,
            });
            // The mean says nothing of those that are named.
            let named = match row.spec.group == Group::Hash && answers_values(row) {
                true => named.max(held.bytes_of_fields(scene, keys(), args.args().from(2).iter())),
                false => named,
            };
            // Each element may be looked up for each pattern, which are half of the arguments at most.
            let patterns = if row.has(Flags::READS_BY_PATTERN) { args.args().len() / 2 } else { 0 };
            let named = named.saturating_mul((patterns * LOOK_UP_BYTES).max(1));
            bytes = named.saturating_add(bytes);
        }
        bytes > QUICK_BYTES_MAX
    })
}
