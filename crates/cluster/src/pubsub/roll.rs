//! The nodes of a cluster, as whoever sees them is none of them: by their beats, and by what they tell of their journals.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use futures_util::stream::select_all;

use super::frame::{Body, NodeId, read};
use super::leading::writer_of;
use super::peer::Subjects;
use crate::log::Holding;

/// For so long it listens: each node tells everything within two seconds.
const LISTENED: Duration = Duration::from_millis(2500);

/// More nodes than a cluster has: what others tell is not remembered.
const NODES_MAX: usize = 1024;

/// What a node tells of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Buckets of channels that are listened to there.
    pub(crate) buckets: u32,
    /// As what frames of the log name it.
    pub(crate) writer: u64,
    /// The slot up to which its journal has the log of each group of keys.
    pub(crate) held: Vec<Option<u64>>,
}

/// Listens for a moment; `groups`: as many logs as there are.
pub(crate) async fn call(client: &Client, cluster: &str, groups: usize) -> Vec<Member> {
    let all = Subjects::new(cluster, NodeId(0)).all;
    let mut streams = Vec::new();
    // Where nothing can be received nobody is there.
    streams.extend(client.subscribe(all).await.ok().map(|beats| beats.map(|beat| (None, beat)).boxed()));
    for group in 0..groups {
        let told = client.subscribe(format!("sterna.{cluster}.holding.{group}")).await.ok();
        streams.extend(told.map(|told| told.map(move |word| (Some(group), word)).boxed()));
    }
    let mut members: BTreeMap<u64, Member> = BTreeMap::new();
    let mut held: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    let mut messages = select_all(streams);
    let listens = async {
        while let Some((group, message)) = messages.next().await {
            match group {
                None => {
                    if let Some((node, _, Body::Beat(beat))) = read(&message.payload)
                        && members.len() < NODES_MAX
                    {
                        let buckets = beat.buckets.0.iter().map(|word| word.count_ones()).sum();
                        let (writer, name) = (writer_of(node), beat.name.to_owned());
                        members.insert(writer, Member { name, buckets, writer, held: Vec::new() });
                    }
                }
                Some(group) => {
                    if let Some(holding) = Holding::decode(&message.payload)
                        && held.len() < NODES_MAX * groups
                    {
                        held.insert((holding.node, group), holding.slot);
                    }
                }
            }
        }
    };
    // It ends by the time alone.
    let _ = tokio::time::timeout(LISTENED, listens).await;
    let mut nodes: Vec<Member> = members.into_values().collect();
    for node in &mut nodes {
        node.held = (0..groups).map(|group| held.get(&(node.writer, group)).copied()).collect();
    }
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    nodes
}
