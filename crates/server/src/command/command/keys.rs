//! COMMAND GETKEYS and GETKEYSANDFLAGS: the keys of a request, for clients that must know where to send it.

use sterna_command::Flags;
use sterna_protocol::Args;

use super::super::table::{Row, table};
use super::super::{Call, Failure};
use super::key_specs::write_use;

pub(super) fn getkeys(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args.from(2);
    let (_, positions) = keys_of(args)?;
    call.reply.array(positions.len());
    positions.into_iter().for_each(|at| call.reply.bulk(&args[at]));
    Ok(())
}

pub(super) fn getkeysandflags(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args.from(2);
    let (row, positions) = keys_of(args)?;
    call.reply.array(positions.len());
    for (nth, at) in positions.into_iter().enumerate() {
        call.reply.array(2);
        call.reply.bulk(&args[at]);
        write_use(row.spec.key_use_in(nth, args.iter()), &mut call.reply);
    }
    Ok(())
}

/// The row of the request `args`, and which of them are keys: at least one, unless it is a script's.
fn keys_of(args: Args<'_>) -> Result<(&'static Row, Vec<usize>), Failure> {
    let found = args.get(0).and_then(|name| table().find_request(name, args.get(1)));
    let row = found.ok_or(Failure::of("ERR Invalid command specified"))?;
    if !row.spec.has_keys() {
        return Err(Failure::of("ERR The command has no key arguments"));
    }
    if !row.spec.accepts(args.len()) {
        return Err(Failure::of("ERR Invalid number of arguments specified for command"));
    }
    let positions: Vec<usize> = row.spec.keys.positions(args.len(), |at| args.get(at)).collect();
    if positions.is_empty() && !row.has(Flags::NO_MANDATORY_KEYS) {
        return Err(Failure::of("ERR Invalid arguments specified for command"));
    }
    Ok((row, positions))
}
