//! What holds for messages and copies while clients on every shard do what they like.

mod apart;
mod caching;
mod churn;
mod clock;
mod closing;
mod credit;
mod crowd;
mod fairness;
mod groups;
mod handover;
mod import;
mod locks;
mod ordering;
mod pressure;
mod requests;
mod resuming;
mod retention;
mod rights;
mod scripts;
mod sorted;
mod standstill;
mod subkeys;
mod transactions;
mod turns;
mod waiting;
mod woken;
