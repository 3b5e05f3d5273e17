//! Signatures: HMAC-SHA256 in hexadecimal, the app's secret being the key.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

fn mac(secret: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    // A key may have any length, so this is never none.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

/// The signature of all parts, one behind the other.
pub fn signature(secret: &[u8], parts: &[&[u8]]) -> String {
    let bytes = mac(secret, parts).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `signature` is that of all parts. Takes as long for every wrong one.
pub fn is_signed(secret: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let Some(claimed) = unhex(signature) else { return false };
    mac(secret, parts).is_some_and(|mac| mac.verify_slice(&claimed).is_ok())
}

/// Whether `auth` is the key and the signature, with a colon between them.
pub fn is_signed_by(key: &str, secret: &[u8], parts: &[&[u8]], auth: &str) -> bool {
    auth.strip_prefix(key)
        .and_then(|rest| rest.strip_prefix(':'))
        .is_some_and(|signature| is_signed(secret, parts, signature.as_bytes()))
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    // Two hexadecimal digits are a byte.
    text.chunks_exact(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "278d425bdf160c739803";
    const SECRET: &[u8] = b"7ad3773142a6692b25b8";

    /// Source: Pusher's documentation; but the second is computed, since it has the signature of the third there.
    const SIGNED: [(&str, &str); 5] = [
        ("1234.1234:private-foobar", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
        (
            r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
            "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
        ),
        (
            r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#,
            "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
        ),
        (
            r#"1234.1234::user::{"id":"12345"}"#,
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
        ),
        (
            "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&\
             body_md5=ec365a775a4cd0599faeb73354201b6f",
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
        ),
    ];

    #[test]
    fn signatures_are_those_that_others_make() {
        for (text, expected) in SIGNED {
            assert_eq!(signature(SECRET, &[text.as_bytes()]), expected, "{text}");
            assert!(is_signed(SECRET, &[&text.as_bytes()[..5], &text.as_bytes()[5..]], expected.as_bytes()));
            assert!(!is_signed(SECRET, &[text.as_bytes(), b"x"], expected.as_bytes()));
            assert!(!is_signed(b"other", &[text.as_bytes()], expected.as_bytes()));
        }
    }

    #[test]
    fn a_signature_that_is_cut_or_of_another_key_is_none() {
        let (text, signature) = SIGNED[0];
        let by = |auth: &str| is_signed_by(KEY, SECRET, &[text.as_bytes()], auth);
        assert!(by(&format!("{KEY}:{signature}")));
        for wrong in
            ["", ":", signature, &format!("x{KEY}:{signature}"), &format!("{KEY}:{}", &signature[..62])]
        {
            assert!(!by(wrong), "{wrong}");
        }
        assert!(!by(&format!("{KEY}:{}", "é".repeat(32))));
    }
}
