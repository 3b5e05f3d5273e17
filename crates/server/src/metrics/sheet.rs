//! The text of metrics, in either form that Prometheus reads.
//!
//! ```text
//!                  OpenMetrics 1.0                          Prometheus 0.0.4
//!   # HELP redis_evicted_keys Keys that …       # HELP redis_evicted_keys_total Keys that …
//!   # TYPE redis_evicted_keys counter           # TYPE redis_evicted_keys_total counter
//!   redis_evicted_keys_total 7                  redis_evicted_keys_total 7
//!   # EOF
//! ```
//!
//! Source: the specification of OpenMetrics 1.0; prometheus.io/docs/instrumenting/exposition_formats.

use std::fmt::{Display, Write};

/// Which of the forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// For scrapers that ask for it.
    OpenMetrics,
    /// For all others, people included.
    Text,
}

/// The text as far as it is written. A family is begun once, and its samples follow.
pub(super) struct Sheet {
    text: String,
    format: MetricsFormat,
    /// The family that samples belong to.
    family: &'static str,
}

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A label and its value.
pub(super) type Label<'l> = (&'static str, &'l str);

impl Sheet {
    pub(super) fn new(format: MetricsFormat) -> Sheet {
        Sheet { text: String::new(), format, family: "" }
    }

    /// Begins the family `name`, a counter's without `_total`.
    pub(super) fn family(&mut self, of: Type, name: &'static str, help: &str) {
        let suffix = if of == Type::Counter && self.format == MetricsFormat::Text { "_total" } else { "" };
        let word = match of {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        self.family = name;
        self.line(format_args!("# HELP {name}{suffix} {help}"));
        self.line(format_args!("# TYPE {name}{suffix} {word}"));
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(Type::Counter, name, help);
        self.sample("_total", &[], value);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(Type::Gauge, name, help);
        self.sample("", &[], value);
    }

    /// One value of the family that was begun last.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(&mut self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }
}

fn push_escaped(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: MetricsFormat) -> String {
        let mut sheet = Sheet::new(format);
        sheet.counter("hits", "Hits.", 3);
        sheet.family(Type::Gauge, "size_bytes", "Sizes.");
        sheet.sample("", &[("of", "a\"b\\c\nd"), ("at", "x")], 1.5);
        sheet.end()
    }

    #[test]
    fn a_counter_is_named_as_each_form_names_it_and_labels_are_escaped() {
        let sample = "size_bytes{of=\"a\\\"b\\\\c\\nd\",at=\"x\"} 1.5\n";
        let gauge = "# HELP size_bytes Sizes.\n# TYPE size_bytes gauge\n";
        assert_eq!(
            written(MetricsFormat::OpenMetrics),
            format!("# HELP hits Hits.\n# TYPE hits counter\nhits_total 3\n{gauge}{sample}# EOF\n")
        );
        assert_eq!(
            written(MetricsFormat::Text),
            format!("# HELP hits_total Hits.\n# TYPE hits_total counter\nhits_total 3\n{gauge}{sample}")
        );
    }
}
