//! What a small collection has packed, one element after the other, for those who want to see it (DEBUG LISTPACK).

use crate::list::End;
use crate::value::ValueRef;

impl ValueRef<'_> {
    /// The elements of a packed list, hash, set or sorted set: names with their values, members with their scores. `None`: it is
    /// none of these, or not packed.
    pub fn listed(self, now_ms: u64) -> Option<Vec<Vec<u8>>> {
        if !self.encoding().starts_with("listpack") {
            return None;
        }
        let mut listed = Vec::new();
        match self {
            ValueRef::List(list) => list.visit(0, End::Back, |element| {
                listed.push(element.text().to_vec());
                true
            }),
            ValueRef::Set(set) => set.for_each(|member| listed.push(member.text().to_vec())),
            ValueRef::Zset(zset) => zset.visit_all(|member, score| {
                let mut digits = Vec::new();
                sterna_protocol::write_double(&mut digits, score);
                listed.extend([member.to_vec(), digits]);
            }),
            ValueRef::Hash(hash) => hash
                .fields(now_ms)
                .for_each(|field| listed.extend([field.name.text().to_vec(), field.value.text().to_vec()])),
            _ => return None,
        }
        Some(listed)
    }
}
