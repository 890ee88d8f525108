//! Lines → standard output: in place on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::Pages;
use super::ink::{Colours, Line, paint};
use super::view::lines;

/// The alternate screen, without cursor and without wrapping (xterm, and all that follow it).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Calm, and still alive.
const FRAME: Duration = Duration::from_millis(200);
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// Where no terminal says how large it is.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Where the view is drawn. Dropping it gives the terminal back.
#[derive(Debug)]
pub(super) enum Screen {
    /// A terminal.
    Terminal(Colours),
    /// A file, a pipe, a journal.
    Lines,
}

impl Screen {
    /// Takes the terminal, if standard output is one that can be drawn on.
    pub(super) fn enter(pages: &Pages) -> io::Result<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if dumb || !io::stdout().is_terminal() {
            write(&(lines(pages) + "\n"))?;
            return Ok(Self::Lines);
        }
        // https://no-color.org: present and not empty.
        let without = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let screen = Self::Terminal(if without { Colours::None } else { Colours::Ansi });
        write(ENTER)?;
        Ok(screen)
    }

    /// How often something new is to be shown.
    pub(super) const fn interval(&self) -> Duration {
        match self {
            Self::Terminal(_) => FRAME,
            Self::Lines => PLAIN_LINE,
        }
    }

    /// Draws a frame, or writes a line; `frame` is told how many columns and rows there are.
    pub(super) fn show(
        &self,
        frame: impl FnOnce(usize, usize) -> Vec<Line>,
        line: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self {
            Self::Terminal(colours) => {
                let (columns, rows) = size();
                write(&drawn(&frame(columns, rows), columns, *colours))
            }
            Self::Lines => write(&(line() + "\n")),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Self::Terminal(_) = self {
            // A terminal that is gone needs nothing back.
            let _ = write(LEAVE);
        }
    }
}

/// Over what was there, and what is below it is wiped: nothing flickers.
fn drawn(lines: &[Line], columns: usize, colours: Colours) -> String {
    let lines: Vec<_> = lines.iter().map(|line| paint(line, columns, colours) + "\x1b[K").collect();
    format!("\x1b[H{}\x1b[J", lines.join("\r\n"))
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ink::{Ink, Span};

    #[test]
    fn a_frame_begins_at_home_wipes_the_rest_and_never_scrolls() {
        let line = |text: &str| vec![Span::new(text, Ink::Plain)];
        let text = drawn(&[line("abc"), line("d")], 2, Colours::Ansi);
        assert_eq!(text, "\x1b[Hab\x1b[K\r\nd\x1b[K\x1b[J");
    }
}
