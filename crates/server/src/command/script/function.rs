//! FCALL and FUNCTION: libraries of functions, which are part of what is kept.
//!
//! A change is made in the Lua state, then in what is kept (`libraries.rs`), whose effect becomes a record of the journal
//! with whatever else the command, or its transaction, has done.
//!
//! With several groups of keys (`cluster-groups`) clients of a cluster send a change to each node that leads one, and each node has all of
//! them make it: what is as it is asked for already is no error there.

use std::collections::HashSet;
use std::time::Instant;

use sterna_keyspace::{Garbage, dump_libraries, read_libraries};
use sterna_protocol::argument;
use sterna_pubsub::glob;
use sterna_script::{Engine, Libraries, Library, TextKind, Twice};

use super::{Mode, Permit, ScriptCall, run};
use crate::command::Failure;
use crate::scripts::{Kind, PAYLOAD_BYTES_MAX, Room, prepare_all};

/// `FCALL function numkeys [key …] [arg …]`, and FCALL_RO.
pub(super) fn fcall(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.functions()?.libraries().function(&args[1]).cloned();
    let function = found.ok_or(Failure::of("ERR Function not found"))?;
    let keys = argument::int(&args[2]).ok_or(Failure::of("ERR Bad number of keys provided"))?;
    if keys > args.len() as i64 - 3 {
        return Err(Failure::of("ERR Number of keys can't be greater than number of args"));
    }
    let keys = usize::try_from(keys).map_err(|_| Failure::of("ERR Number of keys can't be negative"))?;
    let mode = Mode { is_readonly: call.row.has(sterna_command::Flags::READONLY) };
    call.check_pause(Some(function.flags))?;
    let permit = Permit::of(call, Some(function.flags), mode)?;
    run(call, permit, Some(&function.name), |engine, guest, reply| {
        let (keys, args) = (args.iter().skip(3).take(keys), args.iter().skip(3 + keys));
        engine.call(&function, keys, args, guest, reply)
    })
}

/// `FUNCTION LOAD [REPLACE] code`
pub(super) fn load(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let args = call.args;
    let mut replaces = false;
    for option in args.from(2).iter().take(args.len() - 3) {
        if !option.eq_ignore_ascii_case(b"replace") {
            return Err(Failure::text([b"ERR Unknown option given: ", option].concat()));
        }
        replaces = true;
    }
    let code = &args[args.len() - 1];
    let name = Engine::library_name(code).map_err(Failure::text)?;
    let has_groups = call.shard.has_groups();
    let engine = call.functions()?;
    let prepared = engine.take_prepared(TextKind::Library, code);
    if let Some(there) = engine.libraries().library(&name)
        && !replaces
    {
        let is_same = has_groups && *there.code == *code;
        prepared.and_then(Result::ok).iter().flatten().for_each(|library| engine.discard(library));
        if is_same {
            call.reply.bulk(name.as_bytes());
            return Ok(());
        }
        return Err(Failure::text(format!("ERR Library '{name}' already exists")));
    }
    let libraries = prepared.unwrap_or_else(|| prepare_all(engine, &[code])).map_err(Failure::text)?;
    let taken = |library| engine.libraries().taken(library, |of| of == name);
    let checked = match libraries.iter().find_map(taken) {
        Some(taken) => Err(Failure::text(format!("ERR Function {taken} already exists"))),
        None => Room::with(engine.libraries(), &libraries, false).check().map_err(Failure::text),
    };
    if let Err(failure) = checked {
        libraries.iter().for_each(|library| engine.discard(library));
        return Err(failure);
    }
    put(call, libraries)?;
    call.reply.bulk(name.as_bytes());
    Ok(())
}

/// Takes libraries whose names and functions are nobody else's, or those of libraries that they replace.
fn put(call: &mut ScriptCall<'_, '_>, libraries: Vec<Library>) -> Result<(), Failure> {
    let place = call.place.as_mut().ok_or(Failure::SYNTAX)?;
    let engine = place.states.functions(call.shard.server.partitions.libraries());
    for library in &libraries {
        engine.remove_library(&library.name);
    }
    for library in libraries {
        let (name, code) = (library.name.as_bytes(), &library.code);
        engine.libraries_version = place.held.set_library(name, Some(code), &mut call.shard.changes);
        engine.install(library);
    }
    super::note_figures(call)
}

/// `FUNCTION DELETE name`
pub(super) fn delete(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let place = call.place.as_mut().ok_or(Failure::SYNTAX)?;
    let name = &call.args[2];
    let engine = place.states.functions(call.shard.server.partitions.libraries());
    let is_there = std::str::from_utf8(name).is_ok_and(|name| engine.remove_library(name));
    if !is_there && !place.held.library_names().any(|kept| *kept == *name) {
        if call.shard.has_groups() {
            call.reply.ok();
            return Ok(());
        }
        return Err(Failure::of("ERR Library not found"));
    }
    engine.libraries_version = place.held.set_library(name, None, &mut call.shard.changes);
    super::note_figures(call)?;
    call.reply.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`: the same either way, what is slow to free is freed on a thread of its own.
pub(super) fn flush(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    if call.args.len() > 3 {
        return Err(wrong_arguments(call));
    }
    if let Some(how) = call.args.get(2)
        && !how.eq_ignore_ascii_case(b"sync")
        && !how.eq_ignore_ascii_case(b"async")
    {
        return Err(Failure::of("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    let place = call.place.as_mut().ok_or(Failure::SYNTAX)?;
    let engine = place.states.functions(call.shard.server.partitions.libraries());
    let (bytes, remains) = (engine.figures().used_bytes, engine.flush());
    // What is kept may have more: libraries that could not be loaded again.
    let (codes, version) = place.held.remove_libraries(&mut call.shard.changes);
    engine.libraries_version = version;
    let (remains, codes) =
        (Garbage::of_other(Box::new(remains), bytes), Garbage::of_other(Box::new(codes), 0));
    call.shard.server.reclaimer.free(vec![remains, codes]);
    super::note_figures(call)?;
    call.reply.ok();
    Ok(())
}

fn wrong_arguments(call: &ScriptCall<'_, '_>) -> Failure {
    let text = b"ERR unknown subcommand or wrong number of arguments for '";
    Failure::text([text, &call.args[1], b"'. Try FUNCTION HELP."].concat())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
pub(super) fn list(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = call.args.from(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            let given = words.next().ok_or(Failure::of("ERR library name argument was not given"))?;
            pattern = Some(given.to_ascii_lowercase());
        } else {
            return Err(Failure::text([b"ERR Unknown argument ", word].concat()));
        }
    }
    let place = call.place.as_mut().ok_or(Failure::SYNTAX)?;
    let engine = place.states.functions(call.shard.server.partitions.libraries());
    let is_shown = |library: &&Library| {
        let name = library.name.to_ascii_lowercase();
        pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name.as_bytes()))
    };
    let shown: Vec<&Library> = engine.libraries().iter().filter(is_shown).collect();
    let reply = &mut call.reply;
    reply.array(shown.len());
    for library in shown {
        reply.map(3 + usize::from(with_code));
        reply.bulk(b"library_name");
        reply.bulk(library.name.as_bytes());
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(function.name.as_bytes());
            reply.bulk(b"description");
            reply.bulk_or_null(function.description.as_deref());
            reply.bulk(b"flags");
            reply.set(function.flags.names().count());
            function.flags.names().for_each(|name| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

/// `FUNCTION DUMP`
pub(super) fn dump(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let payload = dump_libraries(call.functions()?.libraries().iter().map(|library| &*library.code));
    call.reply.bulk(&payload);
    Ok(())
}

/// What RESTORE does with the libraries that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// They go.
    Flush,
    /// They stay, and one of the same name is an error.
    Append,
    /// Those of the same names go.
    Replace,
}

/// `FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]`: all libraries of the payload, or none.
pub(super) fn restore(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    if call.args.len() > 4 {
        return Err(wrong_arguments(call));
    }
    let policy = match call.args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"append") => Policy::Append,
        Some(b"replace") => Policy::Replace,
        Some(b"flush") => Policy::Flush,
        Some(_) => {
            return Err(Failure::of(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let args = call.args;
    let payload = &args[2];
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Failure::too_long(&call.row.full_name, PAYLOAD_BYTES_MAX));
    }
    let has_groups = call.shard.has_groups();
    let engine = call.functions()?;
    let libraries = match engine.take_prepared(TextKind::Payload, payload) {
        Some(prepared) => prepared,
        None => {
            let codes = read_libraries(payload).map_err(Failure::of)?;
            prepare_all(engine, &codes)
        }
    };
    let mut libraries = libraries.map_err(Failure::text)?;
    if policy == Policy::Append && has_groups {
        let is_there = |new: &mut Library| {
            engine.libraries().library(&new.name).is_some_and(|there| there.code == new.code)
        };
        let there: Vec<Library> = libraries.extract_if(.., is_there).collect();
        there.iter().for_each(|library| engine.discard(library));
    }
    let checked = check(engine.libraries(), &libraries, policy).and_then(|()| {
        let room = Room::with(engine.libraries(), &libraries, policy == Policy::Flush);
        room.check().map_err(Failure::text)
    });
    if let Err(failure) = checked {
        libraries.iter().for_each(|library| engine.discard(library));
        return Err(failure);
    }
    if policy == Policy::Flush {
        remove_all_but(call, &libraries)?;
    }
    put(call, libraries)?;
    call.reply.ok();
    Ok(())
}

/// Removes what is there, but nothing that was prepared.
fn remove_all_but(call: &mut ScriptCall<'_, '_>, new: &[Library]) -> Result<(), Failure> {
    let place = call.place.as_mut().ok_or(Failure::SYNTAX)?;
    let engine = place.states.functions(call.shard.server.partitions.libraries());
    let stays: HashSet<&[u8]> = new.iter().map(|library| library.name.as_bytes()).collect();
    for name in place.held.library_names() {
        if let Ok(name) = std::str::from_utf8(&name) {
            engine.remove_library(name);
        }
        if !stays.contains(&*name) {
            engine.libraries_version = place.held.set_library(&name, None, &mut call.shard.changes);
        }
    }
    Ok(())
}

/// Whether these libraries can be taken.
fn check(there: &Libraries, new: &[Library], policy: Policy) -> Result<(), Failure> {
    match Libraries::twice(new) {
        Some(Twice::Library(name)) => {
            return Err(Failure::text(format!("ERR Library '{name}' already exists")));
        }
        Some(Twice::Function(name)) => {
            return Err(Failure::text(format!("ERR Function {name} already exists")));
        }
        None => {}
    }
    if policy == Policy::Flush {
        return Ok(());
    }
    if policy == Policy::Append
        && let Some(library) = new.iter().find(|library| there.library(&library.name).is_some())
    {
        return Err(Failure::text(format!("ERR Library {} already exists", library.name)));
    }
    let goes = |of: &str| new.iter().any(|library| library.name == of);
    match new.iter().find_map(|library| there.taken(library, goes)) {
        Some(taken) => Err(Failure::text(format!("ERR Function {taken} already exists"))),
        None => Ok(()),
    }
}

/// `FUNCTION STATS`: answered beside a function that has run for too long, which it is about.
pub(super) fn stats(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let scripts = &call.shard.server.scripts;
    let slow = scripts.slow_function().map_err(Failure::of)?;
    let figures = scripts.figures();
    let reply = &mut call.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match slow {
        None => reply.null(),
        Some(slow) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(slow.name.as_bytes());
            reply.bulk(b"command");
            reply.array(slow.command.len());
            slow.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.int(Instant::now().duration_since(slow.began).as_millis() as i64);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.int(figures.libraries as i64);
    reply.bulk(b"functions_count");
    reply.int(figures.functions as i64);
    Ok(())
}

/// `FUNCTION KILL`
pub(super) fn kill(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    call.shard.server.scripts.kill(Kind::Function).map_err(Failure::of)?;
    call.reply.ok();
    Ok(())
}
