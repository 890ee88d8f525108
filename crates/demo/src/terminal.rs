//! Draws the view on a terminal, or writes lines to any other output.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::DemoPages;
use super::style::{Colours, Line, paint};
use super::view::lines;

/// Selects the alternate screen, without cursor and line wrapping (xterm and compatible terminals).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Interval between two frames; fast enough to look live, without flicker.
const FRAME_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Size used if the terminal does not report one.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Output of the view. Dropping it restores the terminal.
#[derive(Debug)]
pub(super) enum Screen {
    /// A terminal.
    Terminal(Colours),
    /// A file, a pipe or the journal.
    Lines,
}

impl Screen {
    /// Switches the terminal to the alternate screen, if standard output is a capable terminal.
    pub(super) fn enter(pages: &DemoPages) -> io::Result<Self> {
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

    /// Returns the interval between two updates.
    pub(super) const fn interval(&self) -> Duration {
        match self {
            Self::Terminal(_) => FRAME_INTERVAL,
            Self::Lines => LINE_INTERVAL,
        }
    }

    /// Draws a frame or writes a line; `frame` gets the number of columns and rows.
    pub(super) fn show(
        &self,
        frame: impl FnOnce(usize, usize) -> Vec<Line>,
        line: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self {
            Self::Terminal(colours) => {
                let (columns, rows) = size();
                write(&render_frame(&frame(columns, rows), columns, *colours))
            }
            Self::Lines => write(&(line() + "\n")),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Self::Terminal(_) = self {
            // Ignored: a closed terminal does not need to be restored.
            let _ = write(LEAVE);
        }
    }
}

/// Overwrites the last frame and clears the rest of each line and of the screen, which avoids
/// flicker.
fn render_frame(lines: &[Line], columns: usize, colours: Colours) -> String {
    let lines: Vec<_> = lines.iter().map(|line| paint(line, columns, colours) + "\x1b[K").collect();
    format!("\x1b[H{}\x1b[J", lines.join("\r\n"))
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => DEFAULT_SIZE,
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
    use crate::style::{Span, Style};

    #[test]
    fn a_frame_begins_at_home_wipes_the_rest_and_never_scrolls() {
        let line = |text: &str| vec![Span::new(text, Style::Plain)];
        let text = render_frame(&[line("abc"), line("d")], 2, Colours::Ansi);
        assert_eq!(text, "\x1b[Hab\x1b[K\r\nd\x1b[K\x1b[J");
    }
}
