//! Small integers ↔ bits: adaptive Golomb-Rice codes, as FLAC and JPEG-LS use them for residuals of a prediction (pure).
//!
//! A value near what was usual lately takes few bits, and one that never differs takes a single one. Both sides adapt by
//! the same values, so nothing of the model is stored.

/// Ones before a value is written out in full: what is further off than this is no usual value.
const ESCAPE: u32 = 10;

/// Bits of the length of a value that is written out.
const LENGTH_BITS: u32 = 6;

/// A usual value changes slowly; so many are remembered.
const REMEMBERED: u32 = 24;

/// One value beyond all others must not make the next ones long.
const COUNTS_AT_MOST: u32 = 1 << 12;

/// The bits have ended before the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ends too early")]
pub(super) struct Ended;

/// What is usual for one kind of value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    sum: u32,
    count: u32,
}

impl Usual {
    /// Begins with a guess.
    pub(super) const fn about(value: u32) -> Self {
        Self { sum: value, count: 1 }
    }

    /// The bits that are written as they are.
    fn low_bits(self) -> u32 {
        (0..31).find(|bits| (self.count << bits) >= self.sum).unwrap_or(31)
    }

    fn learn(&mut self, value: u64) {
        self.sum += u32::try_from(value).unwrap_or(u32::MAX).min(COUNTS_AT_MOST);
        self.count += 1;
        if self.count >= REMEMBERED {
            (self.sum, self.count) = (self.sum / 2, self.count / 2);
        }
    }
}

/// Writes or reads one value: what predicts the values is then written once for both, and cannot differ.
pub(super) trait Coder {
    /// The residual: the given one is written, or ignored and one is read.
    fn residual(&mut self, usual: &mut Usual, value: i64) -> Result<i64, Ended>;
    /// The flag: the given one is written, or ignored and one is read.
    fn flag(&mut self, flag: bool) -> Result<bool, Ended>;
}

/// A place in the bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bytes: usize,
    waiting: u64,
    count: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that wait for their byte, the oldest highest.
    waiting: u64,
    count: u32,
}

impl BitWriter {
    /// Bytes, the open one included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + usize::from(self.count > 0)
    }

    /// Where the writer is.
    pub(super) const fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), waiting: self.waiting, count: self.count }
    }

    /// Takes back what was written since.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        (self.waiting, self.count) = (mark.waiting, mark.count);
    }

    /// The bytes, the last one filled up with zeros.
    pub(super) fn extend(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        if self.count > 0 {
            out.push(low_byte(self.waiting << (8 - self.count)));
        }
    }

    /// The low `count` bits of `bits`, at most 56.
    fn put(&mut self, bits: u64, count: u32) {
        self.waiting = self.waiting << count | bits & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push(low_byte(self.waiting >> self.count));
        }
    }
}

fn low_byte(bits: u64) -> u8 {
    bits.to_le_bytes()[0]
}

impl Coder for BitWriter {
    fn residual(&mut self, usual: &mut Usual, value: i64) -> Result<i64, Ended> {
        let code = zigzag(value);
        let low = usual.low_bits();
        match u32::try_from(code >> low) {
            Ok(high) if high < ESCAPE => {
                self.put(((1 << high) - 1) << 1, high + 1);
                self.put(code, low);
            }
            _ => {
                let length = 64 - (code | 1).leading_zeros();
                self.put((1 << ESCAPE) - 1, ESCAPE);
                self.put(u64::from(length - 1), LENGTH_BITS);
                self.put(code >> 32, length.saturating_sub(32));
                self.put(code, length.min(32));
            }
        }
        usual.learn(code);
        Ok(value)
    }

    fn flag(&mut self, flag: bool) -> Result<bool, Ended> {
        self.put(u64::from(flag), 1);
        Ok(flag)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    waiting: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, waiting: 0, count: 0 }
    }

    /// Whether everything but the filling of the last byte was read.
    pub(super) const fn has_ended(&self) -> bool {
        self.bytes.is_empty() && self.count < 8
    }

    /// The next `count` bits, at most 32.
    fn take(&mut self, count: u32) -> Result<u64, Ended> {
        while self.count < count {
            let (first, rest) = self.bytes.split_first().ok_or(Ended)?;
            self.waiting = self.waiting << 8 | u64::from(*first);
            (self.bytes, self.count) = (rest, self.count + 8);
        }
        self.count -= count;
        Ok(self.waiting >> self.count & ((1 << count) - 1))
    }
}

impl Coder for BitReader<'_> {
    fn residual(&mut self, usual: &mut Usual, _: i64) -> Result<i64, Ended> {
        let mut high = 0;
        while high < ESCAPE && self.take(1)? == 1 {
            high += 1;
        }
        let code = if high < ESCAPE {
            let low = usual.low_bits();
            u64::from(high) << low | self.take(low)?
        } else {
            let length = u32::try_from(self.take(LENGTH_BITS)?).unwrap_or(0) + 1;
            self.take(length.saturating_sub(32))? << length.min(32) | self.take(length.min(32))?
        };
        usual.learn(code);
        Ok(unzigzag(code))
    }

    fn flag(&mut self, _: bool) -> Result<bool, Ended> {
        Ok(self.take(1)? == 1)
    }
}

/// 0, −1, 1, −2, … → 0, 1, 2, 3, …
fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(code: u64) -> i64 {
    (code >> 1).cast_signed() ^ -(code & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(values in proptest::collection::vec(
            prop_oneof![any::<i64>(), -5_i64..5, -3000_i64..3000], 0..200,
        )) {
            let (mut writer, mut usual) = (BitWriter::default(), Usual::about(8));
            for value in &values {
                writer.residual(&mut usual, *value).unwrap();
                writer.flag(value % 3 == 0).unwrap();
            }
            let mut bytes = Vec::new();
            writer.extend(&mut bytes);
            prop_assert_eq!(bytes.len(), writer.len());
            let (mut reader, mut usual) = (BitReader::new(&bytes), Usual::about(8));
            for value in &values {
                prop_assert_eq!(reader.residual(&mut usual, 0), Ok(*value));
                prop_assert_eq!(reader.flag(false), Ok(value % 3 == 0));
            }
            prop_assert!(reader.has_ended());
        }
    }

    #[test]
    fn what_is_as_usual_takes_a_bit() {
        let (mut writer, mut usual) = (BitWriter::default(), Usual::about(0));
        for _ in 0..800 {
            writer.residual(&mut usual, 0).unwrap();
        }
        assert_eq!(writer.len(), 100);
    }
}
