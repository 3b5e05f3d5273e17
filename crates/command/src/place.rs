//! Where a command is executed if another node of a cluster leads the keys.

/// Which node of a cluster executes a command, when another one than the client's own leads the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The node that leads, since it has the keys. A command without keys says another of these.
    OfKeys,
    /// The node that leads: scripts and functions, and what tells of keys without naming any.
    Leader,
    /// The node that leads, in the session that the connection has there: it concerns what the connection watches or has written.
    Session,
    /// The same for what the connection tracks; where several nodes lead groups of keys, the client's own, which sees to all of them.
    Tracking,
    /// The client's own: it tells of that node, or of nothing that nodes differ in. Within a transaction, the node that executes that.
    Node,
    /// The client's own: it tells of the connection, or changes it. A transaction that is executed elsewhere can't have it.
    Connection,
}
