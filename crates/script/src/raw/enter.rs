//! Into a script, and out of it with its result.

use std::ffi::c_int;

use mlua::{LightUserData, Value, lua_State};
use sterna_protocol::Reply;

use super::result::{self, FIRST_NAME, Stop};
use super::stack::{At, Stack, TOP};
use crate::api::Shared;

/// The upvalues, before the names of fields (`result`).
const GLOBALS: At = Stack::upvalue(1);
const HANDLE: At = Stack::upvalue(2);
const FUNCTIONS: At = Stack::upvalue(3);
const KEYS: At = Stack::upvalue(4);
const ARGV: At = Stack::upvalue(5);
const _: () = assert!(FIRST_NAME == 6);

/// Texts that are made once, as upvalues from the fourth on.
pub(super) const NAMES: [&str; 2 + result::NAMES.len()] = {
    let mut names = ["KEYS"; 2 + result::NAMES.len()];
    names[1] = "ARGV";
    let mut at = 0;
    while at < result::NAMES.len() {
        names[2 + at] = result::NAMES[at];
        at += 1;
    }
    names
};

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A script, which finds keys and arguments among the globals.
    Script,
    /// A function of a library, which gets them.
    Function,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reply is written.
    Written,
    /// The script was stopped while its result was.
    Killed,
    /// The result is nested too deeply, or too large.
    TooLarge,
    /// It failed.
    Raised,
}

/// One run.
pub(crate) struct Entry<'a, 'r, K, A> {
    pub(crate) what: What,
    /// The function's number.
    pub(crate) id: i64,
    pub(crate) keys: K,
    pub(crate) args: A,
    pub(crate) shared: &'a Shared,
    pub(crate) reply: &'a mut Reply<'r>,
    pub(crate) outcome: Outcome,
}

/// What `enter` sees of an entry.
type Erased<'a> = dyn Run + 'a;

trait Run {
    fn run(&mut self, stack: &Stack<'_>) -> c_int;
}

impl<'k, K, A> Entry<'_, '_, K, A>
where
    K: Iterator<Item = &'k [u8]> + Clone,
    A: Iterator<Item = &'k [u8]> + Clone,
{
    /// Runs it with `enter`, one of [`super::enter`]'s. Gives the error of a script that failed; otherwise, and unless
    /// `outcome` is `Written`, the reply is to be cut off.
    pub(crate) fn run_with(&mut self, enter: &mlua::Function) -> mlua::Result<Value> {
        // Lua may jump over what walks them.
        const { assert!(!std::mem::needs_drop::<K>() && !std::mem::needs_drop::<A>()) };
        let mut erased: &mut Erased<'_> = self;
        enter.call(LightUserData((&raw mut erased).cast()))
    }
}

/// The function that an entry is given to.
pub(super) unsafe extern "C-unwind" fn enter(state: *mut lua_State) -> c_int {
    // SAFETY: only `run_with` calls this, by mlua's `Function::call`, which is a protected call.
    let stack = unsafe { Stack::of(state) };
    // SAFETY: the pointer is `run_with`'s, whose frame waits for this one, and nothing else uses it meanwhile.
    let entry: &mut &mut Erased<'_> = unsafe { &mut *stack.pointer(1) };
    entry.run(&stack)
}

impl<'k, K, A> Run for Entry<'_, '_, K, A>
where
    K: Iterator<Item = &'k [u8]> + Clone,
    A: Iterator<Item = &'k [u8]> + Clone,
{
    fn run(&mut self, stack: &Stack<'_>) -> c_int {
        stack.push_value(HANDLE);
        let handle = stack.len();
        stack.push_number(self.id as f64);
        stack.field(FUNCTIONS);
        let arguments = match self.what {
            What::Script => {
                for_global(stack, KEYS, &self.keys);
                for_global(stack, ARGV, &self.args);
                0
            }
            What::Function => {
                push_strings(stack, &self.keys);
                push_strings(stack, &self.args);
                2
            }
        };
        if !stack.protected_call(arguments, handle) {
            self.outcome = Outcome::Raised;
            return 1;
        }
        self.outcome = match result::write(stack, self.shared, self.reply) {
            Ok(()) => Outcome::Written,
            Err(Stop::TooLarge) => Outcome::TooLarge,
            Err(Stop::Killed | Stop::Panicked) => Outcome::Killed,
        };
        0
    }
}

fn for_global<'k>(stack: &Stack<'_>, name: At, texts: &(impl Iterator<Item = &'k [u8]> + Clone)) {
    stack.push_value(name);
    push_strings(stack, texts);
    stack.set_field(GLOBALS);
}

/// Pushes a table of strings.
fn push_strings<'k>(stack: &Stack<'_>, texts: &(impl Iterator<Item = &'k [u8]> + Clone)) {
    stack.push_table(texts.clone().count(), 0);
    for (number, text) in (1..).zip(texts.clone()) {
        stack.push_bytes(text);
        stack.set_element(TOP - 1, number);
    }
}
