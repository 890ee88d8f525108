//! Verifies check digits by the algorithm of each carrier.
//!
//! The check digit is the last character. A malformed number does not pass.

/// Check digit algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// No algorithm: the carrier publishes none.
    None,
    /// GS1 General Specifications §7.9: weights 3, 1, … from the right.
    Gs1,
    /// GS1, with 91 prepended to the number.
    Gs1After91,
    /// UPU S10 §5: weights 8 6 4 2 3 5 9 7, mod 11.
    S10,
    /// UPS: letters are (ASCII − 3) mod 10, weights 1, 2, …
    Ups,
    /// `FedEx`'s 12 digits: weights 3, 1, 7, …, mod 11, mod 10.
    Fedex12,
    /// The end of `FedEx`'s 34 digits: weights 1, 7, 3, …, mod 11, mod 10.
    Fedex34,
    /// DHL Express: the preceding digits mod 7.
    Mod7,
    /// ISO/IEC 7064 MOD 37,36: DPD.
    Mod37,
}

impl Check {
    /// Verifies the check digit of `number`; `None` if there is no check digit.
    pub(super) fn verify(self, number: &str) -> Option<bool> {
        let law: fn(&[u32]) -> u32 = match self {
            Self::None => return None,
            Self::Gs1 => gs1,
            Self::Gs1After91 => return Self::Gs1.verify(&format!("91{number}")),
            Self::S10 => s10,
            Self::Ups => ups,
            Self::Fedex12 => |body| weighted_sum(body, &[3, 1, 7]) % 11 % 10,
            Self::Fedex34 => |body| weighted_sum(body, &[1, 7, 3]) % 11 % 10,
            Self::Mod7 => |body| body.iter().fold(0, |rest, digit| (rest * 10 + digit) % 7),
            Self::Mod37 => mod_37_36,
        };
        let base = if matches!(self, Self::Ups | Self::Mod37) { 36 } else { 10 };
        let values: Option<Vec<u32>> = number.chars().map(|one| one.to_digit(base)).collect();
        let fits =
            |values: Vec<u32>| values.split_last().is_some_and(|(check, body)| *check == law(body));
        Some(values.is_some_and(fits))
    }
}

/// Computes the GS1 check digit of `body`.
pub(super) fn gs1(body: &[u32]) -> u32 {
    let sum: u32 = body.iter().rev().zip([3, 1].into_iter().cycle()).map(|(n, w)| n * w).sum();
    (10 - sum % 10) % 10
}

fn weighted_sum(body: &[u32], weights: &[u32]) -> u32 {
    body.iter().zip(weights.iter().cycle()).map(|(digit, weight)| digit * weight).sum()
}

fn s10(body: &[u32]) -> u32 {
    match 11 - weighted_sum(body, &[8, 6, 4, 2, 3, 5, 9, 7]) % 11 {
        10 => 0,
        11 => 5,
        check => check,
    }
}

fn ups(body: &[u32]) -> u32 {
    // Base 36 maps A to 10, UPS maps it to 2.
    let value = |digit: &u32| if *digit < 10 { *digit } else { (digit + 2) % 10 };
    let values: Vec<u32> = body.iter().map(value).collect();
    (10 - weighted_sum(&values, &[1, 2]) % 10) % 10
}

fn mod_37_36(body: &[u32]) -> u32 {
    let product = body.iter().fold(36, |product, value| {
        let sum = (product + value) % 36;
        (if sum == 0 { 36 } else { sum }) * 2 % 37
    });
    (37 - product) % 36
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_carriers_own_examples_fit_and_any_other_check_digit_does_not() {
        for (check, number, at) in [
            (Check::Gs1, "106141412345678908", 17),
            (Check::Gs1, "987654312345672", 14),
            (Check::Gs1After91, "71969010756003077385", 19),
            (Check::S10, "473124829", 8),
            (Check::Ups, "999AA10123456784", 15),
            (Check::Ups, "WX0692YP40636269", 15),
            (Check::Fedex12, "012345678983", 11),
            (Check::Fedex34, "00779017972697", 13),
            (Check::Mod7, "3318810025", 9),
            (Check::Mod37, "008182709980000020033350276C", 27),
            (Check::Mod37, "09980000020034D", 14),
        ] {
            assert_eq!(check.verify(number), Some(true), "{number}");
            let other = if &number[at..=at] == "0" { "1" } else { "0" };
            let wrong = format!("{}{other}{}", &number[..at], &number[at + 1..]);
            assert_eq!(check.verify(&wrong), Some(false), "{wrong}");
            assert_eq!(Check::None.verify(number), None);
        }
        // The two remainders that UPU S10 maps to special digits.
        assert_eq!(Check::S10.verify("000000005"), Some(true));
        assert_eq!(Check::S10.verify("000000020"), Some(false));
    }

    #[test]
    fn what_has_no_such_form_does_not_fit() {
        let all = [
            Check::Gs1,
            Check::Gs1After91,
            Check::S10,
            Check::Ups,
            Check::Fedex12,
            Check::Fedex34,
            Check::Mod7,
            Check::Mod37,
        ];
        for check in all {
            for number in ["", "é", "1é1", "-", "12-4"] {
                assert_eq!(check.verify(number), Some(false), "{check:?} {number}");
            }
        }
    }
}
