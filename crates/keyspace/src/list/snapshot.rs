//! A whole list in bytes: what a snapshot keeps of it, and a `set` effect.
//!
//! ```text
//! list   version u8 │ 0 │ listpack                         small
//!                   │ 1 │ (length v │ listpack)…           large: its nodes
//! ```
//!
//! `v` is a varint. Reading checks everything: the bytes come from a file. Cost: O(bytes).

use super::large::Large;
use super::node;
use super::{List, ListRef};
use crate::collection::{Elements, Form};
use crate::packed::Packed;
use crate::stream::varint;

const VERSION: u8 = 1;
const SMALL: u8 = 0;
const LARGE: u8 = 1;

/// Appends the list. `pause` is shown what there is so far after every node, and may take it away.
pub(super) fn write(list: ListRef<'_>, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
    out.push(VERSION);
    match list.0 {
        Form::Small(packed) => {
            out.push(SMALL);
            packed.write_listpack(out);
        }
        Form::Large(large) => {
            out.push(LARGE);
            large.each_node(&mut |elements, len| {
                varint::write(out, node::listpack_bytes(elements) as u64);
                node::write_listpack(elements, len, out);
                pause(out);
            });
        }
    }
}

impl List {
    /// Reads what [`write`] wrote; `None` if the bytes are not exactly a list with an element at least.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<List> {
        if *bytes.split_off_first()? != VERSION {
            return None;
        }
        let list = match *bytes.split_off_first()? {
            SMALL => List(Form::Small(Packed::read_listpack(bytes)?)),
            LARGE => {
                let mut large = Large::default();
                while !bytes.is_empty() {
                    let (node, rest) = varint::read_bytes(bytes)?;
                    large.push_node(Packed::read_listpack(node).filter(|node| !node.is_empty())?);
                    bytes = rest;
                }
                List(Form::Large(Box::new(large)))
            }
            _ => return None,
        };
        (list.view().len() > 0).then_some(list)
    }
}
