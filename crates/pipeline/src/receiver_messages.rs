//! Receiver diagnosis from `TXT` sentences: antenna state, interference, overloaded serial line.

use std::fmt;
use std::time::Duration;

use waypost_model::units::Uptime;

/// Text from a receiver: at most [`Self::MAX_BYTES`] bytes of printable ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BoundedText {
    bytes: [u8; Self::MAX_BYTES],
    len: u8,
}

impl BoundedText {
    /// Maximum length of an NMEA 0183 `TXT` text.
    pub const MAX_BYTES: usize = 61;

    pub(super) fn new(text: &str) -> Self {
        let mut words = Self { bytes: [0; Self::MAX_BYTES], len: 0 };
        let printable = text.bytes().filter(|byte| matches!(byte, b' '..=b'~'));
        for (slot, byte) in words.bytes.iter_mut().zip(printable) {
            *slot = byte;
            words.len += 1;
        }
        words
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for BoundedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// One `TXT` sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Txt {
    /// Field 3: 00 error, 01 warning, 02 notice, 07 user.
    pub kind: Option<u8>,
    /// Field 4, the text.
    pub text: BoundedText,
}

/// Antenna state reported by the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Antenna {
    /// Normal current.
    Ok,
    /// No current: the cable is broken, the plug is out, or the antenna is passive.
    Open,
    /// Excessive current: the cable is crushed, or water has entered it.
    Short,
}

impl Antenna {
    /// The value in the `state` message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Open => "open",
            Self::Short => "short",
        }
    }

    /// Parses the antenna status. u-blox and Quectel send `ANTSTATUS=OPEN`, Allystar and Airoha
    /// `ANTENNA OPEN`.
    fn from_text(words: &str) -> Option<Self> {
        let (_, status) =
            words.split_once("ANTSTATUS=").or_else(|| words.split_once("ANTENNA "))?;
        match status.trim().split(|byte: char| !byte.is_ascii_alphabetic()).next()? {
            "OK" => Some(Self::Ok),
            "OPEN" => Some(Self::Open),
            "SHORT" => Some(Self::Short),
            _ => None,
        }
    }
}

/// Current diagnosis of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverMessages {
    /// Antenna state, if the receiver monitors it.
    pub antenna: Option<Antenna>,
    /// Newest error or warning and its time.
    pub warning: Option<(BoundedText, Uptime)>,
}

impl ReceiverMessages {
    /// Validity of a warning that is not repeated.
    const WARNING_VALID_FOR: Duration = Duration::from_mins(10);

    /// Returns the messages that are still valid at `now`.
    pub(super) fn at(self, now: Uptime) -> Self {
        let warning = self.warning.filter(|(_, said)| now.since(*said) <= Self::WARNING_VALID_FOR);
        Self { warning, ..self }
    }

    /// Processes one sentence. Returns whether the messages changed.
    pub(super) fn observe(&mut self, txt: &Txt, at: Uptime) -> bool {
        let before = *self;
        let words = txt.text.as_str().to_ascii_uppercase();
        let antenna = Antenna::from_text(&words);
        self.antenna = antenna.or(self.antenna);
        let speaks_of_trouble = matches!(txt.kind, Some(0 | 1))
            || ["JAM", "SPOOF", "INTERFERENCE"].iter().any(|word| words.contains(word));
        if antenna.is_none() && speaks_of_trouble {
            self.warning = Some((txt.text, at));
        }
        before != *self
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentence::Content;
    use super::super::sentence::tests::sentence;
    use super::*;

    fn notices(bodies: &[&str]) -> (Option<Antenna>, String) {
        let mut notices = ReceiverMessages::default();
        for body in bodies {
            let Content::Txt(txt) = sentence(body).content else { panic!("{body}") };
            notices.observe(&txt, Uptime::ZERO);
        }
        (
            notices.antenna,
            notices.warning.map_or(String::new(), |(words, _)| words.as_str().to_owned()),
        )
    }

    #[test]
    fn antenna_and_warnings_are_heard_and_the_boot_banner_is_not() {
        let none = String::new();
        for (bodies, expected) in [
            (vec!["GPTXT,01,01,02,u-blox ag - www.u-blox.com"], (None, none.clone())),
            (vec!["GNTXT,01,01,02,ANTSTATUS=INIT"], (None, none.clone())),
            (vec!["GNTXT,01,01,02,ANTSTATUS=OK"], (Some(Antenna::Ok), none.clone())),
            (vec!["GPTXT,01,01,01,ANTENNA OPEN"], (Some(Antenna::Open), none.clone())),
            (
                vec!["GNTXT,01,01,02,ANTSTATUS=SHORT", "GNTXT,01,01,02,ANTSTATUS=OK"],
                (Some(Antenna::Ok), none),
            ),
            (vec!["GNTXT,01,01,01,txbuf alloc"], (None, "txbuf alloc".to_owned())),
            (vec!["GNTXT,01,01,02,Jamming detected"], (None, "Jamming detected".to_owned())),
        ] {
            assert_eq!(notices(&bodies), expected, "{bodies:?}");
        }
    }

    #[test]
    fn words_are_bounded_and_printable() {
        let words = BoundedText::new(&"x\u{7f}\u{e9}".repeat(100));
        assert_eq!(words.as_str(), "x".repeat(BoundedText::MAX_BYTES));
    }
}
