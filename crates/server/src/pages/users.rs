//! Users who have signed in, and which connections are theirs.
//!
//! Invariant: a user is there while he has a connection.
//!
//! Cost: O(log of a user's connections).

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::connection::state::ConnectionRef;
use crate::lock::{Level, Mutex};

/// The ID of an app, and of a user.
type Name = (Box<str>, Box<str>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SignedIn(Mutex<HashMap<Name, BTreeSet<Place>>, { Level::SignedIn as u8 }>);

/// A shard and a connection of it.
pub(crate) type Place = (usize, ConnectionRef);

impl SignedIn {
    /// A connection is a user's from now on.
    pub(crate) fn add(&self, app: &str, user: &str, place: Place) {
        self.0.lock().entry((app.into(), user.into())).or_default().insert(place);
    }

    /// It is gone.
    pub(crate) fn remove(&self, app: &str, user: &str, place: Place) {
        let mut users = self.0.lock();
        let name = (app.into(), user.into());
        if let Some(places) = users.get_mut(&name) {
            places.remove(&place);
            if places.is_empty() {
                users.remove(&name);
            }
        }
    }

    /// The connections of a user.
    pub(crate) fn of(&self, app: &str, user: &str) -> Vec<Place> {
        self.0.lock().get(&(app.into(), user.into())).into_iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_his_connections_and_forgotten_with_the_last() {
        let users = SignedIn::default();
        let place = |shard, slot| (shard, ConnectionRef { slot, id: 7 });
        users.add("1", "a", place(0, 1));
        users.add("1", "a", place(1, 2));
        users.add("2", "a", place(0, 3));
        assert_eq!(users.of("1", "a"), [place(0, 1), place(1, 2)]);
        users.remove("1", "a", place(0, 1));
        users.remove("1", "a", place(0, 1));
        users.remove("1", "a", place(1, 2));
        assert!(users.of("1", "a").is_empty() && users.of("2", "a").len() == 1);
        assert_eq!(users.0.lock().len(), 1);
    }
}
