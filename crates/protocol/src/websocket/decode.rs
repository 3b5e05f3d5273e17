//! From a client's bytes to its messages.

use super::{CONTROL_BYTES_MAX, Opcode, code};

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message of text.
    Text(String),
    /// A message of bytes.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same bytes.
    Ping(Vec<u8>),
    /// Answers a ping, or nothing.
    Pong,
    /// To be answered in kind, with this code if there is one; nothing is sent behind it.
    Close(Option<u16>),
}

/// How a client has broken the protocol; it is closed with the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// One of [`code`].
    pub code: u16,
    /// For people.
    pub reason: &'static str,
}

impl Violation {
    const fn protocol(reason: &'static str) -> Violation {
        Violation { code: code::PROTOCOL, reason }
    }
}

const NOT_UTF8: Violation = Violation { code: code::INVALID, reason: "text is not UTF-8" };
const TOO_BIG: Violation = Violation { code: code::TOO_BIG, reason: "message too big" };

/// Bytes of the longest header of a client.
const CLIENT_HEADER_BYTES_MAX: usize = 14;

/// See the module above.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The header that is being read, and how much of it is there.
    header: [u8; CLIENT_HEADER_BYTES_MAX],
    header_len: u8,
    /// Bytes of the payload that have been read.
    read: usize,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// What the message is whose frames are being read.
    kind: Option<Opcode>,
    /// Its payload so far.
    message: Vec<u8>,
    /// So much of it is UTF-8, if it is text.
    valid: usize,
    /// The payload of a control frame so far.
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    is_final: bool,
    opcode: Opcode,
    len: usize,
    mask: [u8; 4],
}

impl Decoder {
    /// Reads on in `bytes`, up to the end of a message or control frame. Returns how many were used; all, if nothing is whole.
    ///
    /// `message_bytes_max`: how long a message may be.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        message_bytes_max: usize,
    ) -> Result<(usize, Option<Incoming>), Violation> {
        let mut used = 0;
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => {
                    let (taken, header) = self.read_header(&bytes[used..])?;
                    used += taken;
                    let Some(frame) = header else { return Ok((used, None)) };
                    self.admit(frame, message_bytes_max)?;
                    frame
                }
            };
            let taken = (frame.len - self.read).min(bytes.len() - used);
            self.read_payload(frame, &bytes[used..used + taken])?;
            used += taken;
            if self.read < frame.len {
                return Ok((used, None));
            }
            (self.frame, self.read) = (None, 0);
            if let Some(incoming) = self.end_frame(frame)? {
                return Ok((used, Some(incoming)));
            }
        }
    }

    /// Whether a message or frame has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.header_len > 0 || self.frame.is_some() || self.kind.is_some()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Reads on in a header. Returns how many bytes were used, and the frame if it is whole.
    fn read_header(&mut self, bytes: &[u8]) -> Result<(usize, Option<Frame>), Violation> {
        for (i, &byte) in bytes.iter().enumerate() {
            self.header[usize::from(self.header_len)] = byte;
            self.header_len += 1;
            let header = &self.header[..usize::from(self.header_len)];
            check_header(header)?;
            if header.len() >= 2 && header.len() == header_len(header[1]) {
                let frame = frame_of(header)?;
                self.header_len = 0;
                self.frame = Some(frame);
                return Ok((i + 1, Some(frame)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Whether this frame may come now.
    fn admit(&mut self, frame: Frame, message_bytes_max: usize) -> Result<(), Violation> {
        match (frame.opcode, self.kind) {
            (opcode, _) if opcode.is_control() => return Ok(()),
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("a continuation of nothing"));
            }
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(Violation::protocol("a message inside of another")),
            (opcode, None) => self.kind = Some(opcode),
        }
        if frame.len > message_bytes_max.saturating_sub(self.message.len()) {
            return Err(TOO_BIG);
        }
        Ok(())
    }

    fn read_payload(&mut self, frame: Frame, bytes: &[u8]) -> Result<(), Violation> {
        let into = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
        let at = self.read;
        into.extend(bytes.iter().enumerate().map(|(i, &byte)| byte ^ frame.mask[(at + i) % 4]));
        self.read += bytes.len();
        if !frame.opcode.is_control() && self.kind == Some(Opcode::Text) {
            match str::from_utf8(&self.message[self.valid..]) {
                Ok(text) => self.valid += text.len(),
                // The rest of a letter may come.
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(_) => return Err(NOT_UTF8),
            }
        }
        Ok(())
    }

    fn end_frame(&mut self, frame: Frame) -> Result<Option<Incoming>, Violation> {
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut self.control);
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Incoming::Ping(payload),
                Opcode::Pong => Incoming::Pong,
                _ => Incoming::Close(close_code(&payload)?),
            }));
        }
        if !frame.is_final {
            return Ok(None);
        }
        self.valid = 0;
        let message = std::mem::take(&mut self.message);
        Ok(Some(match self.kind.take() {
            Some(Opcode::Text) => Incoming::Text(String::from_utf8(message).map_err(|_| NOT_UTF8)?),
            _ => Incoming::Binary(message),
        }))
    }
}

/// The length of a header by its second byte.
fn header_len(second: u8) -> usize {
    let of_length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + of_length + 4
}

/// Refuses a header as soon as it can't become a good one.
fn check_header(header: &[u8]) -> Result<(), Violation> {
    let first = header[0];
    if first & 0x70 != 0 {
        return Err(Violation::protocol("reserved bits are set"));
    }
    let Some(opcode) = Opcode::of(first & 0x0F) else {
        return Err(Violation::protocol("unknown opcode"));
    };
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(Violation::protocol("a control frame in parts"));
    }
    let Some(&second) = header.get(1) else { return Ok(()) };
    if second & 0x80 == 0 {
        return Err(Violation::protocol("a frame without a mask"));
    }
    if opcode.is_control() && usize::from(second & 0x7F) > CONTROL_BYTES_MAX {
        return Err(Violation::protocol("a control frame that is too long"));
    }
    Ok(())
}

/// The frame of a whole header.
fn frame_of(header: &[u8]) -> Result<Frame, Violation> {
    let (head, mask) = header.split_at(header.len() - 4);
    let digits = head[2..].iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    let (len, least) = match head[1] & 0x7F {
        126 => (digits, 126),
        127 => (digits, 0x1_0000),
        short => (u64::from(short), 0),
    };
    if len < least || len > i64::MAX as u64 {
        return Err(Violation::protocol("a length that is not written as it should be"));
    }
    Ok(Frame {
        is_final: head[0] & 0x80 != 0,
        opcode: Opcode::of(head[0] & 0x0F).ok_or(Violation::protocol("unknown opcode"))?,
        len: usize::try_from(len).map_err(|_| TOO_BIG)?,
        mask: mask.try_into().unwrap_or_default(),
    })
}

/// The code in the payload of a close frame.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Err(Violation::protocol("a close frame of one byte")),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("a code that nobody may send"));
    }
    match str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(NOT_UTF8),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::*;

    const MAX: usize = 1 << 20;

    /// A frame of a client: its first byte, and what it holds.
    fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut unmasked = Vec::new();
        frame(&mut unmasked, Opcode::Text, payload);
        let (mask, header) = ([0x37, 0xfa, 0x21, 0x3d], unmasked.len() - payload.len());
        let mut out = unmasked[..header].to_vec();
        out[0] = first;
        out[1] |= 0x80;
        out.extend_from_slice(&mask);
        out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        out
    }

    /// All that is made of `bytes` when they come in pieces of `step`, and how it ends.
    fn decoded(bytes: &[u8], step: usize, max: usize) -> (Vec<Incoming>, Option<u16>) {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(step) {
            let mut at = 0;
            while at < piece.len() {
                match decoder.decode(&piece[at..], max) {
                    Ok((used, incoming)) => {
                        assert!(used > 0);
                        at += used;
                        all.extend(incoming);
                    }
                    Err(violation) => return (all, Some(violation.code)),
                }
            }
        }
        (all, None)
    }

    /// The same, however it is cut.
    #[track_caller]
    fn check(frames: &[Vec<u8>], expected: &[Incoming], end: Option<u16>) {
        let bytes = frames.concat();
        for step in [1, 2, 3, 7, bytes.len().max(1)] {
            let (all, ended) = decoded(&bytes, step, MAX);
            assert_eq!((&all[..], ended), (expected, end), "in steps of {step}");
        }
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(text.to_owned())
    }

    // The cases have the numbers of Autobahn's test suite.

    #[test]
    fn messages_of_every_length_are_whole_1() {
        for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
            let payload = vec![b'*'; len];
            check(&[sent(0x81, &payload)], &[text(&"*".repeat(len))], None);
            let bytes = vec![0xFE; len];
            check(&[sent(0x82, &bytes)], &[Incoming::Binary(bytes)], None);
        }
    }

    #[test]
    fn pings_are_given_out_and_pongs_need_no_ping_2() {
        let longest = vec![0xFE; 125];
        check(&[sent(0x89, b"")], &[Incoming::Ping(vec![])], None);
        check(&[sent(0x89, &longest)], &[Incoming::Ping(longest)], None);
        check(&[sent(0x89, &[0; 126])], &[], Some(1002));
        check(
            &[sent(0x8A, b"unasked"), sent(0x89, b"x")],
            &[Incoming::Pong, Incoming::Ping(b"x".to_vec())],
            None,
        );
        let ten: Vec<Vec<u8>> = (0..10).map(|n| sent(0x89, &[n])).collect();
        check(&ten, &(0..10).map(|n| Incoming::Ping(vec![n])).collect::<Vec<_>>(), None);
    }

    #[test]
    fn reserved_bits_are_none_3() {
        for bits in 1..8_u8 {
            check(
                &[sent(0x81, b"a"), sent(0x81 | bits << 4, b"b"), sent(0x81, b"c")],
                &[text("a")],
                Some(1002),
            );
        }
    }

    #[test]
    fn reserved_opcodes_are_none_4() {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            check(&[sent(0x81, b"a"), sent(0x80 | opcode, b"")], &[text("a")], Some(1002));
        }
    }

    #[test]
    fn fragments_become_messages_with_control_frames_between_them_5() {
        check(&[sent(0x09, b"a"), sent(0x80, b"b")], &[], Some(1002));
        check(&[sent(0x0A, b"a"), sent(0x80, b"b")], &[], Some(1002));
        check(&[sent(0x01, b"a"), sent(0x80, b"b")], &[text("ab")], None);
        let between =
            [sent(0x01, b"a"), sent(0x89, b"p"), sent(0x00, b"b"), sent(0x8A, b""), sent(0x80, b"c")];
        check(&between, &[Incoming::Ping(b"p".to_vec()), Incoming::Pong, text("abc")], None);
        for first in [0x00, 0x80] {
            check(&[sent(first, b"of nothing"), sent(0x81, b"a")], &[], Some(1002));
        }
        check(&[sent(0x01, b"a"), sent(0x81, b"b")], &[], Some(1002));
        check(&[sent(0x01, b"a"), sent(0x01, b"b"), sent(0x80, b"")], &[], Some(1002));
        check(&[sent(0x01, b"a"), sent(0x80, b"b"), sent(0x80, b"c")], &[text("ab")], Some(1002));
        check(
            &[sent(0x02, b"a"), sent(0x00, b""), sent(0x80, b"b")],
            &[Incoming::Binary(b"ab".to_vec())],
            None,
        );
    }

    #[test]
    fn text_is_utf8_across_fragments_6() {
        let kosme = "Hello-µ@ßöäüàá-UTF-8!! κόσμε";
        check(&[sent(0x81, kosme.as_bytes())], &[text(kosme)], None);
        for cut in 0..=kosme.len() {
            let (one, other) = kosme.as_bytes().split_at(cut);
            check(&[sent(0x01, one), sent(0x80, other)], &[text(kosme)], None);
        }
        check(&[sent(0x01, b""), sent(0x00, b""), sent(0x80, b"")], &[text("")], None);
        let wrong: [&[u8]; 14] = [
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
            b"\xf8\x88\x80\x80\x80",
            b"\xfc\x84\x80\x80\x80\x80",
            b"\xf7\xbf\xbf\xbf",
            b"\x80",
            b"\xbf",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xaf\xbf\xed\xbf\xbf",
            b"\xfe",
            b"\xce",
            b"\xce\xba\xe1\xbd",
        ];
        for bytes in wrong {
            check(&[sent(0x81, bytes)], &[], Some(1007));
        }
        for good in
            ["\u{7f}", "\u{7ff}", "\u{ffff}", "\u{10ffff}", "\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{fffe}"]
        {
            check(&[sent(0x81, good.as_bytes())], &[text(good)], None);
        }
    }

    #[test]
    fn a_wrong_byte_is_refused_before_its_message_is_whole_6_4() {
        let mut bytes = sent(0x01, b"\xce\xba\xe1\xbd\xb9\xf4\x90");
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&bytes, MAX), Err(NOT_UTF8));
        bytes.pop();
        assert!(Decoder::default().decode(&bytes, MAX).is_ok(), "more of the letter could come");
    }

    #[test]
    fn a_close_frame_has_a_code_that_may_be_sent_and_a_reason_in_utf8_7() {
        let with = |code: u16, reason: &[u8]| sent(0x88, &[&code.to_be_bytes()[..], reason].concat());
        check(&[sent(0x88, b"")], &[Incoming::Close(None)], None);
        check(&[sent(0x88, b"\x03")], &[], Some(1002));
        let longest = vec![b'*'; 123];
        check(&[with(1000, &longest)], &[Incoming::Close(Some(1000))], None);
        check(&[with(1000, &[b'*'; 124])], &[], Some(1002));
        check(&[with(1000, b"\xce\xba\xed\xa0\x80")], &[], Some(1007));
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
            check(&[with(code, b"reason")], &[Incoming::Close(Some(code))], None);
        }
        for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
            check(&[with(code, b"")], &[], Some(1002));
        }
    }

    #[test]
    fn a_message_has_a_limit_whole_or_in_fragments_and_no_memory_is_taken_for_what_is_announced_9() {
        let announced = [0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
        assert_eq!(decoded(&announced, 14, MAX).1, Some(1009));
        let ten = sent(0x81, &[b'x'; 10]);
        assert_eq!(decoded(&ten, 3, 9), (vec![], Some(1009)));
        assert_eq!(decoded(&ten, 3, 10).0.len(), 1);
        let parts = [sent(0x01, b"xxxxx"), sent(0x00, b"xxxx"), sent(0x80, b"xx")].concat();
        assert_eq!(decoded(&parts, 5, 10).1, Some(1009));
        assert_eq!(decoded(&parts, 5, 11), (vec![text("xxxxxxxxxxx")], None));
        let mut decoder = Decoder::default();
        decoder.decode(&sent(0x81, &[b'x'; 1000])[..20], MAX).unwrap();
        assert!(decoder.is_inside() && decoder.heap_bytes() < 100);
    }

    #[test]
    fn a_client_masks_and_writes_lengths_as_short_as_they_are() {
        let mut unmasked = Vec::new();
        frame(&mut unmasked, Opcode::Text, b"hello");
        check(&[unmasked], &[], Some(1002));
        check(&[vec![0x81, 0xFE, 0, 125, 0, 0, 0, 0]], &[], Some(1002));
        check(&[vec![0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0]], &[], Some(1002));
        check(&[vec![0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], &[], Some(1002));
    }

    #[test]
    fn between_messages_nothing_is_held() {
        let mut decoder = Decoder::default();
        let bytes = [sent(0x01, b"a"), sent(0x89, b"p"), sent(0x80, b"b")].concat();
        let mut at = 0;
        while at < bytes.len() {
            at += decoder.decode(&bytes[at..], MAX).unwrap().0;
        }
        assert!(!decoder.is_inside() && decoder.heap_bytes() == 0);
    }

    proptest! {
        #[test]
        fn bytes_mean_the_same_however_they_are_cut(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 1..8),
            step in 1_usize..20,
        ) {
            let bytes = frames.iter().map(|(first, payload)| sent(first & 0x8B, payload)).collect::<Vec<_>>().concat();
            prop_assert_eq!(decoded(&bytes, step, 100), decoded(&bytes, bytes.len(), 100));
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..20) {
            let (all, _) = decoded(&bytes, step, 50);
            let within = |incoming: &Incoming| match incoming {
                Incoming::Text(text) => text.len() <= 50,
                Incoming::Binary(bytes) => bytes.len() <= 50,
                Incoming::Ping(bytes) => bytes.len() <= 125,
                _ => true,
            };
            prop_assert!(all.iter().all(within));
        }
    }
}
