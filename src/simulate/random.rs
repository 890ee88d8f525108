//! Seed → numbers: the same on every platform and in every version of the toolchain.
//!
//! Integers and IEEE 754 addition, multiplication and square root only, which are exact everywhere. Each part of the
//! simulation draws from a stream of its own, so that another receiver or rate does not change the drive.

/// A part of the simulation that draws numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// What the driver does.
    Drive = 1,
    /// The error of the position.
    Error = 2,
    /// Signal strengths.
    Sky = 3,
    /// Bytes that the line spoils.
    Line = 4,
    /// What is on board, and what becomes of it.
    Parcels = 5,
    /// When the driver scans what.
    Scans = 6,
    /// When a radio tag is read.
    Tags = 7,
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        let mut random = Self(seed ^ (stream as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in 0..1.
    pub(super) fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("32 bits are left");
        f64::from(bits) / 4_294_967_296.0
    }

    /// Evenly in `from..to`.
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// True in this share of the calls.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Evenly one of `0..count`; `count` must be above 0.
    pub(super) fn index(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("a length fits");
        usize::try_from(self.next() % count).expect("it is below a length")
    }

    /// Near enough to a standard normal: the sum of twelve (Irwin–Hall) needs no logarithm, and ends at ±6.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A value that wanders about zero and forgets: a first-order Gauss-Markov process with a standard deviation of 1.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    value: f64,
    /// What of the value is left after a step.
    kept: f64,
    /// What is added in a step.
    fresh: f64,
}

impl Wander {
    /// Forgets within about `steps` steps.
    pub(super) fn new(steps: f64, random: &mut Random) -> Self {
        let kept = 1.0 - 1.0 / steps;
        Self { value: random.normal(), kept, fresh: (1.0 - kept * kept).sqrt() }
    }

    pub(super) fn step(&mut self, random: &mut Random) {
        self.value = self.kept * self.value + self.fresh * random.normal();
    }

    pub(super) const fn value(&self) -> f64 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_in_every_version() {
        let mut random = Random(0);
        assert_eq!(random.next(), 0xE220_A839_7B1D_CDAF, "SplitMix64's published first value");
    }

    #[test]
    fn a_wander_has_the_deviation_it_promises() {
        let mut random = Random::new(1, Stream::Error);
        let mut wander = Wander::new(100.0, &mut random);
        let mut squares = 0.0;
        for _ in 0..1_000_000 {
            wander.step(&mut random);
            squares += wander.value() * wander.value();
        }
        assert!((0.9..1.1).contains(&(squares / 1e6)), "{}", squares / 1e6);
    }
}
