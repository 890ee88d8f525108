//! Random numbers from a seed, identical on every platform and toolchain.
//!
//! Uses integers and IEEE 754 addition, multiplication and square root only, which are exact
//! everywhere. Each part of the simulation has its own stream, so that another receiver or rate
//! does not change the drive.

/// A part of the simulation that draws random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// The drive.
    Drive = 1,
    /// The position error.
    Error = 2,
    /// Signal strengths.
    Sky = 3,
    /// Bytes corrupted on the line.
    Line = 4,
    /// Parcels and their outcomes.
    Parcels = 5,
    /// Times and order of the driver's scans.
    Scans = 6,
    /// Times of RFID reads.
    Tags = 7,
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator with this state. Equal seeds give equal numbers.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

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

    /// Returns a uniform value in 0..1.
    pub fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("32 bits are left");
        f64::from(bits) / 4_294_967_296.0
    }

    /// Returns a uniform value in `from..to`.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// Returns true with this probability.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Returns a uniform value in `0..count`; `count` must be above 0.
    pub(super) fn index(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("a length fits");
        usize::try_from(self.next() % count).expect("it is below a length")
    }

    /// Approximates a standard normal by the sum of twelve uniform values (Irwin–Hall), which needs
    /// no logarithm. The range is ±6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// First-order Gauss-Markov process with mean 0 and standard deviation 1.
#[derive(Clone, Debug)]
pub(super) struct GaussMarkov {
    value: f64,
    /// Factor on the value per step.
    decay: f64,
    /// Factor on the noise added per step.
    noise_gain: f64,
}

impl GaussMarkov {
    /// Creates a process with a correlation time of about `steps` steps.
    pub(super) fn new(steps: f64, random: &mut Random) -> Self {
        let decay = 1.0 - 1.0 / steps;
        Self { value: random.normal(), decay, noise_gain: (1.0 - decay * decay).sqrt() }
    }

    pub(super) fn step(&mut self, random: &mut Random) {
        self.value = self.decay * self.value + self.noise_gain * random.normal();
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
        let mut random = Random::from_seed(0);
        assert_eq!(random.next(), 0xE220_A839_7B1D_CDAF, "SplitMix64's published first value");
    }

    #[test]
    fn a_wander_has_the_deviation_it_promises() {
        let mut random = Random::new(1, Stream::Error);
        let mut wander = GaussMarkov::new(100.0, &mut random);
        let mut squares = 0.0;
        for _ in 0..1_000_000 {
            wander.step(&mut random);
            squares += wander.value() * wander.value();
        }
        assert!((0.9..1.1).contains(&(squares / 1e6)), "{}", squares / 1e6);
    }
}
