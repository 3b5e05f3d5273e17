//! A list as other servers exchange it.
//!
//! ```text
//! type 1    count │ string…                                  before Redis 3.2
//! type 10   ziplist                                          small, before 3.2
//! type 14   count │ ziplist…                                 nodes, before 7.0
//! type 18   count │ (1 │ string, or 2 │ listpack)…           nodes; the first kind is one element that is large
//! ```
//!
//! Lists are written as type 18, which Redis 7.0 and Valkey read; a small one is one node. Source: Redis's `rdb.h`.

use super::fill::Fill;
use super::large::Large;
use super::{End, List, ListRef, node};
use crate::collection::{Elements, Form, Limits};
use crate::listpack;
use crate::packed::{self, Packed};
use crate::rdb;
use crate::ziplist;

const STRINGS: u8 = 1;
const ZIPLIST: u8 = 10;
const ZIPLISTS: u8 = 14;
const NODES: u8 = 18;

/// The first version that has [`NODES`]: Redis 7.0.
const VERSION: u16 = 10;

const PLAIN: u64 = 1;
const PACKED: u64 = 2;

/// A single element longer than this is written as such, as Redis does where nodes have their usual size.
const PLAIN_BYTES_MIN: usize = 8192;

/// A node that comes from outside and is larger is taken element by element: the largest that Redis makes has as many bytes.
const NODE_BYTES_MAX: usize = 65_536;

/// Appends type and value; returns the version of the format.
pub(super) fn write(list: ListRef<'_>, out: &mut Vec<u8>) -> u16 {
    out.push(NODES);
    match list.0 {
        Form::Small(packed) => {
            rdb::write_length(out, 1);
            write_node(out, packed.elements(), packed.len());
        }
        Form::Large(large) => {
            rdb::write_length(out, large.nodes());
            large.each_node(&mut |elements, len| write_node(out, elements, len));
        }
    }
    VERSION
}

fn write_node(out: &mut Vec<u8>, elements: &[u8], len: usize) {
    if len == 1
        && elements.len() > PLAIN_BYTES_MIN
        && let Some(listpack::Element::Text(text)) = node::get(elements, len, 0)
    {
        rdb::write_length(out, PLAIN);
        rdb::write_length(out, text.len() as u64);
        return out.extend_from_slice(text);
    }
    rdb::write_length(out, PACKED);
    rdb::write_length(out, node::listpack_bytes(elements) as u64);
    node::write_listpack(elements, len, out);
}

impl List {
    /// Whether [`List::read_rdb`] reads this type.
    pub(crate) fn is_rdb_type(kind: u8) -> bool {
        matches!(kind, STRINGS | ZIPLIST | ZIPLISTS | NODES)
    }

    /// Reads a list; `None`: damaged, or without an element.
    pub(crate) fn read_rdb(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<List> {
        let fill = Fill::new(limits);
        let mut large = Large::default();
        match kind {
            STRINGS => {
                for _ in 0..rdb::read_length(from)? {
                    large.push(End::Back, &rdb::read_string(from)?, fill);
                }
            }
            ZIPLIST => push_ziplist(&mut large, &rdb::read_string(from)?, fill)?,
            ZIPLISTS => {
                for _ in 0..rdb::read_length(from)? {
                    push_ziplist(&mut large, &rdb::read_string(from)?, fill)?;
                }
            }
            NODES => {
                for _ in 0..rdb::read_length(from)? {
                    read_node(&mut large, from, fill)?;
                }
            }
            _ => return None,
        }
        let mut list = List(Form::Large(Box::new(large)));
        list.shrink(fill, false);
        (list.view().len() > 0).then_some(list)
    }
}

fn read_node(large: &mut Large, from: &mut &[u8], fill: Fill) -> Option<()> {
    match rdb::read_length(from)? {
        PLAIN => large.push_node(node::of_one(&rdb::read_string(from)?)),
        PACKED => {
            let bytes = rdb::read_string(from)?;
            let (elements, count) = listpack::Reader::canonical_elements(&bytes)?;
            push_elements(large, &elements, count, fill);
        }
        _ => return None,
    }
    Some(())
}

fn push_ziplist(large: &mut Large, bytes: &[u8], fill: Fill) -> Option<()> {
    let (elements, count) = ziplist::elements(bytes)?;
    push_elements(large, &elements, count, fill);
    Some(())
}

/// Adds a node of these elements, or, where it would be one too large, the elements.
fn push_elements(large: &mut Large, elements: &[u8], count: usize, fill: Fill) {
    let is_fit = count <= packed::ELEMENTS_MAX && (elements.len() <= NODE_BYTES_MAX || count == 1);
    match Packed::from_elements(elements, count).filter(|_| is_fit) {
        Some(node) if node.is_empty() => {}
        Some(node) => large.push_node(node),
        None => {
            node::visit_back(elements, count, 0, &mut |element| {
                large.push(End::Back, &element.to_bytes(), fill);
                true
            });
        }
    }
}
