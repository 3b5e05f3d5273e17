//! What of a reply is compared where not every byte can be: ids, times, and what has no order.

use sterna_protocol::decode::Value;

/// A way to look at a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Elements of the reply in order, and the replies of a step: what comes in any.
    Sorted,
    /// Elements of every array in order, however deep.
    DeepSorted,
    /// The reply as pairs, in order: maps, and the flat arrays that they are in RESP2.
    Pairs,
    /// Only the type of every element.
    Types,
    /// Only the names in lines of `name=value` or `name:value`.
    Fields,
    /// Positive integers are all alike: times and ids.
    Positive,
    /// Numbers inside text are all alike: times, ports, ids.
    Digits,
    /// HELLO's map, wherever it is, without the connection's id, and the server's version and modules.
    Hello,
    /// Entries of SLOWLOG: only their arguments.
    Slow,
    /// Only that a reply came, and of which type.
    Kind,
    /// Only that an error came, and its first word.
    Code,
}

const NAMES: [(&str, View); 11] = [
    ("sorted", View::Sorted),
    ("deep-sorted", View::DeepSorted),
    ("pairs", View::Pairs),
    ("types", View::Types),
    ("fields", View::Fields),
    ("positive", View::Positive),
    ("digits", View::Digits),
    ("hello", View::Hello),
    ("slow", View::Slow),
    ("kind", View::Kind),
    ("code", View::Code),
];

impl View {
    /// The view that scripts call so.
    pub fn named(name: &str) -> Option<View> {
        NAMES.iter().find(|(other, _)| *other == name).map(|&(_, view)| view)
    }

    /// What is left of a reply.
    pub fn apply(self, value: Value) -> Value {
        match self {
            View::Sorted => sorted(value),
            View::DeepSorted => deep_sorted(value),
            View::Pairs => paired(value),
            View::Types => with_leaves(value, &|leaf| Value::Simple(type_of(&leaf).into())),
            View::Fields => with_leaves(value, &|leaf| with_text(leaf, fields)),
            View::Positive => with_leaves(value, &|leaf| match leaf {
                Value::Int(1..) => Value::Simple(b"a positive integer".to_vec()),
                other => other,
            }),
            View::Digits => with_leaves(value, &|leaf| with_text(leaf, without_digits)),
            View::Hello => without_identity(value),
            View::Slow => Value::Array(arguments(&value)),
            View::Kind => Value::Simple(type_of(&value).into()),
            View::Code => match value {
                Value::Error(text) => {
                    Value::Error(text.split(|&b| b == b' ').next().unwrap_or_default().to_vec())
                }
                other => other,
            },
        }
    }
}

/// A value as text, every byte of it, for comparing and for reading.
pub fn render(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(render).collect::<Vec<_>>().join(", ");
    match value {
        Value::Simple(text) => format!("+{}", text.escape_ascii()),
        Value::Error(text) => format!("-{}", text.escape_ascii()),
        Value::Int(number) => format!(":{number}"),
        Value::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Null => "null".to_owned(),
        Value::Array(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("~[{}]", list(values)),
        Value::Push(values) => format!(">[{}]", list(values)),
        Value::Map(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{}: {}", render(k), render(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Double(number) => format!(",{number}"),
        Value::Boolean(yes) => format!("#{yes}"),
        Value::BigNumber(digits) => format!("({}", digits.escape_ascii()),
        Value::Verbatim { format, text } => format!("={}:{}", format.escape_ascii(), text.escape_ascii()),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Simple(_) => "simple",
        Value::Error(_) => "error",
        Value::Int(_) => "integer",
        Value::Bulk(_) => "bulk",
        Value::Null => "null",
        Value::Array(_) => "array",
        Value::Set(_) => "set",
        Value::Push(_) => "push",
        Value::Map(_) => "map",
        Value::Double(_) => "double",
        Value::Boolean(_) => "boolean",
        Value::BigNumber(_) => "big number",
        Value::Verbatim { .. } => "verbatim",
    }
}

fn sorted(value: Value) -> Value {
    let sort = |mut values: Vec<Value>| {
        values.sort_by_cached_key(render);
        values
    };
    match value {
        Value::Array(values) => Value::Array(sort(values)),
        Value::Set(values) => Value::Set(sort(values)),
        Value::Map(mut pairs) => {
            pairs.sort_by_cached_key(|(key, value)| (render(key), render(value)));
            Value::Map(pairs)
        }
        // Lines of text.
        leaf => with_text(leaf, |text| {
            let mut lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
            lines.sort();
            lines.join(&b'\n')
        }),
    }
}

fn deep_sorted(value: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(deep_sorted).collect();
    sorted(match value {
        Value::Array(values) => Value::Array(all(values)),
        Value::Set(values) => Value::Set(all(values)),
        Value::Map(pairs) => Value::Map(pairs.into_iter().map(|(k, v)| (k, deep_sorted(v))).collect()),
        leaf => leaf,
    })
}

fn paired(value: Value) -> Value {
    match value {
        Value::Array(values) if values.len() % 2 == 0 => {
            let pairs = values.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect();
            sorted(Value::Array(pairs))
        }
        other => sorted(other),
    }
}

/// The value with `change` made to everything in it that is not an aggregate.
fn with_leaves(value: Value, change: &dyn Fn(Value) -> Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(|value| with_leaves(value, change)).collect();
    match value {
        Value::Array(values) => Value::Array(all(values)),
        Value::Set(values) => Value::Set(all(values)),
        Value::Push(values) => Value::Push(all(values)),
        Value::Map(pairs) => Value::Map(
            pairs.into_iter().map(|(k, v)| (with_leaves(k, change), with_leaves(v, change))).collect(),
        ),
        leaf => change(leaf),
    }
}

fn with_text(leaf: Value, change: impl Fn(&[u8]) -> Vec<u8>) -> Value {
    match leaf {
        Value::Simple(text) => Value::Simple(change(&text)),
        Value::Error(text) => Value::Error(change(&text)),
        Value::Bulk(text) => Value::Bulk(change(&text)),
        Value::Verbatim { format, text } => Value::Verbatim { format, text: change(&text) },
        other => other,
    }
}

fn fields(text: &[u8]) -> Vec<u8> {
    let names = text
        .split(|b| b" \r\n".contains(b))
        .map(|word| word.split(|b| b"=:".contains(b)).next().unwrap_or_default());
    names.collect::<Vec<_>>().join(&b' ')
}

fn without_digits(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in text {
        match byte {
            b'0'..=b'9' if out.last() == Some(&b'#') => {}
            b'0'..=b'9' => out.push(b'#'),
            other => out.push(other),
        }
    }
    out
}

/// The arguments of the entries of a SLOWLOG, which stand fourth in each.
fn arguments(log: &Value) -> Vec<Value> {
    let entries = log.as_slice().unwrap_or_default().iter();
    entries.filter_map(|entry| entry.as_slice()?.get(3).cloned()).collect()
}

fn without_identity(value: Value) -> Value {
    let masked = |name: &Value, value: Value| match name.as_bytes() {
        Some(b"id" | b"version" | b"modules") => Value::Simple(type_of(&value).into()),
        _ => value,
    };
    let is_server = |name: Option<&Value>| name.and_then(Value::as_bytes) == Some(b"server");
    match value {
        Value::Map(pairs) if is_server(pairs.first().map(|(name, _)| name)) => {
            Value::Map(pairs.into_iter().map(|(k, v)| (k.clone(), masked(&k, v))).collect())
        }
        Value::Array(values) if is_server(values.first()) => {
            let mut out: Vec<Value> = Vec::new();
            for value in values {
                let value = match out.last() {
                    Some(name) if out.len() % 2 == 1 => masked(name, value),
                    _ => value,
                };
                out.push(value);
            }
            Value::Array(out)
        }
        // EXEC's replies, say.
        Value::Array(values) => Value::Array(values.into_iter().map(without_identity).collect()),
        other => other,
    }
}
