//! Requests as a client sends them: arrays of bulk strings.

use crate::reply::{bulk_header, header};

/// Appends the request `args`, the command's name first.
///
/// ```
/// let mut out = Vec::new();
/// sterna_protocol::encode::request(&mut out, ["PUBLISH", "news", "hello"]);
/// assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
/// ```
pub fn request<A: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
) {
    let args = args.into_iter();
    header(out, b'*', args.len() as i64);
    for arg in args {
        let arg = arg.as_ref();
        bulk_header(out, arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
