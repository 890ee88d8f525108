//! Adaptive Golomb-Rice code for small integers, as in FLAC and JPEG-LS for prediction residuals.
//! No I/O.
//!
//! A value near the recent mean takes few bits, and a constant value takes one bit. Encoder and
//! decoder adapt to the same values, so that no model parameters are stored.

/// Length of the unary prefix at which a value is written in full instead.
const ESCAPE: u32 = 10;

/// Number of bits for the length of a value written in full.
const LENGTH_BITS: u32 = 6;

/// Window of the mean, in values. A longer window adapts more slowly.
const MEAN_WINDOW: u32 = 24;

/// Upper limit of a sample in the mean, so that one outlier does not lengthen the following codes.
const MAX_SAMPLE: u32 = 1 << 12;

/// The bits end before the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected end")]
pub(super) struct UnexpectedEnd;

/// Running mean of one kind of value.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdaptiveMean {
    sum: u32,
    count: u32,
}

impl AdaptiveMean {
    /// Starts with an assumed mean.
    pub(super) const fn starting_at(value: u32) -> Self {
        Self { sum: value, count: 1 }
    }

    /// Returns the number of bits that are written verbatim: the Rice parameter.
    fn low_bits(self) -> u32 {
        (0..31).find(|bits| (self.count << bits) >= self.sum).unwrap_or(31)
    }

    fn update(&mut self, value: u64) {
        self.sum += u32::try_from(value).unwrap_or(u32::MAX).min(MAX_SAMPLE);
        self.count += 1;
        if self.count >= MEAN_WINDOW {
            (self.sum, self.count) = (self.sum / 2, self.count / 2);
        }
    }
}

/// Encodes or decodes one value. The predictor is written once for both directions, so that they
/// cannot differ.
pub(super) trait ResidualCoder {
    /// Codes a residual. An encoder writes `value`; a decoder ignores it and returns the decoded
    /// one.
    fn residual(&mut self, usual: &mut AdaptiveMean, value: i64) -> Result<i64, UnexpectedEnd>;
    /// Codes a flag. An encoder writes `flag`; a decoder ignores it and returns the decoded one.
    fn flag(&mut self, flag: bool) -> Result<bool, UnexpectedEnd>;
}

/// Position in the bits, for rollback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checkpoint {
    bytes: usize,
    pending: u64,
    count: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the incomplete byte, oldest first in the highest bits.
    pending: u64,
    count: u32,
}

impl BitWriter {
    /// Returns the number of bytes, including the incomplete one.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + usize::from(self.count > 0)
    }

    /// Returns the current position.
    pub(super) const fn checkpoint(&self) -> Checkpoint {
        Checkpoint { bytes: self.bytes.len(), pending: self.pending, count: self.count }
    }

    /// Discards everything written since `mark`.
    pub(super) fn rewind(&mut self, mark: Checkpoint) {
        self.bytes.truncate(mark.bytes);
        (self.pending, self.count) = (mark.pending, mark.count);
    }

    /// Appends the bytes to `out`, the last one padded with zeros.
    pub(super) fn extend(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        if self.count > 0 {
            out.push(low_byte(self.pending << (8 - self.count)));
        }
    }

    /// Writes the low `count` bits of `bits`, at most 56.
    fn write_bits(&mut self, bits: u64, count: u32) {
        self.pending = self.pending << count | bits & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push(low_byte(self.pending >> self.count));
        }
    }
}

fn low_byte(bits: u64) -> u8 {
    bits.to_le_bytes()[0]
}

impl ResidualCoder for BitWriter {
    fn residual(&mut self, usual: &mut AdaptiveMean, value: i64) -> Result<i64, UnexpectedEnd> {
        let code = zigzag(value);
        let low = usual.low_bits();
        match u32::try_from(code >> low) {
            Ok(high) if high < ESCAPE => {
                self.write_bits(((1 << high) - 1) << 1, high + 1);
                self.write_bits(code, low);
            }
            _ => {
                let length = 64 - (code | 1).leading_zeros();
                self.write_bits((1 << ESCAPE) - 1, ESCAPE);
                self.write_bits(u64::from(length - 1), LENGTH_BITS);
                self.write_bits(code >> 32, length.saturating_sub(32));
                self.write_bits(code, length.min(32));
            }
        }
        usual.update(code);
        Ok(value)
    }

    fn flag(&mut self, flag: bool) -> Result<bool, UnexpectedEnd> {
        self.write_bits(u64::from(flag), 1);
        Ok(flag)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    pending: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pending: 0, count: 0 }
    }

    /// Returns whether everything was read except the padding of the last byte.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.bytes.is_empty() && self.count < 8
    }

    /// Reads the next `count` bits, at most 32.
    fn read_bits(&mut self, count: u32) -> Result<u64, UnexpectedEnd> {
        while self.count < count {
            let (first, rest) = self.bytes.split_first().ok_or(UnexpectedEnd)?;
            self.pending = self.pending << 8 | u64::from(*first);
            (self.bytes, self.count) = (rest, self.count + 8);
        }
        self.count -= count;
        Ok(self.pending >> self.count & ((1 << count) - 1))
    }
}

impl ResidualCoder for BitReader<'_> {
    fn residual(&mut self, usual: &mut AdaptiveMean, _: i64) -> Result<i64, UnexpectedEnd> {
        let mut high = 0;
        while high < ESCAPE && self.read_bits(1)? == 1 {
            high += 1;
        }
        let code = if high < ESCAPE {
            let low = usual.low_bits();
            u64::from(high) << low | self.read_bits(low)?
        } else {
            let length = u32::try_from(self.read_bits(LENGTH_BITS)?).unwrap_or(0) + 1;
            self.read_bits(length.saturating_sub(32))? << length.min(32)
                | self.read_bits(length.min(32))?
        };
        usual.update(code);
        Ok(unzigzag(code))
    }

    fn flag(&mut self, _: bool) -> Result<bool, UnexpectedEnd> {
        Ok(self.read_bits(1)? == 1)
    }
}

/// Maps 0, −1, 1, −2, … to 0, 1, 2, 3, …
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
            let (mut writer, mut usual) = (BitWriter::default(), AdaptiveMean::starting_at(8));
            for value in &values {
                writer.residual(&mut usual, *value).unwrap();
                writer.flag(value % 3 == 0).unwrap();
            }
            let mut bytes = Vec::new();
            writer.extend(&mut bytes);
            prop_assert_eq!(bytes.len(), writer.len());
            let (mut reader, mut usual) = (BitReader::new(&bytes), AdaptiveMean::starting_at(8));
            for value in &values {
                prop_assert_eq!(reader.residual(&mut usual, 0), Ok(*value));
                prop_assert_eq!(reader.flag(false), Ok(value % 3 == 0));
            }
            prop_assert!(reader.is_exhausted());
        }
    }

    #[test]
    fn what_is_as_usual_takes_a_bit() {
        let (mut writer, mut usual) = (BitWriter::default(), AdaptiveMean::starting_at(0));
        for _ in 0..800 {
            writer.residual(&mut usual, 0).unwrap();
        }
        assert_eq!(writer.len(), 100);
    }
}
