//! Many short bulk strings one after the other: room is made for some of them at once, and a string is copied in pieces whose
//! lengths the compiler knows. Making room for each and calling for each copy takes twice as long.

use crate::reply::Reply;

/// Longest string that is written so.
const SHORT_MAX: usize = 64;
/// What a short one takes at most, its frame included, and a few bytes more: its header is written as eight.
const ROOM: usize = 8 + SHORT_MAX + 2;
/// Room that is made at once.
const WINDOW: usize = 1024;

/// `$`, the length and CR LF, for each short length.
const HEADERS: [[u8; 8]; SHORT_MAX + 1] = {
    let mut headers = [[0; 8]; SHORT_MAX + 1];
    let mut len = 0;
    while len <= SHORT_MAX {
        let (tens, ones) = (b'0' + (len / 10) as u8, b'0' + (len % 10) as u8);
        headers[len] = match len {
            0..10 => [b'$', ones, b'\r', b'\n', 0, 0, 0, 0],
            _ => [b'$', tens, ones, b'\r', b'\n', 0, 0, 0],
        };
        len += 1;
    }
    headers
};

/// A writer of bulk strings; see [`Reply::bulks`].
#[derive(Debug)]
pub struct Bulks<'r, 'a> {
    reply: &'r mut Reply<'a>,
    /// Where the next one begins; behind it the reply has room that is not written yet, and is taken off in the end.
    at: usize,
}

impl<'a> Reply<'a> {
    /// A writer for many bulk strings, which are part of the reply once it is dropped.
    #[inline]
    pub fn bulks(&mut self) -> Bulks<'_, 'a> {
        let at = self.out.len();
        Bulks { reply: self, at }
    }
}

impl Bulks<'_, '_> {
    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if bytes.len() > SHORT_MAX || self.reply.is_cut_at(self.at + bytes.len()) {
            return self.bulk_alone(bytes);
        }
        match self.reply.out[self.at..].first_chunk_mut() {
            Some(room) => self.at += write_short(room, bytes),
            None => {
                self.make_room();
                self.bulk(bytes);
            }
        }
    }

    /// A bulk string of an integer's decimal digits.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    #[cold]
    fn make_room(&mut self) {
        let capacity = self.reply.out.capacity();
        self.reply.out.resize((self.at + WINDOW).min(capacity).max(self.at + ROOM), 0);
    }

    fn bulk_alone(&mut self, bytes: &[u8]) {
        self.reply.out.truncate(self.at);
        self.reply.bulk(bytes);
        self.at = self.reply.out.len();
    }
}

impl Drop for Bulks<'_, '_> {
    fn drop(&mut self) {
        self.reply.out.truncate(self.at);
    }
}

/// Writes a bulk string of a short text; how many bytes it takes.
#[inline]
fn write_short(room: &mut [u8; ROOM], text: &[u8]) -> usize {
    let len = text.len();
    let begins = if len < 10 { 4 } else { 5 };
    room[..8].copy_from_slice(&HEADERS[len]);
    copy_short(&mut room[begins..], text);
    room[begins + len..begins + len + 2].copy_from_slice(b"\r\n");
    begins + len + 2
}

/// Copies a text of at most [`SHORT_MAX`] bytes: its beginning and its end, which may overlap.
#[inline]
fn copy_short(to: &mut [u8], text: &[u8]) {
    let len = text.len();
    match len {
        33.. => ends::<32>(to, text),
        16.. => ends::<16>(to, text),
        8.. => ends::<8>(to, text),
        4.. => ends::<4>(to, text),
        2.. => ends::<2>(to, text),
        _ => to[..len].copy_from_slice(text),
    }
}

#[inline]
fn ends<const N: usize>(to: &mut [u8], text: &[u8]) {
    let last = text.len() - N;
    to[..N].copy_from_slice(&text[..N]);
    to[last..last + N].copy_from_slice(&text[last..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Proto;

    #[test]
    fn bulk_strings_of_every_length_are_written_as_one_by_one() {
        let text: Vec<u8> = (0..=255).collect();
        for before in [0, 1, 1_000] {
            let (mut one, mut other) = (vec![b'x'; before], vec![b'x'; before]);
            let (mut singly, mut together) =
                (Reply::new(&mut one, Proto::Resp2), Reply::new(&mut other, Proto::Resp2));
            let mut bulks = together.bulks();
            for len in (0..=130).chain((0..=130).rev()) {
                singly.bulk(&text[..len]);
                bulks.bulk(&text[..len]);
                singly.bulk_int(-(len as i64));
                bulks.bulk_int(-(len as i64));
            }
            drop(bulks);
            together.ok();
            singly.ok();
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_a_limit_leaves_out_is_left_out_here_too() {
        let written = |limit: usize, is_at_once: bool| {
            let mut out = b"+OK\r\n".to_vec();
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            reply.limit(limit);
            if is_at_once {
                let mut bulks = reply.bulks();
                (0..50).for_each(|number| bulks.bulk_int(number));
            } else {
                (0..50).for_each(|number| reply.bulk_int(number));
            }
            let is_cut = reply.end_limit();
            (out, is_cut)
        };
        for limit in [0, 1, 100, 10_000] {
            assert_eq!(written(limit, true), written(limit, false), "{limit}");
        }
    }

    #[test]
    fn a_buffer_that_has_room_for_what_is_written_does_not_grow() {
        let mut out = Vec::with_capacity(100 * 27);
        let capacity = out.capacity();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let mut bulks = reply.bulks();
        (0..97).for_each(|_| bulks.bulk(&[b'x'; 20]));
        drop(bulks);
        assert_eq!((out.len(), out.capacity()), (97 * 27, capacity));
    }
}
