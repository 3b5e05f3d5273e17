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

/// Values, and levels of nesting, of which [`measure`] finds that they are few.
pub(crate) const FEW_VALUES: usize = 1_000;
pub(crate) const FEW_LEVELS: usize = 32;

/// How many values stand in `bytes`, and how deeply they are nested; `None`: not only whole ones, or many.
pub(crate) fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut measuring = Measuring { items: Items::of(bytes), values: 0, depth: 0 };
    let mut count = 0;
    while measuring.items.left() > 0 {
        measuring.value(0)?;
        count += 1;
    }
    Some((count, measuring.depth))
}

struct Measuring<'a> {
    items: Items<'a>,
    values: usize,
    depth: usize,
}

impl<'a> Measuring<'a> {
    /// Passes over a value, and gives the item that it begins with.
    fn value(&mut self, depth: usize) -> Option<Item<'a>> {
        self.values += 1;
        self.depth = self.depth.max(depth);
        if self.values > FEW_VALUES || depth > FEW_LEVELS {
            return None;
        }
        let item = self.items.next().ok()?;
        match item {
            Item::Array(len) => (0..len).try_for_each(|_| self.value(depth + 1).map(drop))?,
            Item::Map(len) => (0..len).try_for_each(|_| {
                match self.value(depth + 1)? {
                    // No table takes them.
                    Item::Nil => return None,
                    Item::Number(number) if number.is_nan() => return None,
                    _ => {}
                }
                self.value(depth + 1).map(drop)
            })?,
            _ => {}
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, and what [`measure`] says of them.
    type Row<'a> = (&'a [u8], Option<(usize, usize)>);

    #[test]
    fn values_are_counted_where_they_are_whole_and_few() {
        let rows: &[Row<'_>] = &[
            (b"", Some((0, 0))),
            (b"\x01\xc0\xa1a", Some((3, 0))),
            (b"\x92\x01\x91\xc3", Some((1, 2))),
            (b"\x81\xa1a\x80", Some((1, 1))),
            (b"\x92\x01", None),
            (b"\xa2a", None),
            (b"\xc1", None),
            (b"\x81\xc0\x01", None),
            (b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", None),
            (b"\xdd\xff\xff\xff\xff", None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(measure(bytes), *expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(measure(&[0x91; FEW_LEVELS + 2]), None);
        assert_eq!(measure(&[1; FEW_VALUES + 1]), None);
    }
}
