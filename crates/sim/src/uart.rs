//! Simulates a UART that reads a line at another baud rate.
//!
//! The idle line is high. A byte is a low start bit, eight data bits with the lowest first, and a
//! high stop bit. The reader waits for a falling edge and then samples the line in the middle of
//! each of *its* bits. A wrong rate therefore gives wrong, additional or missing bytes, and some
//! sentences survive at a nearly right rate.

/// Start bit, eight bits, stop bit.
const FRAME_BITS: u64 = 10;

/// Returns the bytes that a reader at `heard_baud` receives for `bytes`, sent without a pause at
/// `sent_baud`. Both rates must be above 0.
///
/// A byte without a stop bit is delivered as sampled, as Linux does for a raw tty.
#[must_use]
pub fn sample_at_baud(bytes: &[u8], sent_baud: u32, heard_baud: u32) -> Vec<u8> {
    if sent_baud == heard_baud {
        return bytes.to_vec();
    }
    let line =
        LineSignal { bytes, sender_baud: u64::from(sent_baud), reader_baud: u64::from(heard_baud) };
    let mut heard = Vec::new();
    let mut at = 0;
    while let Some(start) = line.next_falling_edge(at) {
        let bits = (1..=8).map(|bit| line.is_high(start + line.bit_centre(bit)));
        heard.push(bits.enumerate().fold(0, |byte, (bit, high)| byte | u8::from(high) << bit));
        // The sample of the stop bit is past its middle, so the next falling edge is the next start
        // bit.
        at = line.next_idle(start + line.bit_centre(FRAME_BITS - 1));
    }
    heard
}

/// Time is counted in fractions of a bit: a sent bit has `heard` units and a received bit has
/// `sent`. All times are therefore integers.
struct LineSignal<'a> {
    bytes: &'a [u8],
    sender_baud: u64,
    reader_baud: u64,
}

impl LineSignal<'_> {
    fn bit_centre(&self, heard_bit: u64) -> u64 {
        heard_bit * self.sender_baud + self.sender_baud / 2
    }

    /// Returns the bit on the line; high after the end.
    fn bit(&self, number: u64) -> bool {
        let byte = usize::try_from(number / FRAME_BITS).ok().and_then(|at| self.bytes.get(at));
        match (byte, number % FRAME_BITS) {
            (None, _) | (Some(_), 9) => true,
            (Some(_), 0) => false,
            (Some(byte), bit) => byte >> (bit - 1) & 1 == 1,
        }
    }

    fn is_high(&self, at: u64) -> bool {
        self.bit(at / self.reader_baud)
    }

    /// Returns the time of the first falling edge at or after `at`.
    fn next_falling_edge(&self, at: u64) -> Option<u64> {
        let first = at / self.reader_baud;
        let bits = self.bytes.len() as u64 * FRAME_BITS;
        (first..bits)
            .find(|&bit| {
                !self.bit(bit) && (bit == 0 || self.bit(bit - 1)) && bit * self.reader_baud >= at
            })
            .map(|bit| bit * self.reader_baud)
    }

    /// Returns the first time at or after `at` at which the line is high.
    fn next_idle(&self, at: u64) -> u64 {
        let mut bit = at / self.reader_baud;
        if self.bit(bit) {
            return at;
        }
        while !self.bit(bit) {
            bit += 1;
        }
        bit * self.reader_baud
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &[u8] = b"$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n";

    #[test]
    fn the_right_speed_is_heard_as_it_was_sent() {
        assert_eq!(sample_at_baud(SENTENCE, 9600, 9600), SENTENCE);
        // A crystal that is 2 % off still works.
        assert_eq!(sample_at_baud(SENTENCE, 10_000, 9_800), SENTENCE);
        assert_eq!(sample_at_baud(SENTENCE, 9_800, 10_000), SENTENCE);
    }

    #[test]
    fn a_wrong_speed_gives_what_a_real_line_gives() {
        assert_eq!(sample_at_baud(b"\x00", 9600, 115_200), [0]);
        assert_eq!(sample_at_baud(b"\xff", 9600, 19_200), [0b1111_1110]);
        let speeds = [4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];
        for sent in speeds {
            for heard in speeds.into_iter().filter(|heard| *heard != sent) {
                let bytes = sample_at_baud(SENTENCE, sent, heard);
                assert!(!bytes.is_empty() && bytes.len() <= 5 * SENTENCE.len());
                assert!(!bytes.windows(5).any(|part| part == b"GPGSA"), "{sent} {heard}");
                assert!(bytes.iter().any(|byte| *byte >= 0x80 || *byte == 0), "{sent} {heard}");
            }
        }
    }
}
