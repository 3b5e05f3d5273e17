//! The server as its operator meets it: limits, addresses, TLS, starting and stopping.

mod addresses;
mod http;
mod limits;
mod start;
mod stop;
mod tls;
mod tools;
mod unauthenticated;
