//! An append-only log of effects.
