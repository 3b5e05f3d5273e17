//! Paths and queries: what stands between the slashes and behind the question mark.

/// The names and values of a query.
pub(crate) type Pairs = [(Vec<u8>, Option<Vec<u8>>)];

/// The value of the first parameter of this name.
pub(crate) fn value<'q>(query: &'q Pairs, name: &str) -> Option<&'q [u8]> {
    let found = query.iter().find(|(other, _)| other == name.as_bytes());
    found.and_then(|(_, value)| value.as_deref())
}

/// The segments of a path, decoded. `/a//b` has an empty one in its middle; a slash at the end begins none.
pub(crate) fn segments(path: &str) -> Vec<Vec<u8>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Vec::new();
    }
    path.strip_suffix('/').unwrap_or(path).split('/').map(|segment| decoded(segment, false)).collect()
}

/// The names and values of a query, decoded, in their order. One without `=` has no value.
pub(crate) fn pairs(query: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (decoded(name, true), Some(decoded(value, true))),
            None => (decoded(part, true), None),
        })
        .collect()
}

/// `%XX` as the byte that it is, and in a query `+` as a space. What is not quite that stays as it is.
fn decoded(text: &str, in_query: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |at: usize| bytes.get(at).and_then(|&digit| (digit as char).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are a byte.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if in_query => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_what_stands_between_slashes() {
        let of = |path| segments(path).join(&b'|');
        assert_eq!(of("/set/foo%2Fbar/a+b/%e2%82%ac"), "set|foo/bar|a+b|€".as_bytes());
        assert_eq!(of("/set/foo//x/"), b"set|foo||x");
        assert_eq!(of("/%/%4/%zz"), b"%|%4|%zz");
        assert!(segments("/").is_empty() && segments("").is_empty());
    }

    #[test]
    fn a_query_is_names_with_and_without_values() {
        let of = |text: &str| text.as_bytes().to_vec();
        let expected = vec![(of("EX"), Some(of("100"))), (of("NX"), None), (of("a b"), Some(of("c=d")))];
        assert_eq!(pairs("EX=100&&NX&a+b=c%3Dd"), expected);
    }
}
