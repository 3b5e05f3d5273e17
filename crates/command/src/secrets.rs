//! Which arguments of a request are secret: what MONITOR, SLOWLOG and the like must not show.
//!
//! A name of a user is kept with its password: who sees the one in a log has half of a login.

/// The secret arguments of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// None.
    None,
    /// Every argument from this index on.
    From(usize),
    /// As many arguments as `count` behind `word`, wherever it stands.
    Behind {
        /// In upper case.
        word: &'static str,
        /// How many.
        count: usize,
    },
    /// From this index on, names and values of options take turns; a value is as secret as its option. Where one has no value, what
    /// is behind the first name may be parts of a secret that was meant to be one word.
    OptionValues(usize),
    /// The argument before this index, and whatever is secret in the request that begins there.
    Request(usize),
}

/// What a row can say about one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Everybody may see it.
    Open,
    /// Nobody may.
    Secret,
    /// If it is no name of an option: it may be a part of a secret.
    OptionName,
    /// As secret as the option whose name is the argument at this index.
    OfOption(usize),
    /// What the request says of it that begins at this index.
    OfRequest(usize),
}

impl Secrets {
    /// What is to be said of argument `index` of `count`, the name being argument 0.
    pub fn of<'a>(self, index: usize, count: usize, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Secrecy {
        let is_secret = match self {
            Secrets::None => false,
            Secrets::From(first) => index >= first,
            Secrets::Behind { word, count } => (1..=count)
                .filter_map(|distance| argument(index.checked_sub(distance)?))
                .any(|arg| arg.eq_ignore_ascii_case(word.as_bytes())),
            Secrets::OptionValues(first) => {
                if index <= first {
                    false
                } else if !count.saturating_sub(first).is_multiple_of(2) {
                    true
                } else if !(index - first).is_multiple_of(2) {
                    return Secrecy::OfOption(index - 1);
                } else {
                    return Secrecy::OptionName;
                }
            }
            Secrets::Request(first) if index >= first => return Secrecy::OfRequest(first),
            Secrets::Request(first) => index > 1 && index + 1 == first,
        };
        if is_secret { Secrecy::Secret } else { Secrecy::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_of_each_argument_whether_it_is_secret() {
        let login = Secrets::Behind { word: "AUTH", count: 2 };
        let rows: &[(Secrets, &str, &str)] = &[
            (Secrets::None, "get k", ".."),
            (Secrets::From(1), "auth u p", ".xx"),
            (Secrets::From(2), "acl setuser u >p", "..xx"),
            (login, "hello 3 auth u p setname n", "...xx.."),
            (login, "hello 3 setname auth auth u p", "....xxx"),
            (login, "hello auth u p", "..xx"),
            (Secrets::OptionValues(2), "config set a 1 b 2", "...2n4"),
            (Secrets::OptionValues(2), "config set a", "..."),
            (Secrets::OptionValues(2), "config set a p w", "...xx"),
            (Secrets::Request(3), "acl dryrun u auth p", "..xrr"),
            (Secrets::Request(2), "command getkeys auth p", "..rr"),
        ];
        for (secrets, request, expected) in rows {
            let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            let told: String = (0..words.len())
                .map(|index| match secrets.of(index, words.len(), |at| words.get(at).copied()) {
                    Secrecy::Open => '.',
                    Secrecy::Secret => 'x',
                    Secrecy::OptionName => 'n',
                    Secrecy::OfOption(name) => char::from(b'0' + name as u8),
                    Secrecy::OfRequest(_) => 'r',
                })
                .collect();
            assert_eq!(told, *expected, "{request}");
        }
    }
}
