//! Bookkeeping under churn: whatever subscribers do and however they go, nothing of them stays.
