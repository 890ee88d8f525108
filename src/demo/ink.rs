//! Text with a meaning → text with ANSI colours, or without.

use std::fmt::Write as _;

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Nothing special.
    Plain,
    /// Labels and rules.
    Faint,
    /// What is to be seen first.
    Strong,
    /// In order.
    Good,
    /// Degraded, and recovers by itself.
    Warn,
    /// Wrong.
    Bad,
}

impl Ink {
    /// SGR parameters (ECMA-48 §8.3.117) of the eight colours that every terminal has.
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

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) ink: Ink,
}

impl Span {
    pub(super) fn new(text: impl Into<String>, ink: Ink) -> Self {
        Self { text: text.into(), ink }
    }
}

/// A line of the view.
pub(super) type Line = Vec<Span>;

/// How many columns a line takes: all characters of the view are one wide.
pub(super) fn width(line: &[Span]) -> usize {
    line.iter().map(|span| span.text.chars().count()).sum()
}

/// Fills a line up to `columns`.
pub(super) fn pad(line: &mut Line, columns: usize) {
    let missing = columns.saturating_sub(width(line));
    if missing > 0 {
        line.push(Span::new(" ".repeat(missing), Ink::Plain));
    }
}

/// Whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// ANSI sequences.
    Ansi,
    /// Text only.
    None,
}

/// The text of a line, cut at `columns`.
pub(super) fn paint(line: &[Span], columns: usize, colours: Colours) -> String {
    let (mut text, mut left) = (String::new(), columns);
    for Span { text: piece, ink } in line {
        let piece: String = piece.chars().take(left).collect();
        left -= piece.chars().count();
        match ink.sgr().filter(|_| colours == Colours::Ansi && !piece.trim().is_empty()) {
            Some(sgr) => write!(text, "\x1b[{sgr}m{piece}\x1b[m"),
            None => write!(text, "{piece}"),
        }
        .expect("a string takes everything");
    }
    text
}

/// 12345 → `12,345`.
pub(super) fn grouped(number: u64) -> String {
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

/// A number of things: `1 point`, `12,345 points`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// 12345 → `12.3 kB`.
pub(super) fn bytes(number: u64) -> String {
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
        let mut line = vec![Span::new("lin", Ink::Good), Span::new("k ◆ up", Ink::Plain)];
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
            assert_eq!((grouped(number).as_str(), bytes(number).as_str()), (plain, size));
        }
        assert_eq!(counted(1, "point") + " " + &counted(1200, "message"), "1 point 1,200 messages");
    }
}
