//! The first line of a script, `#!lua flags=no-writes,allow-oom`, and of a library, `#!lua name=mylib`.

use sterna_protocol::words;

/// What a first line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// `flags=`; `None` if the script has no first line of this kind.
    pub(crate) flags: Option<ScriptFlags>,
    /// Bytes of the line, without its end: what follows is the code.
    pub(crate) len: usize,
}

/// What a script promises, or asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags {
    /// It writes nothing: `no-writes`.
    pub no_writes: bool,
    /// It may run when memory is short: `allow-oom`.
    pub allow_oom: bool,
    /// It may run on a replica that has lost its master: `allow-stale`.
    pub allow_stale: bool,
    /// It doesn't run in a cluster: `no-cluster`.
    pub no_cluster: bool,
    /// It may use keys of several slots: `allow-cross-slot-keys`.
    pub allow_cross_slot_keys: bool,
}

impl ScriptFlags {
    /// Sets the flag of this name; false if there is none.
    pub(crate) fn set(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }
}

impl ScriptFlags {
    /// The names of those that are set, in the order in which FUNCTION LIST has them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
    }
}

/// Reads the first line of a library: its name, and the bytes of the line without its end.
///
/// Words may stand in quotes, as in an inline command.
pub(crate) fn library_header(code: &[u8]) -> Result<(String, usize), Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let Some(len) = code.iter().position(|&byte| byte == b'\n') else {
        return Err(b"ERR Invalid library metadata".to_vec());
    };
    let words = words(&code[..len]).ok_or(b"ERR Invalid library metadata")?;
    let mut words = words.iter().map(Vec::as_slice);
    // The engine's name follows the two signs at once, or is empty.
    let engine = words.next().and_then(|word| word.strip_prefix(b"#!")).unwrap_or_default();
    let mut name = None;
    for word in words {
        let Some(value) = word.get(5..).filter(|_| word[..5].eq_ignore_ascii_case(b"name=")) else {
            return Err([b"ERR Invalid metadata value given: ", word].concat());
        };
        if name.replace(value).is_some() {
            return Err(b"ERR Invalid metadata value, name argument was given multiple times".to_vec());
        }
    }
    let name = name.ok_or(b"ERR Library name was not given")?;
    let name = name_of(name).ok_or(NO_NAME)?;
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", engine, b"' not found"].concat());
    }
    Ok((name.to_owned(), len))
}

/// What is no name of a library or a function.
pub(crate) const NO_NAME: &[u8] =
    b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at \
      least one character long";

/// A name of a library or a function.
pub(crate) fn name_of(bytes: &[u8]) -> Option<&str> {
    let is_name = !bytes.is_empty() && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    std::str::from_utf8(bytes).ok().filter(|_| is_name)
}

/// Reads the first line of an EVAL script.
pub(crate) fn script_header(body: &[u8]) -> Result<Header, Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok(Header::default());
    }
    let Some(len) = body.iter().position(|&byte| byte == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let words = words(&body[..len]).ok_or(b"ERR Invalid engine in script shebang")?;
    let mut words = words.iter().map(Vec::as_slice);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(listed) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", word].concat());
        };
        let names = (!listed.is_empty()).then(|| listed.split(|&byte| byte == b','));
        for name in names.into_iter().flatten() {
            if !flags.set(name) {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            }
        }
    }
    Ok(Header { flags: Some(flags), len })
}
