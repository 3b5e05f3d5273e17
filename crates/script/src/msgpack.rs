//! MessagePack, item by item. Source: its specification.

/// What a tag says, with what belongs to it but for the values in an array or a map, which follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item<'a> {
    Nil,
    Boolean(bool),
    /// Whole ones are signed 64-bit numbers first, as Redis takes them.
    Number(f64),
    String(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs follow.
    Map(usize),
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end within it.
    Missing,
    /// No tag is like this.
    Unknown,
}

/// Items one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Items<'a> {
        Items { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        self.rest.split_off(..len).ok_or(Fault::Missing)
    }

    /// A big-endian number of `N` bytes.
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn string(&mut self, len: usize) -> Result<Item<'a>, Fault> {
        self.take(len).map(Item::String)
    }

    /// The next item.
    pub(crate) fn next(&mut self) -> Result<Item<'a>, Fault> {
        let whole = |number: i64| Ok(Item::Number(number as f64));
        let [tag] = self.bytes()?;
        match tag {
            0..=0x7f => whole(tag.into()),
            0xe0..=0xff => whole((tag as i8).into()),
            0x80..=0x8f => Ok(Item::Map(usize::from(tag & 15))),
            0x90..=0x9f => Ok(Item::Array(usize::from(tag & 15))),
            0xa0..=0xbf => self.string(usize::from(tag & 31)),
            0xc0 => Ok(Item::Nil),
            0xc2 => Ok(Item::Boolean(false)),
            0xc3 => Ok(Item::Boolean(true)),
            0xca => Ok(Item::Number(f32::from_be_bytes(self.bytes()?).into())),
            0xcb => Ok(Item::Number(f64::from_be_bytes(self.bytes()?))),
            0xcc => whole(u8::from_be_bytes(self.bytes()?).into()),
            0xcd => whole(u16::from_be_bytes(self.bytes()?).into()),
            0xce => whole(u32::from_be_bytes(self.bytes()?).into()),
            0xcf | 0xd3 => whole(i64::from_be_bytes(self.bytes()?)),
            0xd0 => whole(i8::from_be_bytes(self.bytes()?).into()),
            0xd1 => whole(i16::from_be_bytes(self.bytes()?).into()),
            0xd2 => whole(i32::from_be_bytes(self.bytes()?).into()),
            0xd9 => {
                let len = u8::from_be_bytes(self.bytes()?);
                self.string(len.into())
            }
            0xda => {
                let len = u16::from_be_bytes(self.bytes()?);
                self.string(len.into())
            }
            0xdb => {
                let len = u32::from_be_bytes(self.bytes()?);
                self.string(len as usize)
            }
            0xdc => Ok(Item::Array(u16::from_be_bytes(self.bytes()?).into())),
            0xdd => Ok(Item::Array(u32::from_be_bytes(self.bytes()?) as usize)),
            0xde => Ok(Item::Map(u16::from_be_bytes(self.bytes()?).into())),
            0xdf => Ok(Item::Map(u32::from_be_bytes(self.bytes()?) as usize)),
            _ => Err(Fault::Unknown),
        }
    }
}
