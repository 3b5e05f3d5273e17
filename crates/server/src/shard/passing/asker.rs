//! Who asks: what the node that leads is told of a client, and what it makes of that.

use std::sync::Arc;

use crate::connection::client::{Client, mark};
use crate::connection::passed::Told;
use crate::connection::pipe::Pipe;
use crate::mailbox::Role;
use crate::nodes::{Asker, Say};
use crate::shard::Shard;

/// Why the node that leads is told of a client.
pub(super) struct AskerChange {
    pub(super) is_rights_only: bool,
    /// It has a session there.
    pub(super) goes_on: bool,
}

/// What the node that leads is told of a client.
pub(super) fn asker_of(client: &Client, told: &Told, change: AskerChange) -> Vec<u8> {
    let (peer, local) = client.address.ends();
    let Told { user, db, is_resp3, is_no_touch } = told;
    let asker = Asker {
        peer,
        local,
        name: client.names.lock().name.as_bytes().to_vec(),
        user: user.name().to_vec(),
        rules: user.rules(),
        db: *db,
        is_resp3: *is_resp3,
        is_no_touch: *is_no_touch,
        is_rights_only: change.is_rights_only,
        goes_on: change.goes_on,
    };
    let mut bytes = Vec::new();
    asker.write(&mut bytes);
    bytes
}

impl Shard {
    /// The connection's user may do other things, or is another one: the node that leads is told at once, where it holds something for
    /// the connection. What waits there and may not any more is answered so, whatever comes of it.
    pub(crate) fn pass_rights(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (Some(user), Some(passed), Some(passing)) =
            (&connection.user, &mut connection.passed, &mut self.passing)
        else {
            return;
        };
        let mut is_told = false;
        for lane in passed.lanes() {
            let (Some(session), Some(told)) = (lane.session, &mut lane.told) else { continue };
            if Arc::ptr_eq(&told.user, user) {
                continue;
            }
            told.user = Arc::clone(user);
            let asker =
                asker_of(&connection.client, told, AskerChange { is_rights_only: true, goes_on: true });
            passing.say(session, Say::Open(&asker));
            is_told = true;
        }
        if is_told {
            self.deny_passed(slot);
        }
    }

    /// Who a session's connection acts as, and how, from now on.
    pub(in crate::shard) fn take_role(&mut self, slot: usize, role: Role) {
        let connection = &mut self.connections[slot];
        connection.set_user(Some(role.user));
        connection.is_session = true;
        if role.is_rights_only {
            return;
        }
        connection.db = role.db;
        connection.proto = role.proto;
        connection.client.set_mark(mark::NO_TOUCH, role.is_no_touch);
        connection.client.names.lock().name = role.name;
    }

    /// The same for one that is there already. What it holds by the rights that it had is checked by those that it has.
    pub(in crate::shard) fn change_role(&mut self, pipe: &Pipe, role: Role) {
        pipe.release();
        let Some(who) = pipe.place().filter(|who| self.connection_of(*who).is_some()) else { return };
        let user = self.connections[who.slot].user.clone();
        let same =
            user.is_some_and(|user| user.name() == role.user.name() && user.rules() == role.user.rules());
        self.take_role(who.slot, role);
        if !same {
            self.check_all_held(who.slot);
        }
        self.make_ready(who.slot);
    }
}
