//! What a script returns, as a reply.
//!
//! A table is what its fields say: `err`, `ok`, `double`, `map`, `set`, `big_number`, `verbatim_string`, in this order;
//! without one of them an array, which ends before the first `nil`.

use sterna_protocol::{Proto, Reply};

use super::enter::Outcome;
use super::guarded;
use super::stack::{At, Kind, Stack, TOP};
use crate::api::Shared;
use crate::host::{Pace, with_host};

/// How deep a reply may be nested.
const DEPTH_MAX: usize = 1000;

/// Bytes of a reply: tables that hold themselves twice would double at each level.
const BYTES_MAX: usize = 128 << 20;

/// A script has failed: the error reply, and whether it has been counted among the errors by the command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// Without the leading `-`.
    pub text: Vec<u8>,
    /// Whether `errorstats` has it already.
    pub is_counted: bool,
}

impl RunError {
    /// The error of a script whose result can't be written.
    pub(crate) fn of(outcome: Outcome) -> RunError {
        let text = if outcome == Outcome::Killed { KILLED } else { TOO_DEEP };
        RunError { text: text.to_vec(), is_counted: false }
    }
}

/// The error of a script that was stopped.
pub(crate) const KILLED: &[u8] = b"ERR Script killed by user with SCRIPT KILL...";

/// The value is nested too deeply, or too large.
const TOO_DEEP: &[u8] = b"ERR reached lua stack limit";

/// Values that one level has on the stack at a time: a table's field, a key, a value, a name.
const PLACES: i32 = 6;

/// Where the names of fields that say what a table is begin among the upvalues, in the order of [`NAMES`]: each table is
/// asked for them.
pub(super) const FIRST_NAME: i32 = 6;
pub(super) const NAMES: [&str; 10] = [
    "err",
    "ok",
    "double",
    "map",
    "set",
    "big_number",
    "verbatim_string",
    "string",
    "format",
    "ignore_error_stats_update",
];

#[derive(Clone, Copy)]
enum Name {
    Err,
    Ok,
    Double,
    Map,
    Set,
    BigNumber,
    VerbatimString,
    String,
    Format,
    IgnoreErrorStatsUpdate,
}

/// Why a value is no reply.
pub(super) enum Stop {
    Killed,
    TooLarge,
    /// The host panicked.
    Panicked,
}

/// Appends the value on top of the stack to a reply; after an error, what was appended is to be cut off. *Raises.*
pub(super) fn write(stack: &Stack<'_>, shared: &Shared, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let is_resp3 = shared.proto() == Proto::Resp3;
    let start = reply.out.len();
    Writing { stack, shared, is_resp3, reply, start, pace: Pace::default() }.top(0)
}

/// The stack after each method is as it was before.
struct Writing<'a, 'b> {
    stack: &'a Stack<'a>,
    shared: &'a Shared,
    is_resp3: bool,
    reply: &'a mut Reply<'b>,
    start: usize,
    pace: Pace,
}

impl<'a> Writing<'a, '_> {
    fn top(&mut self, depth: usize) -> Result<(), Stop> {
        match guarded(self.shared, || self.pace.step()) {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(Stop::Killed),
            None => return Err(Stop::Panicked),
        }
        if depth > DEPTH_MAX || self.reply.out.len() - self.start > BYTES_MAX || !self.stack.has_room(PLACES)
        {
            return Err(Stop::TooLarge);
        }
        let stack = self.stack;
        match stack.kind(TOP) {
            Kind::String => self.reply.bulk(stack.bytes(TOP).unwrap_or_default()),
            Kind::Number => self.reply.int(whole(stack.number(TOP))),
            Kind::Boolean if self.is_resp3 => self.reply.boolean(stack.boolean(TOP)),
            Kind::Boolean if stack.boolean(TOP) => self.reply.int(1),
            Kind::Table => return self.table(stack.len(), depth),
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: At, depth: usize) -> Result<(), Stop> {
        if let Some(text) = self.bytes(table, Name::Err) {
            return self.error(table, until_nul(text));
        } else if let Some(text) = self.bytes(table, Name::Ok) {
            self.reply.status(until_nul(text));
        } else if let Some(number) = self.number(table, Name::Double) {
            self.reply.double(number);
        } else if self.push_table(table, Name::Map) {
            return self.map(depth);
        } else if self.push_table(table, Name::Set) {
            return self.set(depth);
        } else if let Some(digits) = self.bytes(table, Name::BigNumber) {
            self.big_number(until_nul(digits));
        } else if let Some((text, format)) = self.verbatim_string(table) {
            self.verbatim(format, text);
        } else {
            return self.array(table, depth);
        }
        Ok(())
    }

    /// The error that a table is, which the host is told of: a script can answer several, in an array.
    fn error(&mut self, table: At, text: &[u8]) -> Result<(), Stop> {
        self.reply.error(text);
        self.push_field(table, Name::IgnoreErrorStatsUpdate);
        let is_counted = self.stack.boolean(TOP);
        self.stack.pop(1);
        let told = guarded(self.shared, || with_host(|host| host.answers_error(text, is_counted)));
        told.map(|_| ()).ok_or(Stop::Panicked)
    }

    fn push_field(&self, table: At, name: Name) {
        self.stack.push_value(Stack::upvalue(FIRST_NAME + name as i32));
        self.stack.field(table);
    }

    /// A field that is a string. The table keeps it.
    fn bytes(&self, table: At, name: Name) -> Option<&'a [u8]> {
        self.push_field(table, name);
        let bytes = self.stack.bytes(TOP);
        self.stack.pop(1);
        bytes
    }

    fn number(&self, table: At, name: Name) -> Option<f64> {
        self.push_field(table, name);
        let number = (self.stack.kind(TOP) == Kind::Number).then(|| self.stack.number(TOP));
        self.stack.pop(1);
        number
    }

    /// Pushes a field that is a table, or nothing.
    fn push_table(&self, table: At, name: Name) -> bool {
        self.push_field(table, name);
        let is_table = self.stack.kind(TOP) == Kind::Table;
        if !is_table {
            self.stack.pop(1);
        }
        is_table
    }

    fn verbatim_string(&self, table: At) -> Option<(&'a [u8], &'a [u8])> {
        if !self.push_table(table, Name::VerbatimString) {
            return None;
        }
        let verbatim = self.stack.len();
        let parts = self.bytes(verbatim, Name::String).zip(self.bytes(verbatim, Name::Format));
        self.stack.pop(1);
        parts
    }

    fn array(&mut self, table: At, depth: usize) -> Result<(), Stop> {
        let array = self.reply.array_deferred();
        let mut len = 0;
        loop {
            self.stack.push_element(table, len + 1);
            let is_end = self.stack.kind(TOP) == Kind::Nil;
            if !is_end {
                self.top(depth + 1)?;
            }
            self.stack.pop(1);
            if is_end {
                break;
            }
            len += 1;
        }
        self.reply.array_finish(array, len);
        Ok(())
    }

    /// How many fields the table on top has.
    fn count(&self) -> usize {
        let table = self.stack.len();
        let mut count = 0;
        self.stack.push_nil();
        while self.stack.next(table) {
            self.stack.pop(1);
            count += 1;
        }
        count
    }

    /// The map on top, which goes.
    fn map(&mut self, depth: usize) -> Result<(), Stop> {
        let pairs = self.count();
        self.reply.map(pairs);
        self.each(|writing| {
            writing.stack.push_value(TOP - 1);
            writing.top(depth + 1)?;
            writing.stack.pop(1);
            writing.top(depth + 1)
        })
    }

    /// The set on top, which goes.
    fn set(&mut self, depth: usize) -> Result<(), Stop> {
        let members = self.count();
        self.reply.set(members);
        self.each(|writing| {
            writing.stack.push_value(TOP - 1);
            let written = writing.top(depth + 1);
            writing.stack.pop(1);
            written
        })
    }

    /// Has each pair of the table on top on the stack, key below value, and takes the table.
    fn each(&mut self, mut pair: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let table = self.stack.len();
        self.stack.push_nil();
        while self.stack.next(table) {
            pair(self)?;
            self.stack.pop(1);
        }
        self.stack.pop(1);
        Ok(())
    }

    fn big_number(&mut self, digits: &[u8]) {
        match self.reply.proto {
            Proto::Resp2 => {
                let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let digits: Vec<u8> =
                    digits.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect();
                self.reply.bulk(&digits);
            }
            Proto::Resp3 => {
                let start = self.reply.out.len();
                self.reply.status(digits);
                self.reply.out[start] = b'(';
            }
        }
    }

    /// A format has three letters; Redis fills or cuts it.
    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if self.reply.proto == Proto::Resp2 {
            return self.reply.bulk(text);
        }
        let out = &mut *self.reply.out;
        out.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
        out.extend((0..3).map(|at| format.get(at).copied().unwrap_or(b' ')));
        out.push(b':');
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

/// As C converts a double to an integer: towards zero; what fits into none is the smallest.
fn whole(number: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    if fits { number as i64 } else { i64::MIN }
}

/// Texts of errors and statuses are C strings in Redis.
fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}
