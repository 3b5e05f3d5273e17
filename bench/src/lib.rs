//! Load generator and comparison with the peers.
