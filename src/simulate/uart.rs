//! Bytes on a line → what a UART of another speed makes of them.
//!
//! The line is high when it rests. A byte is a low start bit, eight data bits with the lowest first, and a high stop bit.
//! The reader waits for the line to fall, and then looks at it in the middle of each of *its* bits; that is why a wrong
//! speed gives bytes that are wrong, too many or too few, and why some sentences of a nearly right speed survive.

/// Start bit, eight bits, stop bit.
const FRAME_BITS: u64 = 10;

/// What a reader at `heard_baud` reads of `bytes` that were sent without a pause at `sent_baud`. Both speeds above 0.
///
/// As Linux gives it to a raw tty: a byte whose stop bit was missing is handed on as it was seen.
pub(crate) fn as_heard(bytes: &[u8], sent_baud: u32, heard_baud: u32) -> Vec<u8> {
    if sent_baud == heard_baud {
        return bytes.to_vec();
    }
    let line = Line { bytes, sent: u64::from(sent_baud), heard: u64::from(heard_baud) };
    let mut heard = Vec::new();
    let mut at = 0;
    while let Some(start) = line.next_fall(at) {
        let bits = (1..=8).map(|bit| line.is_high(start + line.middle_of(bit)));
        heard.push(bits.enumerate().fold(0, |byte, (bit, high)| byte | u8::from(high) << bit));
        // The stop bit is over half-way: from there on, the next fall is the next start.
        at = line.next_rest(start + line.middle_of(FRAME_BITS - 1));
    }
    heard
}

/// Time is counted in parts of a bit, of which a sent bit has `heard` and a heard bit has `sent`: so all of it is whole.
struct Line<'a> {
    bytes: &'a [u8],
    sent: u64,
    heard: u64,
}

impl Line<'_> {
    fn middle_of(&self, heard_bit: u64) -> u64 {
        heard_bit * self.sent + self.sent / 2
    }

    /// The bit on the line; high after the end.
    fn bit(&self, number: u64) -> bool {
        let byte = usize::try_from(number / FRAME_BITS).ok().and_then(|at| self.bytes.get(at));
        match (byte, number % FRAME_BITS) {
            (None, _) | (Some(_), 9) => true,
            (Some(_), 0) => false,
            (Some(byte), bit) => byte >> (bit - 1) & 1 == 1,
        }
    }

    fn is_high(&self, at: u64) -> bool {
        self.bit(at / self.heard)
    }

    /// The first time from `at` on at which the line falls from high to low.
    fn next_fall(&self, at: u64) -> Option<u64> {
        let first = at / self.heard;
        let bits = self.bytes.len() as u64 * FRAME_BITS;
        (first..bits)
            .find(|&bit| {
                !self.bit(bit) && (bit == 0 || self.bit(bit - 1)) && bit * self.heard >= at
            })
            .map(|bit| bit * self.heard)
    }

    /// The first time from `at` on at which the line is high.
    fn next_rest(&self, at: u64) -> u64 {
        let mut bit = at / self.heard;
        if self.bit(bit) {
            return at;
        }
        while !self.bit(bit) {
            bit += 1;
        }
        bit * self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &[u8] = b"$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n";

    #[test]
    fn the_right_speed_is_heard_as_it_was_sent() {
        assert_eq!(as_heard(SENTENCE, 9600, 9600), SENTENCE);
        // A crystal that is 2 % off is still understood.
        assert_eq!(as_heard(SENTENCE, 10_000, 9_800), SENTENCE);
        assert_eq!(as_heard(SENTENCE, 9_800, 10_000), SENTENCE);
    }

    #[test]
    fn a_wrong_speed_gives_what_a_real_line_gives() {
        assert_eq!(as_heard(b"\x00", 9600, 115_200), [0]);
        assert_eq!(as_heard(b"\xff", 9600, 19_200), [0b1111_1110]);
        let speeds = [4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];
        for sent in speeds {
            for heard in speeds.into_iter().filter(|heard| *heard != sent) {
                let bytes = as_heard(SENTENCE, sent, heard);
                assert!(!bytes.is_empty() && bytes.len() <= 5 * SENTENCE.len());
                assert!(!bytes.windows(5).any(|part| part == b"GPGSA"), "{sent} {heard}");
                assert!(bytes.iter().any(|byte| *byte >= 0x80 || *byte == 0), "{sent} {heard}");
            }
        }
    }
}
