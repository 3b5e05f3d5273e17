//! Bugs to have on purpose, so that a test can show that the simulation would find them.

/// A bug that loading could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A key of a snapshot never expires.
    ExpiryLost,
    /// Of a value in several parts only the first is there.
    PartLost,
    /// Stamps are forgotten at the first record: effects that a captured value has already come twice.
    StampsForgotten,
    /// An emptied database loses the keys that were captured later, too.
    FlushSparesNothing,
    /// Effects must fit from the snapshot's start on: a sound journal is refused.
    RuleFromTheStart,
    /// What was recorded for a snapshot that came to nothing counts.
    SuspendIgnored,
    /// What is recorded after a start behind a suspend does not count.
    ResumeIgnored,
    /// Which databases were swapped is not known after a snapshot.
    SwapsForgotten,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread has the bug.
#[inline]
pub(super) fn planted(bug: Bug) -> bool {
    #[cfg(test)]
    return ACTIVE.get() == Some(bug);
    #[cfg(not(test))]
    {
        let _ = bug;
        false
    }
}

#[cfg(test)]
impl Bug {
    /// Every bug there is.
    pub(super) const ALL: [Bug; 8] = [
        Bug::ExpiryLost,
        Bug::PartLost,
        Bug::StampsForgotten,
        Bug::FlushSparesNothing,
        Bug::RuleFromTheStart,
        Bug::SuspendIgnored,
        Bug::ResumeIgnored,
        Bug::SwapsForgotten,
    ];

    /// Runs `f` with this bug in what this thread loads.
    pub(super) fn during<T>(self, f: impl FnOnce() -> T) -> T {
        struct Mended;
        impl Drop for Mended {
            fn drop(&mut self) {
                ACTIVE.set(None);
            }
        }
        ACTIVE.set(Some(self));
        let _mended = Mended;
        f()
    }
}
