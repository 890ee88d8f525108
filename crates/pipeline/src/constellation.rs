//! Satellite constellations, numbered as in NMEA 0183.

/// A satellite constellation, numbered as in NMEA 0183 v4.11 (GNSS system id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constellation {
    /// 1.
    Gps,
    /// 2.
    Glonass,
    /// 3.
    Galileo,
    /// 4.
    Beidou,
    /// 5.
    Qzss,
    /// 6.
    Navic,
}

impl Constellation {
    pub(super) const ALL: [Self; 6] =
        [Self::Gps, Self::Glonass, Self::Galileo, Self::Beidou, Self::Qzss, Self::Navic];

    /// The value in the `state` message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gps => "gps",
            Self::Glonass => "glonass",
            Self::Galileo => "galileo",
            Self::Beidou => "beidou",
            Self::Qzss => "qzss",
            Self::Navic => "navic",
        }
    }

    /// Parses a GNSS system id, 1..=6.
    pub(super) const fn from_system_id(id: &str) -> Option<Self> {
        match id.as_bytes() {
            b"1" => Some(Self::Gps),
            b"2" => Some(Self::Glonass),
            b"3" => Some(Self::Galileo),
            b"4" => Some(Self::Beidou),
            b"5" => Some(Self::Qzss),
            b"6" => Some(Self::Navic),
            _ => None,
        }
    }

    /// Maps a talker. Returns `None` for `GN` and for devices that are not receivers.
    pub(super) const fn from_talker(talker: [u8; 2]) -> Option<Self> {
        match &talker {
            b"GP" => Some(Self::Gps),
            b"GL" => Some(Self::Glonass),
            b"GA" => Some(Self::Galileo),
            b"GB" | b"BD" => Some(Self::Beidou),
            b"GQ" | b"QZ" | b"PQ" => Some(Self::Qzss),
            b"GI" => Some(Self::Navic),
            _ => None,
        }
    }

    /// Maps a satellite number from `GSA`, for receivers without system ids. SBAS belongs to no
    /// constellation.
    pub(super) const fn from_satellite_number(number: u16) -> Option<Self> {
        match number {
            1..=32 => Some(Self::Gps),
            65..=96 => Some(Self::Glonass),
            193..=200 => Some(Self::Qzss),
            201..=237 | 401..=437 => Some(Self::Beidou),
            301..=336 => Some(Self::Galileo),
            _ => None,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// A set of constellations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Constellations(u8);

impl Constellations {
    /// Adds `constellation`.
    #[must_use]
    pub(super) const fn with(self, constellation: Constellation) -> Self {
        Self(self.0 | 1 << constellation.index())
    }

    /// Iterates in the order of system ids.
    pub fn iter(self) -> impl Iterator<Item = Constellation> {
        Constellation::ALL.into_iter().filter(move |one| self.0 & 1 << one.index() != 0)
    }
}
