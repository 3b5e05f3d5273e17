//! HTTP beside the Redis protocol: what services and pages ask for, who may, and what does no harm.

mod abuse;
mod commands;
mod dashboard;
mod events;
mod killed;
mod login;
mod observe;
mod pages;
mod pusher;
mod resume;
mod services;
mod streams;
mod tokens;
mod tools;
