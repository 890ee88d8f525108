//! Parses the lines of an RFID reader into [`TagRead`]s by a [`TagPattern`] (sans-I/O).
//!
//! Formats are not guessed: a line that does not match the pattern is invalid.

use std::fmt;

use regex_lite::{Captures, Regex, RegexBuilder};

/// Maximum length of a line; longer ones are not matched.
const MAX_LINE: usize = 512;

/// Maximum size of a compiled pattern in bytes: about 200 characters of regex, or a few repetitions
/// like `{1,100}`.
const MAX_COMPILED: usize = 256 * 1024;

/// Hexadecimal digits of an EPC: 64 to 496 bits, in 16-bit words of the EPC bank (ISO/IEC
/// 18000-63).
const EPC_DIGITS: std::ops::RangeInclusive<usize> = 16..=124;

/// Named patterns for readers in autonomous mode.
const PRESETS: &[(&str, &str)] = &[
    // 3174257BF4499602D2000000, or 3174 257B F449 9602 D200 0000.
    ("bare", r"^(?<epc>[0-9A-Fa-f]{4}( ?[0-9A-Fa-f]{4})*)$"),
    // EPC:3174257BF4499602D2000000,RSSI:-57,ANT:1
    (
        "key-value",
        r"(?i)^EPC[:=](?<epc>[0-9A-F ]+)([,; ]+(RSSI[:=](?<rssi>-?\d+)(\.\d+)?|ANT[:=](?<ant>\d+)|COUNT[:=](?<count>\d+)|\w+[:=][^,;]*))*$",
    ),
    // 3174257BF4499602D2000000;4;-61
    ("count", r"^(?<epc>[0-9A-Fa-f ]+)[;,|\t](?<count>\d+)[;,|\t](?<rssi>-?\d+)(\.\d+)?$"),
    // 6, 1, 4, 3174 257B F449 9602 D200 0000
    ("terse", r"^(?<count>\d+), *(?<ant>\d+), *\d+, *(?<epc>[0-9A-Fa-f ]+)$"),
];

/// Line format of a reader.
#[derive(Clone)]
pub struct TagPattern {
    /// Preset name or regex, as configured.
    text: String,
    regex: Regex,
}

/// A tag as reported by one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TagRead {
    /// EPC in upper-case hexadecimal, in whole 16-bit words.
    pub(super) epc: String,
    /// Signal strength, dBm.
    pub(super) rssi: Option<i8>,
    /// Antenna number of the reader.
    pub(super) antenna: Option<u8>,
    /// Number of reads that this line reports.
    pub(super) count: u32,
}

impl TagPattern {
    /// Names of the preset patterns.
    pub const PRESETS: [&str; 4] = ["bare", "key-value", "count", "terse"];

    /// Creates a pattern from a preset name, or from a regex with a group `epc` and optional groups
    /// `rssi`, `ant` and `count`.
    ///
    /// # Errors
    /// The text is not a preset, or the regex is invalid, too large, or has no group `epc`.
    pub fn new(text: &str) -> Result<Self, String> {
        let preset = PRESETS.iter().find(|(name, _)| *name == text).map(|(_, regex)| *regex);
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if preset.is_none() && is_name(text) {
            return Err(format!(
                "{text:?} is not one of {} and not a regex with a group (?<epc>...)",
                Self::PRESETS.join(", ")
            ));
        }
        let regex = RegexBuilder::new(preset.unwrap_or(text)).size_limit(MAX_COMPILED).build();
        let regex = regex.map_err(|error| format!("{text:?} is not a valid regex: {error}"))?;
        if !regex.capture_names().flatten().any(|name| name == "epc") {
            return Err(format!("{text:?} has no group (?<epc>...) for the EPC of the tag"));
        }
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Parses a line; `None` if it does not match.
    pub(super) fn read(&self, line: &[u8]) -> Option<TagRead> {
        let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_LINE)?;
        let found = self.regex.captures(line)?;
        let epc = epc(found.name("epc")?.as_str())?;
        let count = number(&found, "count").unwrap_or(1).max(1);
        Some(TagRead { epc, rssi: number(&found, "rssi"), antenna: number(&found, "ant"), count })
    }
}

impl Default for TagPattern {
    fn default() -> Self {
        Self::new("bare").expect("each preset is a valid pattern")
    }
}

impl fmt::Debug for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TagPattern").field(&self.text).finish()
    }
}

impl PartialEq for TagPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TagPattern {}

fn number<T: std::str::FromStr>(found: &Captures<'_>, group: &str) -> Option<T> {
    found.name(group)?.as_str().parse().ok()
}

/// Removes the blanks, colons or hyphens that readers write between groups of digits.
fn epc(text: &str) -> Option<String> {
    let digits = text.chars().filter(|c| !matches!(c, ' ' | ':' | '-'));
    let digits: String = digits.map(|c| c.to_ascii_uppercase()).collect();
    let whole = EPC_DIGITS.contains(&digits.len()) && digits.len().is_multiple_of(4);
    (whole && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPC: &str = "3174257BF4499602D2000000";

    fn read(pattern: &str, line: &str) -> Option<TagRead> {
        TagPattern::new(pattern).unwrap().read(line.as_bytes())
    }

    #[test]
    fn each_preset_reads_its_readers_lines_and_no_others() {
        let lines = [
            ("bare", "3174257BF4499602D2000000", (None, None, 1)),
            ("bare", "3174 257b f449 9602 d200 0000", (None, None, 1)),
            ("key-value", "EPC:3174257BF4499602D2000000,RSSI:-57,ANT:1", (Some(-57), Some(1), 1)),
            ("key-value", "epc=3174257BF4499602D2000000; ant=2; time=11:05", (None, Some(2), 1)),
            ("key-value", "EPC:3174257BF4499602D2000000", (None, None, 1)),
            ("count", "3174257BF4499602D2000000;4;-61", (Some(-61), None, 4)),
            ("count", "3174257BF4499602D2000000,4,-61.5", (Some(-61), None, 4)),
            ("terse", "6, 1, 4, 3174 257B F449 9602 D200 0000", (None, Some(1), 6)),
        ];
        for (preset, line, (rssi, antenna, count)) in lines {
            let expected = TagRead { epc: EPC.to_owned(), rssi, antenna, count };
            assert_eq!(read(preset, line), Some(expected), "{preset}: {line}");
            for other in TagPattern::PRESETS.iter().filter(|other| **other != preset) {
                assert_eq!(read(other, line), None, "{other}: {line}");
            }
        }
    }

    #[test]
    fn a_frame_that_nobody_described_is_not_guessed_and_a_regex_describes_it() {
        let frame = "400180013E00330E34243174257BF4499602D2000000EC1500";
        for preset in TagPattern::PRESETS {
            assert_eq!(read(preset, frame), None, "{preset}");
        }
        let found = read("^[0-9A-F]{20}(?P<epc>[0-9A-F]{24})[0-9A-F]{6}$", frame).unwrap();
        assert_eq!(found.epc, EPC);
    }

    #[test]
    fn every_recorded_line_has_one_preset_or_needs_a_regex() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/parcels/tracking_numbers.json");
        let Ok(vectors) = std::fs::read_to_string(path) else {
            eprintln!("skipped: {path} does not exist");
            return;
        };
        let vectors: serde_json::Value = serde_json::from_str(&vectors).unwrap();
        let lines = vectors["rfid_lines"].as_array().unwrap();
        assert!(!lines.is_empty());
        for line in lines {
            let raw = line["raw"].as_str().unwrap().trim_end();
            let found: Vec<TagRead> =
                TagPattern::PRESETS.iter().filter_map(|preset| read(preset, raw)).collect();
            let epcs: Vec<Option<&str>> = found.iter().map(|tag| Some(tag.epc.as_str())).collect();
            let expected: Vec<Option<&str>> =
                line["expect_epc"].as_str().into_iter().map(Some).collect();
            assert_eq!(epcs, expected, "{raw}");
            let numbers = found.first().map(|tag| (tag.rssi, tag.antenna));
            let (rssi, antenna) = numbers.unwrap_or_default();
            for (key, number) in
                [("rssi", rssi.map(i64::from)), ("antenna", antenna.map(i64::from))]
            {
                let expected = line[key].as_i64();
                assert!(expected.is_none() || expected == number, "{key} of {raw}");
            }
        }
    }

    #[test]
    fn what_is_no_epc_is_no_tag() {
        let long = "A".repeat(128);
        for line in
            ["", "3174", "3174257BF4499602D200000", "ZZZZ257BF4499602D2000000", &long, "E2 00"]
        {
            assert_eq!(read("bare", line), None, "{line}");
        }
        assert_eq!(TagPattern::default().read(b"\xff\xfe3174257BF4499602"), None);
        let anything = TagPattern::new("(?<epc>[0-9A-F]+)").unwrap();
        assert_eq!(anything.read(&[b'A'; 4096]), None, "overlong lines are not matched");
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_with_the_remedy() {
        for (text, says) in [
            ("bear", "not one of bare, key-value, count, terse"),
            ("", "not one of bare"),
            ("([0-9A-F]+)", "no group (?<epc>...)"),
            ("(?<epc>[0-9A-F]+", "not a valid regex"),
            ("(?<epc>(([0-9A-F]{1,999}){1,999}){1,999})", "not a valid regex"),
        ] {
            let error = TagPattern::new(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
