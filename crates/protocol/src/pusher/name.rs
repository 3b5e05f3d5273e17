//! Names of channels, and what they say of them.

/// Bytes of a channel's name.
pub const NAME_BYTES_MAX: usize = 200;

/// What the channel of a user who has signed in begins with; his ID follows.
pub const SERVER_TO_USER: &str = "#server-to-user-";

/// What a name says of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelKind {
    /// Who subscribes shows a signature.
    pub is_private: bool,
    /// Its members are known to each other.
    pub is_presence: bool,
    /// Only its members can read what is sent; not even the server can.
    pub is_encrypted: bool,
    /// Who subscribes is sent the last event.
    pub is_cache: bool,
}

impl ChannelKind {
    /// By the words that it begins with.
    pub fn of(name: &[u8]) -> ChannelKind {
        let (is_private, is_presence) = (name.starts_with(b"private-"), name.starts_with(b"presence-"));
        let is_encrypted = name.starts_with(b"private-encrypted-");
        let caches: [&[u8]; 4] =
            [b"cache-", b"private-cache-", b"private-encrypted-cache-", b"presence-cache-"];
        ChannelKind {
            is_private: is_private || is_presence,
            is_presence,
            is_encrypted,
            is_cache: caches.iter().any(|word| name.starts_with(word)),
        }
    }
}

/// Whether a channel may have this name.
pub fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
    let name = name.strip_prefix(SERVER_TO_USER).unwrap_or(name);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_its_channel_is() {
        let kind = |name: &str| {
            let kind = ChannelKind::of(name.as_bytes());
            [kind.is_private, kind.is_presence, kind.is_encrypted, kind.is_cache].map(u8::from)
        };
        for (name, expected) in [
            ("news", [0, 0, 0, 0]),
            ("private", [0, 0, 0, 0]),
            ("cache-news", [0, 0, 0, 1]),
            ("private-a", [1, 0, 0, 0]),
            ("private-cache-a", [1, 0, 0, 1]),
            ("private-encrypted-a", [1, 0, 1, 0]),
            ("private-encrypted-cache-a", [1, 0, 1, 1]),
            ("presence-a", [1, 1, 0, 0]),
            ("presence-cache-a", [1, 1, 0, 1]),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn names_are_of_few_letters() {
        assert!(is_name("a-B_9=@,.;") && is_name("#server-to-user-7") && is_name(&"x".repeat(200)));
        for wrong in ["", "a b", "a:b", "é", "#news", "a/b", "#server-to-user-", &"x".repeat(201)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
