//! Satellite model: positions, signal strengths, the satellites in use, and the dilutions of
//! precision.
//!
//! The orbits are circles with the real inclinations, radii and periods, but evenly spaced. There
//! is no almanac, so the positions of individual satellites are fictitious. The dilutions of
//! precision follow from the geometry of the satellites in use.

use std::f64::consts::TAU;

use super::random::{GaussMarkov, Random, Stream};
use super::road::Surroundings;
use waypost_model::units::{EARTH_RADIUS_M, Position};

/// A constellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Gps,
    Glonass,
    Galileo,
}

impl System {
    /// Returns the talker of its GSV sentences.
    pub(super) const fn talker(self) -> &'static str {
        match self {
            Self::Gps => "GP",
            Self::Glonass => "GL",
            Self::Galileo => "GA",
        }
    }

    /// Returns the GNSS system identifier (NMEA 0183 v4.11, GSA field 18).
    pub(super) const fn id(self) -> u8 {
        match self {
            Self::Gps => 1,
            Self::Glonass => 2,
            Self::Galileo => 3,
        }
    }

    /// Returns the signal identifier of L1 C/A or E1 (NMEA 0183 v4.11, last field of GSV).
    pub(super) const fn signal(self) -> u8 {
        match self {
            Self::Gps | Self::Glonass => 1,
            Self::Galileo => 7,
        }
    }

    const fn orbits(self) -> Orbits {
        match self {
            Self::Gps => Orbits::new(1, 6, 5, 55.0, 26.56e6, 43_082.0),
            Self::Glonass => Orbits::new(65, 3, 8, 64.8, 25.51e6, 40_544.0),
            Self::Galileo => Orbits::new(1, 3, 8, 56.0, 29.60e6, 50_685.0),
        }
    }
}

/// Evenly spaced satellites on evenly spaced planes.
#[derive(Clone, Copy, Debug)]
struct Orbits {
    first: u8,
    planes: u8,
    per_plane: u8,
    inclination_deg: f64,
    radius_m: f64,
    period_s: f64,
}

impl Orbits {
    const fn new(
        first: u8,
        planes: u8,
        per_plane: u8,
        inclination_deg: f64,
        radius_m: f64,
        period_s: f64,
    ) -> Self {
        Self { first, planes, per_plane, inclination_deg, radius_m, period_s }
    }

    /// Returns the position of the `index`th satellite in earth-centred, earth-fixed metres.
    fn position(&self, index: u8, unix_s: f64) -> [f64; 3] {
        const SIDEREAL_DAY_S: f64 = 86_164.1;
        let (plane, slot) = (f64::from(index / self.per_plane), f64::from(index % self.per_plane));
        let (planes, slots) = (f64::from(self.planes), f64::from(self.per_plane));
        // Planes are offset by a third of a slot, so that their satellites do not rise
        // simultaneously.
        let in_orbit = TAU * ((unix_s / self.period_s).fract() + (slot + plane / 3.0) / slots);
        let node = TAU * (plane / planes - (unix_s / SIDEREAL_DAY_S).fract());
        let (sin_u, cos_u) = in_orbit.sin_cos();
        let (sin_node, cos_node) = node.sin_cos();
        let (sin_i, cos_i) = self.inclination_deg.to_radians().sin_cos();
        [
            self.radius_m * (cos_node * cos_u - sin_node * sin_u * cos_i),
            self.radius_m * (sin_node * cos_u + cos_node * sin_u * cos_i),
            self.radius_m * sin_u * sin_i,
        ]
    }
}

/// A satellite above the horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Satellite {
    pub(super) system: System,
    pub(super) number: u8,
    pub(super) elevation_deg: f64,
    pub(super) azimuth_deg: f64,
    /// Carrier to noise in dB-Hz, if it is received.
    pub(super) snr_db: Option<f64>,
    pub(super) used: bool,
}

/// Dilutions of precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dops {
    pub(super) pdop: f64,
    pub(super) hdop: f64,
    pub(super) vdop: f64,
}

/// The satellites in view of the antenna.
#[derive(Clone, Debug, Default)]
pub(super) struct SkyView {
    pub(super) satellites: Vec<Satellite>,
    /// Dilutions of the satellites in use, if they suffice for a fix.
    pub(super) dops: Option<Dops>,
}

/// All satellites of the receiver's constellations, with the fading of their signals.
#[derive(Debug)]
pub(super) struct Sky {
    random: Random,
    antenna: Antenna,
    satellites: Vec<(System, u8, GaussMarkov)>,
}

impl Sky {
    const HORIZON_DEG: f64 = 3.0;
    /// Below this signal strength, a satellite is in view but not received.
    const MIN_TRACKED_DB: f64 = 13.0;
    const MIN_USED_DB: f64 = 21.0;
    const MIN_USED_ELEVATION_DEG: f64 = 7.0;
    /// GSA has twelve fields.
    const MAX_USED: usize = 12;
    /// Correlation time of the fading by buildings, in seconds.
    const FADING_S: f64 = 8.0;

    pub(super) fn new(seed: u64, systems: &[System], at: Position) -> Self {
        let mut random = Random::new(seed, Stream::Sky);
        let mut satellites = Vec::new();
        for &system in systems {
            let orbits = system.orbits();
            for index in 0..orbits.planes * orbits.per_plane {
                satellites.push((system, index, GaussMarkov::new(Self::FADING_S, &mut random)));
            }
        }
        Self { random, antenna: Antenna::new(at), satellites }
    }

    /// Computes the satellites in view; must be called once per second.
    pub(super) fn observe(&mut self, unix_s: f64, surroundings: Surroundings) -> SkyView {
        let mut satellites = Vec::new();
        for (system, index, fading) in &mut self.satellites {
            fading.step(&mut self.random);
            let orbits = system.orbits();
            let (elevation_deg, azimuth_deg) =
                self.antenna.line_of_sight(orbits.position(*index, unix_s));
            if elevation_deg < Self::HORIZON_DEG {
                continue;
            }
            let snr_db = snr_db(elevation_deg, fading.value(), surroundings);
            let used = elevation_deg >= Self::MIN_USED_ELEVATION_DEG && snr_db >= Self::MIN_USED_DB;
            satellites.push(Satellite {
                system: *system,
                number: orbits.first + *index,
                elevation_deg,
                azimuth_deg,
                snr_db: Some(snr_db).filter(|snr| *snr >= Self::MIN_TRACKED_DB),
                used,
            });
        }
        drop_surplus(&mut satellites);
        let dops = dops(&satellites);
        SkyView { satellites, dops }
    }
}

/// Limits each constellation to twelve channels.
fn drop_surplus(satellites: &mut [Satellite]) {
    for system in [System::Gps, System::Glonass, System::Galileo] {
        let used = satellites.iter_mut().filter(|one| one.system == system && one.used);
        used.skip(Sky::MAX_USED).for_each(|one| one.used = false);
    }
}

/// Returns the signal strength: 28 dB-Hz at the horizon to 48 overhead; buildings attenuate low
/// satellites most.
fn snr_db(elevation_deg: f64, fading: f64, surroundings: Surroundings) -> f64 {
    let height = elevation_deg.to_radians().sin();
    match surroundings {
        Surroundings::Open => 28.0 + 20.0 * height + 1.5 * fading,
        // The highest satellites remain in use, because a street is open to the sky.
        Surroundings::Urban if height > 0.85 => (36.0 + 4.0 * fading).max(Sky::MIN_USED_DB),
        Surroundings::Urban => 12.0 + 30.0 * height + 4.0 * fading,
        Surroundings::Tunnel => 0.0,
    }
    .clamp(0.0, 54.0)
}

/// A position on the ground, and its local axes.
#[derive(Debug)]
struct Antenna {
    position: [f64; 3],
    east: [f64; 3],
    north: [f64; 3],
    up: [f64; 3],
}

impl Antenna {
    fn new(at: Position) -> Self {
        let (sin_lat, cos_lat) = at.lat_deg().to_radians().sin_cos();
        let (sin_lon, cos_lon) = at.lon_deg().to_radians().sin_cos();
        let up = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat];
        Self {
            position: up.map(|part| part * EARTH_RADIUS_M),
            east: [-sin_lon, cos_lon, 0.0],
            north: [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            up,
        }
    }

    /// Returns elevation and azimuth in degrees.
    fn line_of_sight(&self, satellite: [f64; 3]) -> (f64, f64) {
        let along = |axis: &[f64; 3]| {
            (0..3).map(|i| axis[i] * (satellite[i] - self.position[i])).sum::<f64>()
        };
        let (east, north, up) = (along(&self.east), along(&self.north), along(&self.up));
        let flat = (east * east + north * north).sqrt();
        (up.atan2(flat).to_degrees(), east.atan2(north).to_degrees().rem_euclid(360.0))
    }
}

/// Returns the square roots of the diagonal of (GᵀG)⁻¹. Each row of G is a line of sight and the
/// clock.
fn dops(satellites: &[Satellite]) -> Option<Dops> {
    let mut normal = [[0.0; 4]; 4];
    let mut used = 0;
    for satellite in satellites.iter().filter(|satellite| satellite.used) {
        let (sin_el, cos_el) = satellite.elevation_deg.to_radians().sin_cos();
        let (sin_az, cos_az) = satellite.azimuth_deg.to_radians().sin_cos();
        let row = [cos_el * sin_az, cos_el * cos_az, sin_el, 1.0];
        for (i, line) in normal.iter_mut().enumerate() {
            line.iter_mut().zip(row).for_each(|(sum, part)| *sum += row[i] * part);
        }
        used += 1;
    }
    let [east, north, up, _] = inverse_diagonal(normal).filter(|_| used >= 4)?;
    let dops =
        Dops { pdop: (east + north + up).sqrt(), hdop: (east + north).sqrt(), vdop: up.sqrt() };
    (dops.pdop < 20.0).then_some(dops)
}

/// Returns the diagonal of the inverse of a symmetric positive definite matrix (Gauss-Jordan).
/// `None` if it is singular.
fn inverse_diagonal(mut left: [[f64; 4]; 4]) -> Option<[f64; 4]> {
    let mut right: [[f64; 4]; 4] =
        std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
    for pivot in 0..4 {
        let scale = left[pivot][pivot];
        if scale < 1e-9 {
            return None;
        }
        for column in 0..4 {
            left[pivot][column] /= scale;
            right[pivot][column] /= scale;
        }
        for row in (0..4).filter(|row| *row != pivot) {
            let factor = left[row][pivot];
            for column in 0..4 {
                left[row][column] -= factor * left[pivot][column];
                right[row][column] -= factor * right[pivot][column];
            }
        }
    }
    Some(std::array::from_fn(|i| right[i][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_sky_is_plausible_in_the_open_and_worse_in_town() {
        let at = Position::from_degrees(48.0, 9.0).unwrap();
        let systems = [System::Gps, System::Glonass, System::Galileo];
        let mut sky = Sky::new(1, &systems, at);
        let mut sum = [0.0; 2];
        for minute in 0..1440 {
            let unix_s = 1_795_415_400.0 + f64::from(minute) * 60.0;
            for (kind, surroundings) in
                [Surroundings::Open, Surroundings::Urban].into_iter().enumerate()
            {
                let view = sky.observe(unix_s, surroundings);
                let dops = view.dops.expect("a street is open to the sky");
                assert!(dops.hdop > 0.3 && dops.pdop > dops.hdop.max(dops.vdop), "{dops:?}");
                sum[kind] += dops.hdop;
            }
        }
        let [open, urban] = sum.map(|sum| sum / 1440.0);
        assert!((0.4..1.0).contains(&open) && urban > 1.2 * open, "HDOP {open}, {urban}");
    }

    #[test]
    fn gps_alone_shows_a_usual_number_of_satellites() {
        let at = Position::from_degrees(48.0, 9.0).unwrap();
        let mut sky = Sky::new(1, &[System::Gps], at);
        for hour in 0..24 {
            let view = sky.observe(f64::from(hour) * 3600.0, Surroundings::Open);
            assert!((7..=14).contains(&view.satellites.len()), "{}", view.satellites.len());
            let view = sky.observe(f64::from(hour) * 3600.0, Surroundings::Tunnel);
            assert!(view.dops.is_none() && view.satellites.iter().all(|one| one.snr_db.is_none()));
        }
    }
}
