//! HTTP beside the Redis protocol: for services without TCP, and for pages.
//!
//! ```text
//!   socket ── hyper ──► origin ──► login ──► upstash · v1 · pusher ──► requests ──► a connection of a shard, without a socket
//!                                                                          (`sterna_server::Engine`)
//!   JSON  ◄────────────────────────────────── replies ◄────────────────────┘
//! ```
//!
//! A request of HTTP becomes requests of the Redis protocol on a connection of its own, which logs in, runs them and is
//! closed. So users and their rules, MULTI, limits, MONITOR, SLOWLOG, waits and the journal hold as they do for everybody, and
//! nothing here knows a command but by its name. If the HTTP client leaves, its connection is closed, and what it waited for
//! ends.
//!
//! One thread of its own runs all of it, but for what it would do with many bytes (`aside.rs`); without `http-port` and `https-port` it is not started. Bounds are in `limits.rs`.
#![forbid(unsafe_code)]

mod accept;
mod aside;
mod budget;
mod dashboard;
mod events;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guarded;
mod json;
mod keys;
mod limits;
mod login;
mod observe;
mod origin;
mod pusher;
mod replies;
mod response;
mod route;
mod session;
mod socket;
mod stream;
mod token;
mod upstash;
mod url;
mod v1;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use sterna_server::{Engine, HttpListener};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use accept::Shared;
use limits::{ASIDE_THREADS_MAX, STOP_TIME_MAX};

/// The gateway's thread.
pub struct Gateway {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Serves HTTP at `listeners` for the server behind `engine`.
pub fn start(engine: Engine, listeners: Vec<HttpListener>) -> io::Result<Gateway> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("gateway-json")
        .max_blocking_threads(ASIDE_THREADS_MAX)
        .build()?;
    let (stop, stopped) = oneshot::channel();
    // One for each CONFIG SET that is under way.
    let (tell, changes) = mpsc::unbounded_channel();
    // If the thread has ended, the server is stopping, and the change is dropped.
    engine.on_http_change(move |change| drop(tell.send(change)));
    let shared = Arc::new(Shared::new(engine));
    let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::spawn(accept::listen(listeners, changes, shared));
            // The other end is dropped or used; either way it is over.
            let _ = stopped.await;
        });
        runtime.shutdown_timeout(STOP_TIME_MAX);
    })?;
    Ok(Gateway { stop, thread })
}

impl Gateway {
    /// Closes what is open and ends the thread.
    pub fn stop(self) {
        // Nobody listens if the thread has ended.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
