//! The server as its operator meets it: limits, addresses, TLS, starting and stopping.

mod addresses;
mod backup;
mod configuration;
mod daemon;
mod expiring_fields;
mod files;
mod first_minutes;
mod following;
mod http;
mod irregular;
mod landing;
mod limits;
mod logins;
mod logs;
mod memory;
mod moving;
mod pause;
mod recipes;
mod secrets;
mod start;
mod stop;
mod tls;
mod tools;
mod unauthenticated;
mod users;
mod watching;
