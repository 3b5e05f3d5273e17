//! What holds for messages while subscriptions change on every shard.

mod churn;
mod crowd;
mod fairness;
mod ordering;
