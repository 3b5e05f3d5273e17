//! Another node, as this one knows it.

use std::time::{Duration, Instant};

use async_nats::Subject;
use sterna_server::BucketSet;

use super::frame::{Address, NodeId};
use super::incoming::Incoming;
use super::outgoing::Outgoing;

/// A node that has not been received for so long is lost: nobody waits for it. Long enough for a machine that is short of time.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(5);

/// A lost node is remembered for so long, and what it misses is counted for it.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct Peer {
    /// What it is called, for people.
    pub(super) name: String,
    /// Where it gets its mail.
    pub(super) subject: Subject,
    /// Where NATS says that it gets none.
    pub(super) refusals: Subject,
    /// It has been received lately, and has not been refused since.
    pub(super) is_live: bool,
    pub(super) received: Instant,
    /// What it listens to, as of this version of its interest.
    pub(super) buckets: BucketSet,
    pub(super) version: u64,
    /// The version of this node's interest that it has acknowledged since NATS was last reached.
    pub(super) acknowledged: u64,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// What goes to its sessions, or to sessions there, and what comes.
    pub(super) sessions_out: Outgoing,
    pub(super) sessions_in: Incoming,
    /// Where clients reach it, once it has said so.
    pub(super) address: Address,
    /// Its messages that are missing here, and how many of them subscribers have yet to be told of.
    pub(super) missed: u64,
    pub(super) untold: u64,
}

impl Peer {
    pub(super) fn new(
        subjects: &Subjects,
        id: NodeId,
        (outgoing, sessions_out): (Outgoing, Outgoing),
        now: Instant,
    ) -> Peer {
        Peer {
            name: String::new(),
            subject: subjects.of(id),
            refusals: subjects.refusals(id),
            is_live: true,
            received: now,
            buckets: BucketSet::default(),
            version: 0,
            acknowledged: 0,
            outgoing,
            incoming: Incoming::default(),
            sessions_out,
            sessions_in: Incoming::default(),
            address: Address::default(),
            missed: 0,
            untold: 0,
        }
    }

    /// Sessions between the two nodes are no more, and what was under way for them is lost. A number that is missing tells the other
    /// node so, once it is reached again.
    pub(super) fn cut_sessions(&mut self) {
        self.sessions_out.cut();
        self.sessions_out.leave_gap();
    }
}

/// The subjects of a cluster.
///
/// ```text
///   sterna.NAME.all              beats of every node
///   sterna.NAME.n.ID             what one node is sent
///   sterna.NAME.x.ID.OTHER       where NATS tells ID that OTHER gets nothing
/// ```
pub(super) struct Subjects {
    prefix: String,
    me: NodeId,
    pub(super) all: Subject,
}

impl Subjects {
    pub(super) fn new(cluster: &str, me: NodeId) -> Subjects {
        let prefix = format!("sterna.{cluster}");
        Subjects { all: format!("{prefix}.all").into(), prefix, me }
    }

    pub(super) fn of(&self, node: NodeId) -> Subject {
        format!("{}.n.{node}", self.prefix).into()
    }

    pub(super) fn mine(&self) -> Subject {
        self.of(self.me)
    }

    pub(super) fn refusals(&self, node: NodeId) -> Subject {
        format!("{}.x.{}.{node}", self.prefix, self.me).into()
    }

    pub(super) fn all_refusals(&self) -> Subject {
        format!("{}.x.{}.*", self.prefix, self.me).into()
    }

    /// Who gets nothing, by the subject on which NATS said so.
    pub(super) fn refused(&self, subject: &str) -> Option<NodeId> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".x.")?;
        let (_, node) = rest.split_once('.')?;
        u128::from_str_radix(node, 16).ok().map(NodeId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_node_that_gets_nothing() {
        let (me, other) = (NodeId(7), NodeId(u128::MAX));
        let subjects = Subjects::new("c", me);
        assert_eq!(subjects.refused(&subjects.refusals(other)), Some(other));
        for wrong in ["sterna.c.all", "sterna.c.x.1", "sterna.c.x.1.zz", "", &subjects.of(other)] {
            assert_eq!(subjects.refused(wrong), None, "{wrong}");
        }
    }
}
