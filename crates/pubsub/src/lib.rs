//! Who gets a message.
//!
//! A message goes to the subscribers of its channel and, once for each, to the subscribers of every pattern that
//! matches the channel. This crate answers who they are, in time proportional to the answer:
//!
//! ```text
//!   PUBLISH news:tech …
//!        │
//!        ├─ ChannelIndex   "news:tech" ──► {7, 12, 90}           one hash, one slice
//!        │
//!        └─ PatternTrie    n─e─w─s─:─* ──► "news:*" ──► T        a walk over the channel's bytes
//!                          └ `*` `?` `[…]` are edges like the letters are
//! ```
//!
//! | type | where it lives | what it answers |
//! |---|---|---|
//! | [`ChannelIndex`] | a shard; one for channels, one for patterns by name, one for sharded channels | which local subscribers a name has |
//! | [`Subscriptions`] | a connection | which names it holds, for its counts and for leaving |
//! | [`PatternTrie`] | shared by the shards, behind the server's lock | which patterns match a channel |
//! | [`InterestCounts`] | a value in such shared maps | how many subscribers, on which shards |
//!
//! A subscriber is whatever small key the caller uses (`S: Copy + Eq + Hash`); connections, frames, threads and
//! locks are not known here. Names are stored once, as `Arc<[u8]>`, by the index and shared with the connections.

#![forbid(unsafe_code)]

mod byteset;
pub mod channels;
pub mod glob;
pub mod interest;
pub mod name;
mod pattern;
mod striped;
pub mod subscribers;
pub mod subscriptions;
pub mod trie;

pub use channels::{ChannelIndex, Subscribed, Unsubscribed};
pub use interest::InterestCounts;
pub use name::hash;
pub use subscribers::SubscriberSet;
pub use subscriptions::{Kind, Subscriptions};
pub use trie::{MatchScratch, PatternTrie, TrieSize};
