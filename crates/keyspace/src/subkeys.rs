//! Which elements of a key's value an event is about: fields of a hash.
//!
//! They are kept as subscribers are sent them: `<bytes>:<name>,<bytes>:<name>,…`, where a name is bytes of any kind.
//!
//! Source: Redis's subkey notifications (redis.io/docs/latest/develop/pubsub/subkeyspace-notifications).

/// The names, in the order of the change; what was named twice is here twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subkeys<'a>(&'a [u8]);

impl<'a> Subkeys<'a> {
    pub(crate) fn of(list: &'a [u8]) -> Subkeys<'a> {
        Subkeys(list)
    }

    /// Whether no element is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names as subscribers are sent them.
    pub fn list(&self) -> &'a [u8] {
        self.0
    }

    /// Each name.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (subkeys, mut at) = (*self, 0);
        std::iter::from_fn(move || subkeys.next_from(&mut at))
    }

    /// The name at `at`, 0 at first, which then says where to go on.
    pub fn next_from(&self, at: &mut usize) -> Option<&'a [u8]> {
        let rest = self.0.get(*at..)?;
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        let colon = rest.iter().position(|&byte| byte == b':')?;
        let bytes = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let (name, behind) = rest[colon + 1..].split_at_checked(bytes)?;
        *at = self.0.len() - behind.len();
        Some(name)
    }
}

/// Appends names in that form.
pub(crate) fn write<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a [u8]>) {
    for (nth, name) in names.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(itoa::Buffer::new().format(name.len()).as_bytes());
        out.push(b':');
        out.extend_from_slice(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_are_found_again() {
        let cases: &[(&[&[u8]], &[u8])] = &[
            (&[], b""),
            (&[b""], b"0:"),
            (&[b"a"], b"1:a"),
            (&[b"a,1:b", b"", b"2:", b"a,1:b", b"\0\xff\r\n"], b"5:a,1:b,0:,2:2:,5:a,1:b,4:\0\xff\r\n"),
        ];
        for (names, list) in cases {
            let mut out = Vec::new();
            write(&mut out, names.iter().copied());
            assert_eq!(out, *list);
            assert_eq!(Subkeys::of(list).iter().collect::<Vec<_>>(), *names);
        }
    }
}
