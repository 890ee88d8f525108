//! `"urban 50km/h 0,120 340,120 tunnel 560,150"` → [`Mark`]s: a road, as a driver would read it.
//!
//! A mark is a point in metres east and north of the depot, without decimals. The words before it are road signs: each
//! holds for the stretch that leads to the point, and on until the next sign of its kind, also past stops.

/// A point in metres east and north of the depot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Metres east.
    pub east_m: f64,
    /// Metres north.
    pub north_m: f64,
}

impl Point {
    /// The way from here to `to`: metres east and north.
    pub(super) fn to(self, to: Self) -> (f64, f64) {
        (to.east_m - self.east_m, to.north_m - self.north_m)
    }

    /// Metres from here to `to`.
    pub(super) fn distance_m(self, to: Self) -> f64 {
        let (east, north) = self.to(to);
        (east * east + north * north).sqrt()
    }

    /// This point, moved by the given part of the way to `to`.
    pub(super) fn towards(self, to: Self, part: f64) -> Self {
        let (east, north) = self.to(to);
        Self { east_m: self.east_m + east * part, north_m: self.north_m + north * part }
    }
}

/// What stands between the van and the sky.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surroundings {
    /// Nothing: `open`.
    #[default]
    Open,
    /// Houses, which weaken and mirror the signals: `urban`.
    Urban,
    /// Everything: `tunnel`.
    Tunnel,
}

/// A point of the road, and the signs that hold on the stretch that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Where.
    pub point: Point,
    /// The speed limit in metres per second.
    pub limit_mps: f64,
    /// What is around the road.
    pub surroundings: Surroundings,
}

/// The signs that hold where the last way ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    limit_mps: f64,
    surroundings: Surroundings,
}

impl Default for Signs {
    /// Town, until a sign says otherwise.
    fn default() -> Self {
        Self { limit_mps: 50.0 / 3.6, surroundings: Surroundings::Open }
    }
}

impl Signs {
    /// Points of one way: a page of text, and a bound on the memory of a leg.
    const MAX_MARKS: usize = 200;
    /// Metres from the depot: a day's reach, and the flat earth's.
    const MAX_OFFSET_M: f64 = 100_000.0;

    /// Reads one way. What it cannot read it says to `problem`, word by word.
    pub(super) fn read(&mut self, way: &str, mut problem: impl FnMut(String)) -> Vec<Mark> {
        let mut marks = Vec::new();
        for word in way.split_whitespace() {
            match self.word(word) {
                Ok(Some(mark)) => marks.push(mark),
                Ok(None) => {}
                Err(text) => problem(text),
            }
        }
        if marks.len() > Self::MAX_MARKS {
            problem(format!("{} points, more than {}: split it", marks.len(), Self::MAX_MARKS));
            marks.truncate(Self::MAX_MARKS);
        }
        marks
    }

    fn word(&mut self, word: &str) -> Result<Option<Mark>, String> {
        match word {
            "open" => self.surroundings = Surroundings::Open,
            "urban" => self.surroundings = Surroundings::Urban,
            "tunnel" => self.surroundings = Surroundings::Tunnel,
            _ if word.ends_with("km/h") => self.limit_mps = limit_mps(word)?,
            _ => {
                let point = point(word)?;
                let Self { limit_mps, surroundings } = *self;
                return Ok(Some(Mark { point, limit_mps, surroundings }));
            }
        }
        Ok(None)
    }
}

fn limit_mps(word: &str) -> Result<f64, String> {
    let kmh = word.trim_end_matches("km/h").parse::<u8>().ok();
    let kmh = kmh.filter(|kmh| (5..=130).contains(kmh));
    kmh.map(|kmh| f64::from(kmh) / 3.6).ok_or_else(|| {
        format!("`{word}` is no speed limit: a whole number in 5..=130, as in `50km/h`")
    })
}

fn point(word: &str) -> Result<Point, String> {
    let metres = |text: &str| text.parse::<i32>().ok().map(f64::from);
    let point = word
        .split_once(',')
        .and_then(|(east, north)| Some(Point { east_m: metres(east)?, north_m: metres(north)? }));
    let point = point.ok_or_else(|| {
        format!(
            "`{word}` is neither a point (`EAST,NORTH` in whole metres from the depot, as in \
             `120,-340`) nor a sign (`50km/h`, `open`, `urban`, `tunnel`)"
        )
    })?;
    if point.east_m.abs().max(point.north_m.abs()) > Signs::MAX_OFFSET_M {
        return Err(format!("`{word}` is more than 100 km from the depot"));
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_holds_until_the_next_of_its_kind_also_past_a_stop() {
        let mut signs = Signs::default();
        let problem = |text: String| panic!("{text}");
        let first = signs.read("urban 36km/h 0,10 tunnel 5,-20", problem);
        let next = signs.read("72km/h 1,2", problem);
        let read: Vec<_> =
            first.iter().chain(&next).map(|mark| (mark.limit_mps, mark.surroundings)).collect();
        assert_eq!(
            read,
            [
                (10.0, Surroundings::Urban),
                (10.0, Surroundings::Tunnel),
                (20.0, Surroundings::Tunnel)
            ]
        );
        assert_eq!(first[1].point, Point { east_m: 5.0, north_m: -20.0 });
    }

    #[test]
    fn a_word_that_is_neither_point_nor_sign_is_named() {
        for word in ["1;2", "1,2,3", "fast", "4km/h", "131km/h", "1.5,2", "100001,0", "NaN,1"] {
            let mut problems = Vec::new();
            let marks = Signs::default().read(word, |text| problems.push(text));
            assert!(marks.is_empty() && problems.len() == 1, "{word}: {problems:?}");
            assert!(problems[0].contains(word), "{problems:?}");
        }
    }
}
