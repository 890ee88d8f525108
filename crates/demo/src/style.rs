//! Text with semantic styles, rendered with or without ANSI colours.

use std::fmt::Write as _;

/// Meaning of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Ordinary text.
    Plain,
    /// Labels and rules.
    Faint,
    /// Most important text.
    Strong,
    /// Normal state.
    Good,
    /// Degraded, recovers automatically.
    Warn,
    /// Error.
    Bad,
}

impl Style {
    /// Returns the SGR parameters (ECMA-48 §8.3.117), limited to the eight colours of every
    /// terminal.
    const fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Faint => Some("2"),
            Self::Strong => Some("1"),
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// A styled part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Span {
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

/// A line of the view.
pub(super) type Line = Vec<Span>;

/// Returns the width in columns; every character of the view is one column wide.
pub(super) fn width(line: &[Span]) -> usize {
    line.iter().map(|span| span.text.chars().count()).sum()
}

/// Pads a line to `columns`.
pub(super) fn pad(line: &mut Line, columns: usize) {
    let missing = columns.saturating_sub(width(line));
    if missing > 0 {
        line.push(Span::new(" ".repeat(missing), Style::Plain));
    }
}

/// Colour support of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// ANSI sequences.
    Ansi,
    /// Text only.
    None,
}

/// Renders a line, truncated at `columns`.
pub(super) fn paint(line: &[Span], columns: usize, colours: Colours) -> String {
    let (mut text, mut left) = (String::new(), columns);
    for Span { text: piece, style: ink } in line {
        let piece: String = piece.chars().take(left).collect();
        left -= piece.chars().count();
        match ink.sgr().filter(|_| colours == Colours::Ansi && !piece.trim().is_empty()) {
            Some(sgr) => write!(text, "\x1b[{sgr}m{piece}\x1b[m"),
            None => write!(text, "{piece}"),
        }
        .expect("writing to a string cannot fail");
    }
    text
}

/// Formats 12345 as `12,345`.
pub(super) fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count with its noun: `1 point`, `12,345 points`.
pub(super) fn with_count(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", group_digits(number), if number == 1 { "" } else { "s" })
}

/// Formats 12345 as `12.3 kB`.
pub(super) fn format_bytes(number: u64) -> String {
    match number {
        0..1000 => format!("{number} B"),
        1000..1_000_000 => format!("{}.{} kB", number / 1000, number % 1000 / 100),
        _ => format!("{}.{} MB", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen_and_not_by_its_colours() {
        let mut line = vec![Span::new("lin", Style::Good), Span::new("k ◆ up", Style::Plain)];
        assert_eq!(paint(&line, 6, Colours::Ansi), "\x1b[32mlin\x1b[mk ◆");
        assert_eq!(paint(&line, 80, Colours::None), "link ◆ up");
        pad(&mut line, 12);
        assert_eq!((width(&line), paint(&line, 80, Colours::None).as_str()), (12, "link ◆ up   "));
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (number, plain, size) in [
            (0, "0", "0 B"),
            (999, "999", "999 B"),
            (1000, "1,000", "1.0 kB"),
            (123_456, "123,456", "123.4 kB"),
            (1_999_999, "1,999,999", "1.9 MB"),
        ] {
            assert_eq!(
                (group_digits(number).as_str(), format_bytes(number).as_str()),
                (plain, size)
            );
        }
        assert_eq!(
            with_count(1, "point") + " " + &with_count(1200, "message"),
            "1 point 1,200 messages"
        );
    }
}
