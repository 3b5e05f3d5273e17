//! Positions of pages, for the fuzz targets.

use sterna_keyspace::stream::{EntryId, Stream};

use crate::connection::follow::{Follow, Kind};
use crate::placed::Placement;
use crate::position::Since;

/// Channels that a page follows.
pub struct Followed(Follow);

impl Followed {
    /// Those of these names.
    pub fn new(names: impl IntoIterator<Item = Vec<u8>>) -> Followed {
        let names = names.into_iter().map(|name| (Kind::Channel, name.into()));
        Followed(Follow::new(names.collect(), true))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.places().len()
    }

    /// The position of a page that has come to these IDs, as it is told.
    pub fn position(&mut self, epoch: u64, ids: &[EntryId]) -> Vec<u8> {
        for (index, id) in ids.iter().enumerate() {
            self.0.stand(index, *id);
        }
        let mut out = Vec::new();
        self.0.write_position(&mut out, epoch, 0);
        out
    }

    /// Whether each goes on at its ID, where that was its last.
    pub fn goes_on_at(&mut self, since: &Since, epoch: u64, ids: &[EntryId]) -> bool {
        ids.iter().enumerate().all(|(index, id)| {
            let mut stream = Stream::new();
            stream.set_id(*id, Some(1), None);
            let begin = self.0.begin(index, Some(since), epoch, Some(&stream), Placement::default());
            begin.recovered && self.0.places().get(index).is_some_and(|place| place.at == *id)
        })
    }
}
