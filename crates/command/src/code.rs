//! Which argument of a request is code: it is compiled before the request is executed, on a thread of its own where it is long.

/// What a command has to do with code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Nothing.
    None,
    /// The argument of this index is a script.
    Script(usize),
    /// It calls, shows or removes functions of the libraries that are there.
    Functions,
    /// The last argument is a library.
    Library,
    /// The argument of this index has libraries in it, as FUNCTION DUMP shows them.
    Libraries(usize),
}
