//! Parses the road syntax of route files, such as `"urban 50km/h 0,120 340,120 tunnel 560,150"`.
//!
//! A point has whole metres east and north of the depot. The tokens before it are road signs. Each
//! applies to the stretch that leads to the point, and remains in force until the next sign of its
//! kind, even past stops.

/// A point in metres east and north of the depot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub east_m: f64,
    pub north_m: f64,
}

impl Point {
    /// Returns the offset from here to `to`: metres east and north.
    pub(super) fn offset_to(self, to: Self) -> (f64, f64) {
        (to.east_m - self.east_m, to.north_m - self.north_m)
    }

    /// Returns the distance from here to `to`, in metres.
    pub(super) fn distance_m(self, to: Self) -> f64 {
        let (east, north) = self.offset_to(to);
        (east * east + north * north).sqrt()
    }

    /// Returns the point at this fraction of the line to `to`.
    pub(super) fn interpolate(self, to: Self, part: f64) -> Self {
        let (east, north) = self.offset_to(to);
        Self { east_m: self.east_m + east * part, north_m: self.north_m + north * part }
    }
}

/// Obstruction between the van and the sky.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surroundings {
    /// None: `open`.
    #[default]
    Open,
    /// Buildings, which weaken and reflect the signals: `urban`.
    Urban,
    /// Complete: `tunnel`.
    Tunnel,
}

/// A point of the road, with the signs of the stretch that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoadPoint {
    pub point: Point,
    /// The speed limit in metres per second.
    pub limit_mps: f64,
    pub surroundings: Surroundings,
}

/// The signs in force at the end of the last road.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoadSigns {
    limit_mps: f64,
    surroundings: Surroundings,
}

impl Default for RoadSigns {
    /// 50 km/h under the open sky, until a sign changes it.
    fn default() -> Self {
        Self { limit_mps: 50.0 / 3.6, surroundings: Surroundings::Open }
    }
}

impl RoadSigns {
    /// Maximum points per road: a page of text, and a bound on the memory of a leg.
    const MAX_POINTS: usize = 200;
    /// Maximum distance from the depot in metres: a day's range, and the limit of the flat-earth
    /// projection.
    const MAX_OFFSET_M: f64 = 100_000.0;

    /// Parses one road. Reports each invalid token to `problem`.
    pub(super) fn parse(&mut self, way: &str, mut problem: impl FnMut(String)) -> Vec<RoadPoint> {
        let mut marks = Vec::new();
        for word in way.split_whitespace() {
            match self.parse_token(word) {
                Ok(Some(mark)) => marks.push(mark),
                Ok(None) => {}
                Err(text) => problem(text),
            }
        }
        if marks.len() > Self::MAX_POINTS {
            problem(format!("{} points, limit {}: split it", marks.len(), Self::MAX_POINTS));
            marks.truncate(Self::MAX_POINTS);
        }
        marks
    }

    fn parse_token(&mut self, word: &str) -> Result<Option<RoadPoint>, String> {
        match word {
            "open" => self.surroundings = Surroundings::Open,
            "urban" => self.surroundings = Surroundings::Urban,
            "tunnel" => self.surroundings = Surroundings::Tunnel,
            _ if word.ends_with("km/h") => self.limit_mps = limit_mps(word)?,
            _ => {
                let point = point(word)?;
                let Self { limit_mps, surroundings } = *self;
                return Ok(Some(RoadPoint { point, limit_mps, surroundings }));
            }
        }
        Ok(None)
    }
}

fn limit_mps(word: &str) -> Result<f64, String> {
    let kmh = word.trim_end_matches("km/h").parse::<u8>().ok();
    let kmh = kmh.filter(|kmh| (5..=130).contains(kmh));
    kmh.map(|kmh| f64::from(kmh) / 3.6).ok_or_else(|| {
        format!("`{word}` is not a speed limit: write a whole number in 5..=130, as in `50km/h`")
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
    if point.east_m.abs().max(point.north_m.abs()) > RoadSigns::MAX_OFFSET_M {
        return Err(format!("`{word}` is more than 100 km from the depot"));
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_holds_until_the_next_of_its_kind_also_past_a_stop() {
        let mut signs = RoadSigns::default();
        let problem = |text: String| panic!("{text}");
        let first = signs.parse("urban 36km/h 0,10 tunnel 5,-20", problem);
        let next = signs.parse("72km/h 1,2", problem);
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
            let marks = RoadSigns::default().parse(word, |text| problems.push(text));
            assert!(marks.is_empty() && problems.len() == 1, "{word}: {problems:?}");
            assert!(problems[0].contains(word), "{problems:?}");
        }
    }
}
