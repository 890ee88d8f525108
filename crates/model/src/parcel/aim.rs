//! AIM symbology identifier `]cm` at the start of a scan (ISO/IEC 15424).

/// Symbology of a code, as reported by the scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbology {
    letter: u8,
    modifier: u8,
}

impl Symbology {
    /// Splits off the identifier at the start of `text` and returns the rest.
    pub(super) fn split(text: &str) -> (Option<Self>, &str) {
        match text.as_bytes() {
            [b']', letter, modifier, ..]
                if letter.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric() =>
            {
                (Some(Self { letter: *letter, modifier: *modifier }), &text[3..])
            }
            _ => (None, text),
        }
    }

    /// The identifier, such as `]C1`.
    #[must_use]
    pub fn aim(self) -> String {
        format!("]{}{}", char::from(self.letter), char::from(self.modifier))
    }

    /// The display name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.letter, self.modifier) {
            (b'C', b'1') => "GS1-128",
            (b'C', _) => "Code 128",
            (b'd', b'2') => "GS1 DataMatrix",
            (b'd', _) => "DataMatrix",
            (b'Q', b'3') => "GS1 QR",
            (b'Q', _) => "QR",
            (b'e', _) => "GS1 DataBar",
            (b'J', b'1') => "GS1 DotCode",
            (b'J', _) => "DotCode",
            (b'E', b'4') => "EAN-8",
            (b'E', _) => "EAN-13",
            (b'A', _) => "Code 39",
            (b'I', _) => "ITF",
            (b'z', _) => "Aztec",
            (b'L', _) => "PDF417",
            _ => "other",
        }
    }

    /// Whether the payload is a GS1 element string.
    pub(super) const fn is_gs1(self) -> bool {
        matches!(
            (self.letter, self.modifier),
            (b'C', b'1') | (b'd', b'2') | (b'Q', b'3') | (b'e', b'0') | (b'J', b'1')
        )
    }

    /// Whether it is a retail code: EAN or UPC.
    pub(super) const fn is_retail(self) -> bool {
        self.letter == b'E'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_split_off_and_tells_whether_elements_follow() {
        for (text, aim, name, gs1, payload) in [
            ("]C100123", "]C1", "GS1-128", true, "00123"),
            ("]C0]C1", "]C0", "Code 128", false, "]C1"),
            ("]d2", "]d2", "GS1 DataMatrix", true, ""),
            ("]Q1https://x", "]Q1", "QR", false, "https://x"),
            ("]X9a", "]X9", "other", false, "a"),
        ] {
            let (symbology, rest) = Symbology::split(text);
            let symbology = symbology.unwrap();
            let said = (symbology.aim(), symbology.name(), symbology.is_gs1());
            assert_eq!((said, rest), ((aim.to_owned(), name, gs1), payload));
        }
        for text in ["]", "]C", "]1C2", "]Cé", "]é1", "C1", ""] {
            assert_eq!(Symbology::split(text), (None, text));
        }
    }
}
