//! Where the changes of one stream go: into the effects, if a journal wants them.

use crate::changes::Changes;
use crate::stream::EntryId;
use crate::stream::effect::{self, Change};

/// Notes the changes of the stream under one key.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(crate) log: &'a mut Changes,
    /// The number the database is stored under.
    pub(crate) db: usize,
    pub(crate) key: &'a [u8],
    /// Whether a change was noted, wanted or not.
    pub(crate) is_changed: bool,
}

impl Recorder<'_> {
    /// Whether anybody wants to know of a change that there is.
    pub(crate) fn wants_change(&mut self) -> bool {
        self.is_changed = true;
        self.log.wants_effects()
    }

    /// Notes a change.
    #[inline]
    pub(crate) fn record(&mut self, change: &Change<'_>) {
        self.is_changed = true;
        self.log.effect_stream(self.db, self.key, |body| change.write(body));
    }

    /// Notes an entry that was added; `fields` is name, value, name, value….
    #[inline]
    pub(crate) fn record_add<'f>(&mut self, id: EntryId, fields: impl Iterator<Item = &'f [u8]> + Clone) {
        self.is_changed = true;
        self.log.effect_stream(self.db, self.key, |body| effect::write_add(body, id, fields));
    }
}
