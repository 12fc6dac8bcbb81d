//! Serial rules: which serial numbers the devices of a product may have.

use serde::{Deserialize, Serialize};

/// How a device gets its serial number. Enforced by custody, checked again at headquarters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SerialRule {
    /// Made from the unit: prefix, `start + unit` with leading zeros, check digit.
    Assigned {
        /// What every serial starts with.
        prefix: String,
        /// Digits of the number.
        digits: u8,
        /// The number of unit 0.
        start: u64,
        /// The check digit at the end.
        check: CheckDigit,
    },
    /// Brought by the device; the host checks form and range.
    Given {
        /// What every serial starts with.
        prefix: String,
        /// Digits of the number.
        digits: u8,
        /// The smallest number.
        from: u64,
        /// The largest number.
        to: u64,
        /// The check digit at the end.
        check: CheckDigit,
    },
}

/// A check digit over the digits of the number (the prefix is not counted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckDigit {
    /// None.
    None,
    /// ISO/IEC 7812-1, annex B.
    Luhn,
}

/// Most digits of a number: 10^19 is the largest power of ten in a `u64`.
pub const DIGITS_MAX: u8 = 19;
/// Most bytes of a prefix.
pub const PREFIX_BYTES_MAX: usize = 64;

impl SerialRule {
    /// The serial of a unit; `None` where serials are given, or where the number has too many
    /// digits.
    pub fn make(&self, unit: u64) -> Option<String> {
        let Self::Assigned { prefix, digits, start, check } = self else {
            return None;
        };
        let number = start.checked_add(unit)?;
        let number = format!("{number:0width$}", width = usize::from(*digits));
        if number.len() != usize::from(*digits) {
            return None;
        }
        let check = check.of(&number).map(String::from).unwrap_or_default();
        Some(format!("{prefix}{number}{check}"))
    }

    /// True if `serial` has the rule's form and lies in its range.
    pub fn accepts(&self, serial: &str) -> bool {
        let (from, to) = match self {
            Self::Assigned { start, .. } => (*start, u64::MAX),
            Self::Given { from, to, .. } => (*from, *to),
        };
        self.number(serial).is_some_and(|number| (from..=to).contains(&number))
    }

    /// True if `serial` may be the serial of `unit`.
    pub fn accepts_for(&self, unit: u64, serial: &str) -> bool {
        match self {
            Self::Assigned { .. } => self.make(unit).as_deref() == Some(serial),
            Self::Given { .. } => self.accepts(serial),
        }
    }

    /// True if the device has to bring its serial.
    pub fn is_given(&self) -> bool {
        matches!(self, Self::Given { .. })
    }

    /// True if the rule has a number for each of `total` units.
    pub fn has_room_for(&self, total: u64) -> bool {
        match self {
            Self::Assigned { .. } => total == 0 || self.make(total - 1).is_some(),
            Self::Given { from, to, .. } => {
                from <= to
                    && to.checked_sub(*from).is_some_and(|span| total <= span.saturating_add(1))
            }
        }
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        let (prefix, digits, largest) = match self {
            Self::Assigned { prefix, digits, start, .. } => (prefix, *digits, *start),
            Self::Given { prefix, digits, from, to, .. } => (prefix, *digits, (*from).max(*to)),
        };
        matches!(digits, 1..=DIGITS_MAX)
            && largest < 10_u64.pow(u32::from(digits))
            && prefix.len() <= PREFIX_BYTES_MAX
            && prefix.bytes().all(|b| b.is_ascii_graphic())
    }

    /// The number in a serial of the right form with the right check digit.
    fn number(&self, serial: &str) -> Option<u64> {
        let (Self::Assigned { prefix, digits, check, .. }
        | Self::Given { prefix, digits, check, .. }) = self;
        let rest = serial.strip_prefix(prefix.as_str())?;
        let (number, given) = rest.split_at_checked(usize::from(*digits))?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let expected = check.of(number).map(String::from).unwrap_or_default();
        if given != expected {
            return None;
        }
        number.parse().ok()
    }
}

impl CheckDigit {
    /// The check digit of a string of ASCII digits.
    fn of(self, digits: &str) -> Option<char> {
        match self {
            Self::None => None,
            Self::Luhn => Some(char::from(b'0' + luhn(digits.as_bytes()))),
        }
    }
}

/// Doubles every second digit from the right, sums the digits' digits, and completes to ten.
fn luhn(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2, digit * 2) {
                (0, doubled) if doubled > 9 => doubled - 9,
                (0, doubled) => doubled,
                _ => digit,
            }
        })
        .sum();
    u8::try_from((10 - sum % 10) % 10).expect("a number below ten")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(check: CheckDigit) -> SerialRule {
        SerialRule::Assigned { prefix: "T2-".to_owned(), digits: 6, start: 100, check }
    }

    #[test]
    fn assigned_serials_are_made_from_the_unit() {
        let rule = assigned(CheckDigit::None);
        assert_eq!(rule.make(0).as_deref(), Some("T2-000100"));
        assert!(rule.accepts_for(1, "T2-000101"));
        assert!(!rule.accepts_for(1, "T2-000100"));
        assert_eq!(rule.make(1_000_000), None);
        assert!(rule.has_room_for(999_900) && !rule.has_room_for(999_901));
    }

    #[test]
    fn a_wrong_check_digit_is_refused() {
        // 7992739871 has the check digit 3, the usual example of the algorithm.
        let rule = SerialRule::Given {
            prefix: String::new(),
            digits: 10,
            from: 0,
            to: 9_999_999_999,
            check: CheckDigit::Luhn,
        };
        assert!(rule.accepts("79927398713"));
        for wrong in ["79927398710", "79927398714", "7992739871", "799273987133", "7992739871３"] {
            assert!(!rule.accepts(wrong), "{wrong}");
        }
        assert_eq!(rule.make(3), None);
    }

    #[test]
    fn made_serials_are_accepted() {
        let rule = assigned(CheckDigit::Luhn);
        for unit in [0, 1, 9, 10, 899_899] {
            assert!(rule.accepts(&rule.make(unit).unwrap()));
        }
    }

    #[test]
    fn given_serials_outside_of_the_range_are_refused() {
        let rule = SerialRule::Given {
            prefix: "é".to_owned(),
            digits: 3,
            from: 10,
            to: 20,
            check: CheckDigit::None,
        };
        assert!(!rule.is_well_formed());
        assert!(rule.accepts("é010") && rule.accepts("é020"));
        assert!(!rule.accepts("é009") && !rule.accepts("é021") && !rule.accepts("é10"));
        assert!(!rule.accepts("é+11") && !rule.accepts("e010"));
    }
}
