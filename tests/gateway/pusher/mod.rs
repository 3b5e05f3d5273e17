//! Pusher's protocol: pages by WebSocket, and the signed API of services.

mod api;
mod conformance;
mod frames;
mod pages;
mod presence;
mod slow;
pub(crate) mod tools;
