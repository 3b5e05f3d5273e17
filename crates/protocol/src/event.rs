//! Messages as server-sent events, encoded once and sent to many pages.
//!
//! ```text
//!   data: {"channel":"news","message":"hello"}
//!   data: {"channel":"news","message":"hello","pattern":"n*"}
//!   data: {"stream":"orders","id":"1717171717171-0","fields":{"item":"7"}}
//! ```
//!
//! JSON keeps a payload on one line whatever it holds. What is not UTF-8 becomes U+FFFD, since a stream of events is text.
//!
//! Cost: O(bytes). Source: the event stream format of HTML; RFC 8259.

/// Bytes of a frame beside its texts, as long as nothing in them is escaped.
pub const OVERHEAD: usize = 64;

/// What keeps a silent stream open: a comment. No empty line ends it, which some clients take for an event.
pub const HEARTBEAT: &[u8] = b":\n";

/// A message for who listens to its channel, or to `pattern`, which matches it.
pub fn message(out: &mut Vec<u8>, pattern: Option<&[u8]>, channel: &[u8], payload: &[u8]) {
    out.extend_from_slice(br#"data: {"channel":"#);
    json_string(out, channel);
    out.extend_from_slice(br#","message":"#);
    json_string(out, payload);
    if let Some(pattern) = pattern {
        out.extend_from_slice(br#","pattern":"#);
        json_string(out, pattern);
    }
    out.extend_from_slice(b"}\n\n");
}

/// An entry of a stream, for who follows it. Of fields with one name the last counts, as for every reader of JSON.
pub fn entry<'f>(
    out: &mut Vec<u8>,
    stream: &[u8],
    (ms, seq): (u64, u64),
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) {
    out.extend_from_slice(br#"data: {"stream":"#);
    json_string(out, stream);
    out.extend_from_slice(br#","id":""#);
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(number.format(ms).as_bytes());
    out.push(b'-');
    out.extend_from_slice(number.format(seq).as_bytes());
    out.extend_from_slice(br#"","fields":{"#);
    for (nth, (name, value)) in fields.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        json_string(out, name);
        out.push(b':');
        json_string(out, value);
    }
    out.extend_from_slice(b"}}\n\n");
}

/// Appends a JSON string. What is not UTF-8 becomes U+FFFD.
pub fn json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, valid: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    for (at, &byte) in valid.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&valid[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            _ => {
                out.extend_from_slice(br"\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&valid[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_data_whatever_it_holds() {
        let mut out = Vec::new();
        message(&mut out, None, b"news", b"a\n\"b\"\\\x00\x1f\xff\r");
        let expected =
            "data: {\"channel\":\"news\",\"message\":\"a\\n\\\"b\\\"\\\\\\u0000\\u001f\u{fffd}\\r\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        message(&mut out, Some(b"n*"), b"news", "é".as_bytes());
        let expected = "data: {\"channel\":\"news\",\"message\":\"é\",\"pattern\":\"n*\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        entry(&mut out, b"s", (5, 0), [(&b"a"[..], &b"\"\n"[..]), (b"b", b"")].into_iter());
        let expected =
            "data: {\"stream\":\"s\",\"id\":\"5-0\",\"fields\":{\"a\":\"\\\"\\n\",\"b\":\"\"}}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
