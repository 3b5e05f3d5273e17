//! `redis.call` and `redis.pcall`.

use std::ffi::c_int;

use mlua::lua_State;
use sterna_protocol::{ArgsBuilder, Proto, Reply};

use super::stack::{At, Kind, Stack};
use super::{guarded, push};
use crate::api::{Buffers, Shared};
use crate::host::with_host;
use crate::raise::Raised;

/// Where the closures find the engine's part, and the function that raises what is left there.
const SHARED: At = Stack::upvalue(1);
const RAISE: At = Stack::upvalue(2);

/// Bytes of a command's arguments: one string of Lua's can be given many times.
pub(crate) const ARGUMENT_BYTES_MAX: usize = 512 << 20;

/// They are longer.
pub(crate) const TOO_LONG: &[u8] = b"ERR Lua redis lib command arguments are too long";

/// `redis.call`.
pub(super) unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: Lua runs this for a script; all scripts run in `enter`'s protected call.
    run(unsafe { Stack::of(state) }, Errors::AreRaised)
}

/// `redis.pcall`, which gives an error instead of raising it.
pub(super) unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    run(unsafe { Stack::of(state) }, Errors::AreGiven)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    AreRaised,
    AreGiven,
}

/// What came of a command. It owns nothing.
enum Answer {
    /// A reply that is in the buffer.
    Reply,
    /// An error reply that is in the buffer: the command has been counted among the errors.
    Error,
    /// It was not asked for, because of this.
    Refused(&'static [u8]),
    /// The host panicked.
    Panicked,
}

fn run(stack: Stack<'_>, errors: Errors) -> c_int {
    // SAFETY: the closure was made with the engine's `Shared`, which outlives the state.
    let shared: &Shared = unsafe { &*stack.pointer(SHARED) };
    let answer = ask(&stack, shared);
    stack.clear();
    // SAFETY: only this function uses the buffers, in a state that runs one function at a time. Nothing that is called
    // from here on calls it: a host has no way to, and pushing runs no code of a script.
    let Buffers { reply, .. } = unsafe { &*shared.buffers.data_ptr() };
    match answer {
        Answer::Reply => push::reply(&stack, reply),
        Answer::Error if errors == Errors::AreGiven => push_error(&stack, error_text(reply), true),
        Answer::Refused(text) if errors == Errors::AreGiven => push_error(&stack, text, false),
        failed => {
            leave(shared, &failed, reply);
            stack.push_value(RAISE);
            stack.call(0);
        }
    }
    1
}

/// Reads a command off the stack and has the host run it. Raises nothing, so that it may own what it likes.
fn ask(stack: &Stack<'_>, shared: &Shared) -> Answer {
    // SAFETY: as in `run`.
    let Buffers { request, reply, .. } = unsafe { &mut *shared.buffers.data_ptr() };
    request.clear();
    reply.clear();
    if let Err(text) = arguments(stack, request) {
        return Answer::Refused(text);
    }
    match guarded(shared, || with_host(|host| host.call(request.args(), shared.proto(), reply))) {
        Some(Some(())) if reply.first() == Some(&b'-') => Answer::Error,
        Some(Some(())) => Answer::Reply,
        Some(None) => {
            Answer::Refused(b"ERR redis.call can only be called from a script or a function that runs")
        }
        None => Answer::Panicked,
    }
}

/// Arguments of a command: strings, and numbers as text.
fn arguments(stack: &Stack<'_>, request: &mut ArgsBuilder) -> Result<(), &'static [u8]> {
    let count = stack.len();
    if count == 0 {
        return Err(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut room = ARGUMENT_BYTES_MAX;
    for at in 1..=count {
        match stack.kind(at) {
            Kind::String => {
                let bytes = stack.string(at);
                room = room.checked_sub(bytes.len()).ok_or(TOO_LONG)?;
                request.push_arg(bytes);
            }
            Kind::Number => push_number(request, stack.number(at)),
            _ => return Err(b"ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(())
}

/// Whole numbers up to this are written with all their digits, as Redis writes them: 2⁶².
const WHOLE_MAX: f64 = 4_611_686_018_427_387_904.0;

fn push_number(request: &mut ArgsBuilder, number: f64) {
    let whole = number as i64;
    if whole as f64 == number && number.abs() <= WHOLE_MAX {
        return request.push_arg(itoa::Buffer::new().format(whole).as_bytes());
    }
    if number.is_nan() && number.is_sign_negative() {
        return request.push_arg(b"-nan");
    }
    // As a reply has it: the fewest digits that read back as the same number.
    let mut reply = Vec::new();
    Reply::new(&mut reply, Proto::Resp3).double(number);
    request.push_arg(&reply[1..reply.len() - 2]);
}

/// The text of an error reply.
fn error_text(reply: &[u8]) -> &[u8] {
    let text = reply.strip_prefix(b"-").unwrap_or(reply);
    text.strip_suffix(b"\r\n").unwrap_or(text)
}

fn push_error(stack: &Stack<'_>, text: &[u8], is_counted: bool) {
    stack.push_table(0, 2);
    let table = stack.len();
    stack.push_bytes(b"err");
    stack.push_bytes(text);
    stack.set_field(table);
    if is_counted {
        stack.push_bytes(b"ignore_error_stats_update");
        stack.push_boolean(true);
        stack.set_field(table);
    }
}

/// Leaves what is to be raised where `RAISE` finds it.
#[cold]
fn leave(shared: &Shared, answer: &Answer, reply: &[u8]) {
    let failure = match answer {
        Answer::Refused(text) => Raised::Reply { text: text.to_vec(), is_counted: false },
        Answer::Panicked => Raised::Stopped,
        Answer::Reply | Answer::Error => Raised::Reply { text: error_text(reply).to_vec(), is_counted: true },
    };
    *shared.failure.lock() = Some(failure);
}
