//! A row's `syntax`, read into the tree of arguments that COMMAND DOCS shows.
//!
//! ```text
//!   word         a value          [ … ]        may be left out
//!   WORD $ * =   stands for itself  < … | … >  one of these
//!   A b c        A and its values   b [b ...]  one or more, also of several: b c [b c ...]
//!   A b [A b ...]  one or more, each with its word
//! ```
//!
//! A word in capitals takes the values that follow it up to the next word in capitals or bracket. A `|` is a word of its own, stands
//! inside brackets only, and divides all that is inside.

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    /// The word before it, or that it is.
    pub(super) token: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) is_optional: bool,
    pub(super) is_multiple: bool,
    /// Whether its token is said with each of several.
    pub(super) repeats_token: bool,
}

/// What stands for an argument in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the client chooses.
    Value,
    /// Only its token.
    Token,
    /// One of these.
    OneOf(Vec<Argument>),
    /// These, in order.
    Block(Vec<Argument>),
}

/// Reads `syntax`. `None`: it doesn't follow the rules, which a test keeps out of the table.
pub(super) fn parse(syntax: &'static str) -> Option<Vec<Argument>> {
    let mut reader = Reader { words: words(syntax), at: 0 };
    if reader.words.iter().any(|word| word.len() > 1 && word.contains('|')) {
        return None;
    }
    let arguments = reader.sequence()?;
    (reader.at == reader.words.len()).then_some(arguments)
}

/// `syntax` in words; each bracket is one.
fn words(syntax: &'static str) -> Vec<&'static str> {
    let is_bracket = |c: char| "[]<>".contains(c);
    let mut words = Vec::new();
    for word in syntax.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(is_bracket) {
            words.extend((at > 0).then_some(&rest[..at]));
            words.push(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

struct Reader {
    words: Vec<&'static str>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.at += usize::from(is_next);
        is_next
    }

    /// Arguments up to a closing bracket, a `|` or the end.
    fn sequence(&mut self) -> Option<Vec<Argument>> {
        let mut arguments = Vec::new();
        while let Some(word) = self.peek().filter(|word| !["]", ">", "|"].contains(word)) {
            if let Some(count) = self.repetition(&arguments) {
                repeat(&mut arguments, count);
                continue;
            }
            self.at += 1;
            let began = self.at - 1;
            let mut argument = match word {
                "[" => Argument { is_optional: true, ..self.choice("]")? },
                "<" => self.choice(">")?,
                "..." => return None,
                word if is_token(word) => self.token(word)?,
                word => value(word),
            };
            if self.takes_again(began) {
                (argument.is_multiple, argument.repeats_token) = (true, is_token(word));
            }
            arguments.push(argument);
        }
        Some(arguments)
    }

    /// What is inside brackets, whose opening one has been taken.
    fn choice(&mut self, closing: &str) -> Option<Argument> {
        let mut alternatives = vec![one_of_several(self.sequence()?)?];
        while self.take("|") {
            alternatives.push(one_of_several(self.sequence()?)?);
        }
        if !self.take(closing) {
            return None;
        }
        match alternatives.len() {
            1 => alternatives.pop(),
            _ => Some(argument("choice", None, Kind::OneOf(alternatives))),
        }
    }

    /// A word in capitals with its values, or a choice behind it.
    fn token(&mut self, token: &'static str) -> Option<Argument> {
        let name = name_of(token);
        let mut values = Vec::new();
        while let Some(word) = self.peek() {
            if let Some(count) = self.repetition(&values) {
                repeat(&mut values, count);
            } else if is_value(word) {
                self.at += 1;
                values.push(value(word));
            } else {
                break;
            }
        }
        if values.is_empty() && self.take("<") {
            let choice = self.choice(">")?;
            return Some(Argument { name, token: Some(token), ..choice });
        }
        Some(match values.len() {
            0 => argument(&name, Some(token), Kind::Token),
            1 => Argument { token: Some(token), ..values.remove(0) },
            _ => argument(&name, Some(token), Kind::Block(values)),
        })
    }

    /// Takes `[A b ...]` if it repeats the words from `began` on.
    fn takes_again(&mut self, began: usize) -> bool {
        let again = [&["["], &self.words[began..self.at], &["...", "]"]].concat();
        let is_next = self.words[self.at..].starts_with(&again);
        self.at += if is_next { again.len() } else { 0 };
        is_next
    }

    /// Takes `[a b ...]` if it repeats the last of `arguments`; returns how many those are.
    fn repetition(&mut self, arguments: &[Argument]) -> Option<usize> {
        let inside = self.words.get(self.at..)?.strip_prefix(&["["])?;
        let count = inside.iter().position(|word| *word == "...").filter(|&count| count > 0)?;
        let first = arguments.len().checked_sub(count)?;
        let repeats = inside.iter().zip(&arguments[first..]).all(|(word, argument)| argument.name == *word)
            && inside.get(count + 1) == Some(&"]");
        if repeats {
            self.at += count + 3;
        }
        repeats.then_some(count)
    }
}

/// Has the last `count` arguments stand for one or more.
fn repeat(arguments: &mut Vec<Argument>, count: usize) {
    let repeated = arguments.split_off(arguments.len() - count);
    let mut repeated = one_of_several(repeated).unwrap_or_else(|| value("data"));
    repeated.is_multiple = true;
    arguments.push(repeated);
}

/// Several arguments as one: a block, unless it is one already.
fn one_of_several(mut arguments: Vec<Argument>) -> Option<Argument> {
    if arguments.len() > 1 {
        let name = match arguments.first() {
            Some(Argument { kind: Kind::Token, name, .. }) => name.clone(),
            _ => "data".to_owned(),
        };
        return Some(argument(&name, None, Kind::Block(arguments)));
    }
    arguments.pop()
}

fn argument(name: &str, token: Option<&'static str>, kind: Kind) -> Argument {
    Argument {
        name: name.to_owned(),
        token,
        kind,
        is_optional: false,
        is_multiple: false,
        repeats_token: false,
    }
}

fn value(name: &str) -> Argument {
    argument(name, None, Kind::Value)
}

fn is_token(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_lowercase())
}

fn is_value(word: &str) -> bool {
    !is_token(word)
}

/// The name of a token. Source: those of symbols are Redis's.
fn name_of(token: &str) -> String {
    match token {
        "*" => "auto-id".to_owned(),
        "$" => "new-id".to_owned(),
        "=" => "equal".to_owned(),
        "~" => "approximately".to_owned(),
        word => word.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::table::table;
    use super::*;

    /// The tree in short: `name`, `TOKEN=name`, `{block}`, `(a|b)`, then `?` and `*`.
    fn shown(argument: &Argument) -> String {
        let inner = match &argument.kind {
            Kind::Value | Kind::Token => argument.name.clone(),
            Kind::OneOf(all) => format!("({})", all.iter().map(shown).collect::<Vec<_>>().join("|")),
            Kind::Block(all) => format!("{{{}}}", all.iter().map(shown).collect::<Vec<_>>().join(" ")),
        };
        let token = argument.token.map_or(String::new(), |token| format!("{token}="));
        let optional = if argument.is_optional { "?" } else { "" };
        let multiple = match (argument.is_multiple, argument.repeats_token) {
            (false, _) => "",
            (true, false) => "*",
            (true, true) => "**",
        };
        format!("{token}{inner}{optional}{multiple}")
    }

    #[test]
    fn each_form_has_its_tree() {
        let rows = [
            ("", ""),
            ("key", "key"),
            ("key [key ...]", "key*"),
            ("[channel [channel ...]]", "channel?*"),
            ("key value [key value ...]", "{key value}*"),
            ("key [NX | XX] [GET]", "key (NX=nx|XX=xx)? GET=get?"),
            ("[EX seconds | PX milliseconds | KEEPTTL]", "(EX=seconds|PX=milliseconds|KEEPTTL=keepttl)?"),
            ("<ON | OFF>", "(ON=on|OFF=off)"),
            ("SKIPME <YES | NO>", "SKIPME=(YES=yes|NO=no)"),
            ("[AUTH username password]", "AUTH={username password}?"),
            ("key [FULL [COUNT count]]", "key {FULL=full COUNT=count?}?"),
            ("STREAMS key [key ...] id [id ...]", "STREAMS={key* id*}"),
            ("GROUP group consumer [NOACK]", "GROUP={group consumer} NOACK=noack?"),
            (
                "key [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
                "key {(MAXLEN=maxlen|MINID=minid) (==equal|~=approximately)? threshold LIMIT=count?}? \
                 (*=auto-id|id) {field value}*",
            ),
            ("[GET pattern [GET pattern ...]] [ASC]", "GET=pattern?** ASC=asc?"),
            ("[ID client-id [client-id ...]]", "ID=client-id?*"),
            (
                "source <LEFT | RIGHT> <LEFT | RIGHT> timeout [<COUNT n | EXACTLY n> <OBO | BULK>]",
                "source (LEFT=left|RIGHT=right) (LEFT=left|RIGHT=right) timeout \
                 {(COUNT=n|EXACTLY=n) (OBO=obo|BULK=bulk)}?",
            ),
            (
                "<ip:port | <[ID client-id] [SKIPME <YES | NO>]>>",
                "(ip:port|{ID=client-id? SKIPME=(YES=yes|NO=no)?})",
            ),
        ];
        for (syntax, expected) in rows {
            let tree: Vec<String> = parse(syntax).expect(syntax).iter().map(shown).collect();
            assert_eq!(tree.join(" "), expected, "{syntax}");
        }
    }

    #[test]
    fn what_does_not_follow_the_rules_is_refused() {
        for syntax in ["a | b", "A|B c", "[A|B]", "[a", "a]", "<a | b", "...", "a [b ...]", "[]", "[a | ]"] {
            assert_eq!(parse(syntax), None, "{syntax}");
        }
    }

    #[test]
    fn every_row_follows_the_rules() {
        for row in table().rows() {
            assert!(parse(row.spec.syntax).is_some(), "{}: {}", row.full_name, row.spec.syntax);
        }
    }
}
