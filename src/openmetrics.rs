//! Counts and states → `OpenMetrics` 1.0 text, of both programs.

use std::fmt::{Display, Write as _};

/// What the text is served as.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metric families, one after the other.
#[derive(Debug)]
pub struct Families {
    prefix: &'static str,
    text: String,
}

impl Families {
    /// None yet; their names will begin with `prefix` and `_`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::with_capacity(4096) }
    }

    /// Begins a family, of which samples follow. `kind` as in `OpenMetrics` §5: `gauge`, `counter`, `info`, ...
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        write!(self.text, "# TYPE {prefix}_{name} {kind}\n# HELP {prefix}_{name} {help}\n")
            .expect("a string takes everything");
    }

    /// One sample: the family's name with the suffix of its kind and its labels, and the value.
    pub fn sample(&mut self, name: &str, value: impl Display) {
        writeln!(self.text, "{}_{name} {value}", self.prefix).expect("a string takes everything");
    }

    /// A family of one sample that may go up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, value);
    }

    /// A family of one sample that goes up only; `name` is without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), value);
    }

    /// The whole exposition, with its end.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}
