//! Pub/Sub between nodes, over core NATS.
//!
//! Each node has a subject of its own, on which the others send it, in one order, what it listens to. It keeps what it listens to
//! in 256 buckets of channels and tells every live node when a bucket is added; each acknowledges on that very subject, and only then
//! SUBSCRIBE is confirmed. So a PUBLISH anywhere that begins later is sent here.
//!
//! | module | what it is |
//! |---|---|
//! | `frame` | the bytes between nodes |
//! | `outgoing`, `incoming` | numbers, windows, losses: to and from one node |
//! | `interest` | what is listened to here, and who knows it |
//! | `peer` | another node, and the subjects |
//! | `questions` | what other nodes are asked, and who has yet to answer |
//! | `shared` | what shards see and push |
//! | `leading` | who leads the keys, and sessions of clients there |
//! | `hub` | the thread that joins them; `hub/listening`: what is listened to, here and elsewhere |
//! | `roll` | who is there, for whoever is no node |
//!
//! # Why not a subject for each bucket
//! NATS would copy messages for several nodes, and a frame could hold messages of one bucket only. Publishers that spread over channels
//! would send every message by itself (1.1 million a second, against 13 million in frames of 16 KiB), and messages of one publisher to two
//! channels could overtake each other. A copy for each node that listens costs less up to some ten nodes, and keeps the order.

mod frame;
mod hub;
mod incoming;
mod interest;
mod leading;
mod outgoing;
mod peer;
mod questions;
pub(crate) mod roll;
mod shared;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use sterna_config::Config;
use sterna_server::{Inlet, LogSeat, Nodes};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::connection::{ClusterError, Connections, Settings};
use crate::log::{Hooks, LogDriver};
use frame::{Address, NodeId};
use hub::{Hub, Parts};
use shared::Shared;

/// Threads for what takes a while: lists of channels.
const SLOW_THREADS_MAX: usize = 2;

/// The thread that carries messages between this node and others.
pub struct Bridge {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    /// Keys are those of all nodes: a log for each group of them.
    logs: Vec<LogDriver>,
}

impl Bridge {
    /// Starts it. It connects, and finds the other nodes, while the server starts. Errors: what is configured can't work.
    pub fn start(settings: &Settings, config: &Config, inlet: Inlet) -> Result<Bridge, ClusterError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(SLOW_THREADS_MAX)
            .thread_name("cluster-slow")
            .build()
            .map_err(ClusterError::Thread)?;
        let connections = Arc::new(Connections::default());
        let (tell, events) = mpsc::unbounded_channel();
        let client = runtime.block_on(settings.connect(move |event| {
            // Without a receiver the server is stopping.
            let _ = tell.send(event);
        }))?;
        let seats = inlet.log_seats();
        let shared = Arc::new(Shared::new(settings.buffer_bytes_max, seats.len().max(1)));
        // Never 0, nor its lower half.
        let me = NodeId(fastrand::u128(..) | 1);
        let parts = Parts {
            me,
            cluster: settings.name.clone(),
            name: name_of(config),
            client,
            inlet,
            shared: Arc::clone(&shared),
            connections,
            window_bytes: settings.buffer_bytes_max,
            leader: config.cluster_leader.clone(),
            seats: seats.clone(),
            sessions_max: config.cluster_sessions as usize,
            address: address_of(config),
            length_max: usize::try_from(config.proto_max_bulk_len).unwrap_or(usize::MAX).saturating_mul(2),
        };
        let run = move |runtime: Runtime| runtime.block_on(Hub::run(parts, events));
        let thread = std::thread::Builder::new().name("cluster".to_owned()).spawn(move || run(runtime));
        let thread = thread.map_err(ClusterError::Thread)?;
        let start_log = |seat: LogSeat| {
            let (of, group) = (Arc::clone(&shared), seat.group());
            let on_leadership = move || of.notify.notify_one();
            let of = Arc::clone(&shared);
            let is_preferred = move || of.preferred.load(Ordering::Relaxed) & 1 << group.index != 0;
            let of = Arc::clone(&shared);
            let on_holder = move |node| of.note_holder(node);
            let of = Arc::clone(&shared);
            let next_move = move || {
                let next_move = of.next_move.lock().ok().and_then(|next_move| *next_move);
                next_move.filter(|next_move| next_move.group == group.index)
            };
            let hooks = Hooks {
                on_leadership: Box::new(on_leadership),
                is_preferred: Box::new(is_preferred),
                on_holder: Box::new(on_holder),
                next_move: Box::new(next_move),
            };
            LogDriver::start(settings, me.0 as u64, name_of(config), seat, hooks)
        };
        let logs = seats.into_iter().map(start_log).collect::<Result<_, _>>()?;
        Ok(Bridge { shared, thread, logs })
    }

    /// What the server knows of it.
    pub fn nodes(&self) -> Arc<dyn Nodes> {
        Arc::clone(&self.shared) as Arc<dyn Nodes>
    }

    /// Sends what the server has handed over, tells other nodes that this one goes, and ends the thread. The server has stopped.
    pub fn stop(self) {
        self.logs.into_iter().for_each(LogDriver::stop);
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.notify.notify_one();
        // A panic in it has ended the process.
        let _ = self.thread.join();
    }
}

/// What this node is called in others' logs and INFO: its machine and its port.
fn name_of(config: &Config) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let port = if config.port == 0 { config.tls_port } else { config.port };
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(64).collect();
    format!("{host}:{port}")
}

/// Where clients reach this node, as far as the configuration says it.
fn address_of(config: &Config) -> Address {
    let or = |announced: u16, own: u16| if announced == 0 { own } else { announced };
    let host =
        config.cluster_announce_ip.chars().filter(|c| c.is_ascii_graphic()).take(HOST_BYTES_MAX).collect();
    let mut address = Address {
        host,
        port: or(config.cluster_announce_port, config.port),
        tls_port: or(config.cluster_announce_tls_port, config.tls_port),
    };
    // The node that leads knows that it does without NATS: its address is one of this machine.
    if address.host.is_empty()
        && let Some((host, _)) = config.cluster_leader.rsplit_once(':')
        && let host = host.trim_matches(['[', ']'])
        && std::net::UdpSocket::bind((host, 0)).is_ok()
    {
        let named = Address { host: host.to_owned(), ..address.clone() };
        if named.is(&config.cluster_leader) {
            address = named;
        }
    }
    address
}

/// Longest address that is announced.
const HOST_BYTES_MAX: usize = 128;
