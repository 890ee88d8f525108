//! Draws the points of `track` as a map of Braille dots: two by four dots per cell, which is nearly
//! square.

use std::collections::BTreeMap;

use super::style::{Span, Style};

/// Maximum number of points; a large map has only 160 by 160 dots.
const MAX_POINTS: usize = 4096;

/// Maximum zoom, so that the receiver's noise at a standstill does not fill the map.
const MIN_METRES_PER_DOT: f64 = 3.0;

const METRES_PER_DEGREE: f64 = 111_195.0;

/// Bits of a cell's dots from U+2800 on: two columns, each from the top.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

#[derive(Clone, Copy, Debug)]
struct TrailPoint {
    lat_deg: f64,
    lon_deg: f64,
    backlog: bool,
}

/// The path of the van.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    points: BTreeMap<u64, TrailPoint>,
    /// Sequence numbers at most this far apart are neighbours.
    stride: u64,
}

impl Default for Trail {
    fn default() -> Self {
        Self { points: BTreeMap::new(), stride: 1 }
    }
}

/// A cell of the map.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    dots: u32,
    backlog: bool,
    van: bool,
}

impl Trail {
    /// Adds a point. Above the maximum, every second point is dropped.
    pub(super) fn push(&mut self, seq: u64, lat_deg: f64, lon_deg: f64, backlog: bool) {
        self.points.insert(seq, TrailPoint { lat_deg, lon_deg, backlog });
        if self.points.len() > MAX_POINTS {
            let mut keep = false;
            self.points.retain(|_, _| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Draws the map with the van: at the newest point, or at `van` (sequence number, latitude,
    /// longitude) if it is newer.
    pub(super) fn draw(
        &self,
        van: Option<(u64, f64, f64)>,
        columns: usize,
        rows: usize,
    ) -> Vec<Vec<Span>> {
        let mut cells = vec![vec![Cell::default(); columns]; rows];
        let newest = self.points.last_key_value();
        let newest = newest.map(|(seq, mark)| (*seq, mark.lat_deg, mark.lon_deg));
        let later = van.filter(|(seq, ..)| newest.is_none_or(|(newest, ..)| *seq > newest));
        let van = later.or(newest).map(|(_, lat_deg, lon_deg)| (lat_deg, lon_deg));
        let places = self.points.values().map(|mark| (mark.lat_deg, mark.lon_deg)).chain(van);
        if let Some(scale) = Scale::around(places, columns * 2, rows * 4) {
            let mut before: Option<(u64, (f64, f64))> = None;
            for (&seq, mark) in &self.points {
                let to = scale.dot(mark.lat_deg, mark.lon_deg);
                let neighbour = before.filter(|(last, _)| seq - last <= self.stride);
                draw_line(&mut cells, neighbour.map_or(to, |(_, from)| from), to, mark.backlog);
                before = Some((seq, to));
            }
            if let Some((lat_deg, lon_deg)) = van
                && let Some((cell, _)) = cell_at(&mut cells, scale.dot(lat_deg, lon_deg))
            {
                cell.van = true;
            }
        }
        cells.into_iter().map(|row| row.into_iter().map(Cell::span).collect()).collect()
    }
}

impl Cell {
    fn span(self) -> Span {
        match self {
            Self { van: true, .. } => Span::new("◆", Style::Strong),
            Self { dots: 0, .. } => Span::new(" ", Style::Plain),
            Self { dots, backlog, .. } => {
                let braille = char::from_u32(0x2800 + dots).unwrap_or(' ');
                Span::new(braille.to_string(), if backlog { Style::Warn } else { Style::Good })
            }
        }
    }
}

/// Maps degrees to dots, with the same scale in both directions and the centre in the middle.
#[derive(Debug)]
struct Scale {
    centre_deg: (f64, f64),
    /// Ratio of a degree of longitude to a degree of latitude.
    lon_factor: f64,
    metres_per_dot: f64,
    centre_dot: (f64, f64),
}

impl Scale {
    fn around(
        places: impl Iterator<Item = (f64, f64)>,
        width: usize,
        height: usize,
    ) -> Option<Self> {
        let bounds = places.fold(None, |bounds, (lat, lon)| {
            let (south, north, west, east) = bounds.unwrap_or((lat, lat, lon, lon));
            Some((lat.min(south), lat.max(north), lon.min(west), lon.max(east)))
        });
        let (south, north, west, east) = bounds?;
        let centre_deg = (f64::midpoint(south, north), f64::midpoint(west, east));
        let lon_factor = centre_deg.0.to_radians().cos();
        let last = |dots: usize| f64::from(u32::try_from(dots).unwrap_or(u32::MAX).max(2) - 1);
        let (width, height) = (last(width), last(height));
        let wide_m = (east - west) * METRES_PER_DEGREE * lon_factor;
        let high_m = (north - south) * METRES_PER_DEGREE;
        let metres_per_dot = (wide_m / width).max(high_m / height).max(MIN_METRES_PER_DOT);
        Some(Self {
            centre_deg,
            lon_factor,
            metres_per_dot,
            centre_dot: (width / 2.0, height / 2.0),
        })
    }

    /// Returns the position in dots from the left and from the top.
    fn dot(&self, lat_deg: f64, lon_deg: f64) -> (f64, f64) {
        let dots_per_degree = METRES_PER_DEGREE / self.metres_per_dot;
        let right = (lon_deg - self.centre_deg.1) * dots_per_degree * self.lon_factor;
        let up = (lat_deg - self.centre_deg.0) * dots_per_degree;
        (self.centre_dot.0 + right, self.centre_dot.1 - up)
    }
}

/// Returns the cell of a dot, and the dot's bit in it.
fn cell_at(cells: &mut [Vec<Cell>], (x, y): (f64, f64)) -> Option<(&mut Cell, u32)> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and a position outside of the map has no cell"
    )]
    let (x, y) = (x.round() as usize, y.round() as usize);
    let cell = cells.get_mut(y / 4)?.get_mut(x / 2)?;
    Some((cell, DOTS[x % 2][y % 4]))
}

fn draw_line(cells: &mut [Vec<Cell>], from: (f64, f64), to: (f64, f64), backlog: bool) {
    let (right, down) = (to.0 - from.0, to.1 - from.1);
    let steps = right.abs().max(down.abs()).ceil().max(1.0);
    let mut step = 1.0;
    while step <= steps {
        let part = step / steps;
        if let Some((cell, bit)) = cell_at(cells, (from.0 + right * part, from.1 + down * part)) {
            cell.dots |= bit;
            cell.backlog |= backlog;
        }
        step += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(map: &[Vec<Span>]) -> Vec<String> {
        map.iter().map(|row| row.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn north_is_up_and_a_degree_east_is_shorter_than_one_north() {
        let mut trail = Trail::default();
        trail.push(1, 60.0, 10.0, false);
        trail.push(2, 60.001, 10.0, false);
        trail.push(3, 60.001, 10.002, false);
        let map = trail.draw(None, 10, 5);
        // The van drove as far east as north, so on a square map both edges are full.
        assert_eq!(
            text(&map),
            ["⡏⠉⠉⠉⠉⠉⠉⠉⠉◆", "⡇         ", "⡇         ", "⡇         ", "⡇         "]
        );
    }

    #[test]
    fn what_has_not_come_yet_is_a_hole_and_the_backlog_is_seen_to_fill_it() {
        let mut trail = Trail::default();
        for seq in [1, 2, 9, 10] {
            trail.push(seq, 48.0, 10.0 + f64::from(u32::try_from(seq).unwrap()) * 1e-3, false);
        }
        let hole = text(&trail.draw(None, 20, 1));
        assert!(hole[0].contains("     ") && hole[0].ends_with('◆'), "{hole:?}");
        for seq in 3..9 {
            trail.push(seq, 48.0, 10.0 + f64::from(u32::try_from(seq).unwrap()) * 1e-3, true);
        }
        let map = trail.draw(None, 20, 1);
        assert!(!text(&map)[0].contains(' '), "{:?}", text(&map));
        assert_eq!(map[0][0].style, Style::Good);
        assert_eq!(map[0][10].style, Style::Warn);
    }

    #[test]
    fn it_is_bounded_and_stays_a_line() {
        let mut trail = Trail::default();
        for seq in 0..20_000_u32 {
            trail.push(seq.into(), 48.0, 10.0 + f64::from(seq) * 1e-5, false);
        }
        assert!(trail.points.len() <= MAX_POINTS);
        assert!(!text(&trail.draw(None, 30, 1))[0].contains(' '));
        assert_eq!(text(&Trail::default().draw(None, 3, 1)), ["   "]);
        assert_eq!(text(&Trail::default().draw(Some((7, 48.0, 10.0)), 3, 1)), [" ◆ "]);
    }
}
