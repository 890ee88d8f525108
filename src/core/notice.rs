//! `TXT` → what the receiver has to say about itself: its antenna, interference, a line that is too slow.

use std::fmt;
use std::time::Duration;

use crate::units::Uptime;

/// A receiver's words: printable ASCII, at most [`Self::MAX_BYTES`] of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; Self::MAX_BYTES],
    len: u8,
}

impl Words {
    /// NMEA 0183 §TXT allows 61 characters.
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

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// One `TXT` sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Txt {
    /// Field 3: 00 error, 01 warning, 02 notice, 07 user.
    pub kind: Option<u8>,
    /// Field 4.
    pub words: Words,
}

/// What a receiver knows of its antenna.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Antenna {
    /// It draws current as it should.
    Ok,
    /// No current: the cable is broken, the plug is out, or the antenna is a passive one.
    Open,
    /// Too much current: the cable is crushed, or water is in it.
    Short,
}

impl Antenna {
    /// As it is written in `state`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Open => "open",
            Self::Short => "short",
        }
    }

    /// u-blox and Quectel say `ANTSTATUS=OPEN`, Allystar and Airoha `ANTENNA OPEN`.
    fn of(words: &str) -> Option<Self> {
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

/// What a receiver has said about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// The antenna, if the receiver watches it.
    pub antenna: Option<Antenna>,
    /// Its newest error or warning, and when it came.
    pub warning: Option<(Words, Uptime)>,
}

impl Notices {
    /// What was said once, and not again for so long, is over.
    const WARNING_HOLDS: Duration = Duration::from_mins(10);

    /// What still holds.
    pub(super) fn at(self, now: Uptime) -> Self {
        let warning = self.warning.filter(|(_, said)| now.since(*said) <= Self::WARNING_HOLDS);
        Self { warning, ..self }
    }

    /// Takes one sentence; whether it changed something.
    pub(super) fn observe(&mut self, txt: &Txt, at: Uptime) -> bool {
        let before = *self;
        let words = txt.words.as_str().to_ascii_uppercase();
        let antenna = Antenna::of(&words);
        self.antenna = antenna.or(self.antenna);
        let speaks_of_trouble = matches!(txt.kind, Some(0 | 1))
            || ["JAM", "SPOOF", "INTERFERENCE"].iter().any(|word| words.contains(word));
        if antenna.is_none() && speaks_of_trouble {
            self.warning = Some((txt.words, at));
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
        let mut notices = Notices::default();
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
        let words = Words::new(&"x\u{7f}\u{e9}".repeat(100));
        assert_eq!(words.as_str(), "x".repeat(Words::MAX_BYTES));
    }
}
