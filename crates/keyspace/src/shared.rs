//! Parts of a large value that copies of it share, and how a part becomes the own one of a copy that writes to it.
//!
//! The count of owners is `triomphe`'s, which nobody holds weakly: whether a part is shared is one load, where the standard
//! library's `make_mut` locks its counts for each write.

pub(crate) use triomphe::Arc as Shared;

/// The part, to change it: a copy, if others have it as well.
#[inline]
pub(crate) fn own<T: Clone>(part: &mut Shared<T>) -> &mut T {
    if !part.is_unique() {
        copy(part);
    }
    Shared::get_mut(part).expect("a copy that nobody else has")
}

#[cold]
fn copy<T: Clone>(part: &mut Shared<T>) {
    *part = Shared::new(T::clone(part));
}
