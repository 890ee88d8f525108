//! Writer of `OpenMetrics` 1.0 text, used by both programs.

use std::fmt::{Display, Write as _};

/// Content type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Accumulates metric families.
#[derive(Debug)]
pub struct MetricsWriter {
    prefix: &'static str,
    text: String,
}

impl MetricsWriter {
    /// Creates an empty writer. Metric names get the prefix `prefix` and `_`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::with_capacity(4096) }
    }

    /// Starts a family; its samples follow. `kind` is a type of `OpenMetrics` §5, such as `gauge`,
    /// `counter` or `info`.
    pub fn declare(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        write!(self.text, "# TYPE {prefix}_{name} {kind}\n# HELP {prefix}_{name} {help}\n")
            .expect("writing to a String cannot fail");
    }

    /// Writes one sample. `name` includes the suffix of the family's type and the labels.
    pub fn sample(&mut self, name: &str, value: impl Display) {
        writeln!(self.text, "{}_{name} {value}", self.prefix)
            .expect("writing to a String cannot fail");
    }

    /// Writes a gauge with one sample.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.declare(name, "gauge", help);
        self.sample(name, value);
    }

    /// Writes a counter with one sample. `name` has no `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.declare(name, "counter", help);
        self.sample(&format!("{name}_total"), value);
    }

    /// Returns the complete text, terminated by `# EOF`.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}
