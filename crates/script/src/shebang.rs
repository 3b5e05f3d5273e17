//! The first line of a script: `#!lua flags=no-writes,allow-oom`.

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

/// Reads the first line of an EVAL script.
pub(crate) fn script_header(body: &[u8]) -> Result<Header, Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok(Header::default());
    }
    let Some(len) = body.iter().position(|&byte| byte == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let mut words = words(&body[..len]);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(listed) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", word].concat());
        };
        for name in listed.split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
            if !flags.set(name) {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            }
        }
    }
    Ok(Header { flags: Some(flags), len })
}

/// Words between spaces, as many spaces as there may be.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}
