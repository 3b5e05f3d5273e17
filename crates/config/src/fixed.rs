//! Options of Redis that have one value here, since what they are about is always so: CONFIG GET shows it, CONFIG SET takes it
//! and no other. Who reads one is told the truth, and who sets back what he found is not refused.

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// As redis.conf spells it.
    pub(crate) name: &'static str,
    /// The value, in lower case.
    pub(crate) value: &'static str,
    /// For the reference page.
    pub(crate) doc: &'static str,
}

/// In alphabetical order.
pub(crate) const FIXED: &[Fixed] = &[
    Fixed { name: "activedefrag", value: "no", doc: "Values are not moved to make memory whole." },
    Fixed { name: "aof-timestamp-enabled", value: "no", doc: "The journal has no lines that tell the time." },
    Fixed { name: "dynamic-hz", value: "no", doc: "`hz` stays what it is, however many clients there are." },
    Fixed { name: "enable-module-command", value: "no", doc: "There are no modules." },
    Fixed { name: "list-compress-depth", value: "0", doc: "No part of a list is compressed." },
    Fixed {
        name: "min-replicas-to-write",
        value: "0",
        doc: "No write asks how many replicas there are; nodes agree on it in another way (cluster.md).",
    },
    Fixed { name: "min-slaves-to-write", value: "0", doc: "The same by its former name." },
    Fixed {
        name: "no-appendfsync-on-rewrite",
        value: "no",
        doc: "The journal is synced as `appendfsync` says while a snapshot is written, too.",
    },
    Fixed {
        name: "oom-score-adj",
        value: "no",
        doc: "What the kernel ends first is not the server's to say.",
    },
    Fixed {
        name: "rdbchecksum",
        value: "yes",
        doc: "Every payload of DUMP and every exported file has a checksum.",
    },
    Fixed {
        name: "rdbcompression",
        value: "no",
        doc: "What DUMP answers and exported files hold is not compressed.",
    },
    Fixed {
        name: "sanitize-dump-payload",
        value: "yes",
        doc: "Every payload is looked through before it is a value.",
    },
    Fixed { name: "set-proc-title", value: "no", doc: "The process is listed by its command line." },
];

/// The one of this name, in any case.
pub(crate) fn fixed(name: &[u8]) -> Option<&'static Fixed> {
    FIXED.iter().find(|fixed| fixed.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Fixed {
    /// Whether `value` is what it is.
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        self.value.as_bytes().eq_ignore_ascii_case(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OptionRow;
    use crate::foreign::is_foreign;

    #[test]
    fn each_is_an_option_of_redis_that_is_none_of_ours() {
        assert!(FIXED.is_sorted_by(|a, b| a.name < b.name));
        for fixed in FIXED {
            assert!(is_foreign(fixed.name), "{}", fixed.name);
            assert!(OptionRow::named(fixed.name.as_bytes()).is_none(), "{}", fixed.name);
            assert!(fixed.doc.ends_with('.'), "{}", fixed.name);
        }
    }
}
