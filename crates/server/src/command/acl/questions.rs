//! ACL CAT, DRYRUN, GENPASS: questions that change nothing.

use sterna_command::{Command, ReplyShape, Secrets, Spec};
use sterna_protocol::argument;

use super::super::table::table;
use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, row, too_many};
use crate::acl::{GENPASS_BITS_MAX, check, commands_in, generate_password, known_categories};

pub(super) const CAT: Command<Run> = row(
    Spec {
        name: "cat",
        arity: -2,
        summary: "Lists the categories of commands, or the commands of one.",
        syntax: "[category]",
        ..BASE
    },
    |call| {
        let names: Vec<&str> = match call.args.get(2) {
            None => known_categories().collect(),
            Some(_) if call.args.len() > 3 => return Err(too_many(call)),
            Some(category) => commands_in(table(), category)
                .ok_or_else(|| Failure::text([b"ERR Unknown category '", category, b"'"].concat()))?,
        };
        call.reply.array(names.len());
        names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
        Ok(())
    },
);

pub(super) const DRYRUN: Command<Run> = row(
    Spec {
        name: "dryrun",
        arity: -4,
        secrets: Secrets::Request(3),
        flags: ADMIN,
        since: "7.0.0",
        summary: "Answers whether a user may run a command, and if not, why.",
        syntax: "username command [arg [arg ...]]",
        reply: &[ReplyShape::Ok, ReplyShape::Bulk],
        ..BASE
    },
    dryrun,
);

pub(super) const GENPASS: Command<Run> = row(
    Spec {
        name: "genpass",
        arity: -2,
        summary: "Makes a random password of so many bits, 256 unless it is said, in hexadecimal digits.",
        syntax: "[bits]",
        reply: &[ReplyShape::Bulk],
        ..BASE
    },
    genpass,
);

fn dryrun(call: &mut Call<'_>) -> Result<(), Failure> {
    let (name, request) = (&call.args[2], call.args.from(3));
    let user = call.server().users.read().get(name).cloned();
    let user = user.ok_or_else(|| Failure::text([b"ERR User '", name, b"' not found"].concat()))?;
    let row = table().find_request(&request[0], request.get(1));
    let row = row.ok_or_else(|| Failure::text([b"ERR Command '", &request[0], b"' not found"].concat()))?;
    if !row.spec.accepts(request.len()) || row.is_container {
        return Err(Failure::arity(&row.full_name));
    }
    match check(&user, row, request, &|key| call.shard.config.retained_channel(key)) {
        Ok(()) => call.reply.ok(),
        Err(denied) => call.reply.bulk(&denied.dry_run()),
    }
    Ok(())
}

/// Bits of a password that nobody said the length of.
const GENPASS_BITS: usize = 256;

fn genpass(call: &mut Call<'_>) -> Result<(), Failure> {
    let bits = match call.args.get(2) {
        None => GENPASS_BITS,
        Some(_) if call.args.len() > 3 => return Err(too_many(call)),
        Some(bits) => {
            let bits = argument::int(bits).ok_or(Failure::NOT_INTEGER)?;
            let bits = usize::try_from(bits).ok().filter(|bits| (1..=GENPASS_BITS_MAX).contains(bits));
            bits.ok_or(Failure::of(
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
                 4096",
            ))?
        }
    };
    let password = generate_password(bits).ok_or(Failure::of("ERR the system has no randomness to give"))?;
    call.reply.bulk(password.as_bytes());
    Ok(())
}
