//! Users in words: ACL LIST and ACL GETUSER.

use super::access::Access;
use super::selector::{Channels, Keys, Selector};
use super::user::User;

/// What ACL GETUSER answers, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDescription {
    /// `on` or `off`, `nopass`, `sanitize-payload` or `skip-sanitize-payload`.
    pub flags: Vec<&'static str>,
    /// SHA-256 in hexadecimal.
    pub passwords: Vec<String>,
    /// The user's own rules.
    pub root: SelectorDescription,
    /// The rules in parentheses.
    pub selectors: Vec<SelectorDescription>,
}

/// Commands, keys and channels as rules, separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorDescription {
    /// `-@all +get`.
    pub commands: Vec<u8>,
    /// `~a* %R~b*`.
    pub keys: Vec<u8>,
    /// `&chat:*`.
    pub channels: Vec<u8>,
}

impl User {
    /// For ACL GETUSER.
    pub fn describe(&self) -> UserDescription {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.nopass.then_some("nopass"));
        flags.push(if self.sanitize_payload { "sanitize-payload" } else { "skip-sanitize-payload" });
        UserDescription {
            flags,
            passwords: self.passwords.iter().map(|hash| hash.hex()).collect(),
            root: self.root.describe(),
            selectors: self.selectors.iter().map(Selector::describe).collect(),
        }
    }

    /// The rules that make this user, one word each, for CONFIG REWRITE.
    pub fn rules(&self) -> Vec<Vec<u8>> {
        let UserDescription { flags, passwords, root, selectors } = self.describe();
        let mut rules: Vec<Vec<u8>> = flags.into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        rules.extend(passwords.iter().map(|hash| format!("#{hash}").into_bytes()));
        rules.extend(root.rules());
        rules.extend(selectors.iter().map(|selector| {
            let inner = selector.rules().join(&b' ');
            [b"(", inner.as_slice(), b")"].concat()
        }));
        rules
    }

    /// Its line of ACL LIST.
    pub fn line(&self) -> Vec<u8> {
        let mut words = vec![b"user".to_vec(), self.name().to_vec()];
        words.extend(self.rules());
        words.join(&b' ')
    }
}

impl SelectorDescription {
    fn rules(&self) -> Vec<Vec<u8>> {
        let words = |text: &[u8]| text.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut rules = if self.keys.is_empty() { Vec::new() } else { words(&self.keys) };
        if self.channels != b"&*" {
            rules.push(b"resetchannels".to_vec());
        }
        if !self.channels.is_empty() {
            rules.extend(words(&self.channels));
        }
        rules.extend(words(&self.commands));
        rules
    }
}

impl Selector {
    fn describe(&self) -> SelectorDescription {
        let keys: Vec<Vec<u8>> = match &self.keys {
            Keys::All => vec![b"~*".to_vec()],
            Keys::Matching(patterns) => {
                patterns.iter().map(|known| [prefix(known.access), &known.pattern].concat()).collect()
            }
        };
        let channels: Vec<Vec<u8>> = match &self.channels {
            Channels::All => vec![b"&*".to_vec()],
            Channels::Matching(patterns) => {
                patterns.iter().map(|pattern| [b"&", pattern.as_slice()].concat()).collect()
            }
        };
        SelectorDescription {
            commands: self.commands.rules().into_bytes(),
            keys: keys.join(&b' '),
            channels: channels.join(&b' '),
        }
    }
}

/// How a key pattern with this access begins.
fn prefix(access: Access) -> &'static [u8] {
    match access {
        Access { read: true, write: true } => b"~",
        Access { read: true, .. } => b"%R~",
        Access { .. } => b"%W~",
    }
}
