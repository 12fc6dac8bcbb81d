//! The window of time that a certificate states, in whole seconds.

use std::time::Duration;

use der::DateTime;
use der::asn1::{GeneralizedTime, UtcTime};
use x509_cert::time::{Time, Validity as Encoded};

use crate::Error;

/// From when until when a certificate is valid.
///
/// Certificates count in seconds; both ends are rounded down to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before_s: u64,
    not_after_s: u64,
}

impl Validity {
    /// From one time to another, both included.
    pub fn new(not_before_ms: u64, not_after_ms: u64) -> Result<Self, Error> {
        let (not_before_s, not_after_s) = (not_before_ms / 1000, not_after_ms / 1000);
        if not_before_s > not_after_s || not_after_s > FOREVER_S {
            return Err(Error::Validity);
        }
        Ok(Self { not_before_s, not_after_s })
    }

    /// From a time on, for a number of days.
    pub fn days(not_before_ms: u64, days: u32) -> Result<Self, Error> {
        Self::new(not_before_ms, not_before_ms.saturating_add(u64::from(days) * DAY_MS))
    }

    /// From a time on, without an end: 99991231235959Z (RFC 5280, 4.1.2.5; IEEE 802.1AR, 8.5).
    pub fn forever(not_before_ms: u64) -> Result<Self, Error> {
        Self::new(not_before_ms, FOREVER_S * 1000)
    }

    /// The first moment.
    #[must_use]
    pub fn not_before_ms(self) -> u64 {
        self.not_before_s * 1000
    }

    /// The last second's beginning.
    #[must_use]
    pub fn not_after_ms(self) -> u64 {
        self.not_after_s * 1000
    }

    /// Whether the other window lies within this one.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.not_before_s <= other.not_before_s && other.not_after_s <= self.not_after_s
    }

    /// Whether a moment lies within, the whole of the last second included.
    #[must_use]
    pub fn contains_ms(self, at_ms: u64) -> bool {
        (self.not_before_s..=self.not_after_s).contains(&(at_ms / 1000))
    }

    pub(crate) fn encoded(self) -> Result<Encoded, Error> {
        Ok(Encoded::new(time(self.not_before_s)?, time(self.not_after_s)?))
    }

    pub(crate) fn decoded(encoded: &Encoded) -> Result<Self, Error> {
        let ms = |time: Time| time.to_unix_duration().as_secs().saturating_mul(1000);
        Self::new(ms(encoded.not_before), ms(encoded.not_after))
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// 9999-12-31T23:59:59Z, which says that there is no end.
pub(crate) const FOREVER_S: u64 = 253_402_300_799;

/// Until 2049 as UTCTime, then as GeneralizedTime (RFC 5280, 4.1.2.5).
pub(crate) fn time(unix_s: u64) -> Result<Time, Error> {
    let moment = DateTime::from_unix_duration(Duration::from_secs(unix_s));
    let moment = moment.map_err(|_| Error::Validity)?;
    if moment.year() <= UtcTime::MAX_YEAR {
        UtcTime::from_date_time(moment).map(Time::UtcTime).map_err(|_| Error::Validity)
    } else {
        Ok(Time::GeneralTime(GeneralizedTime::from_date_time(moment)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_no_certificate_can_state_are_refused() {
        assert_eq!(Validity::new(2000, 1000), Err(Error::Validity));
        assert_eq!(Validity::new(0, u64::MAX), Err(Error::Validity));
        assert!(Validity::days(u64::MAX, 1).is_err());
        assert!(Validity::new(1000, 1000).is_ok());
    }

    #[test]
    fn a_window_holds_its_first_and_its_last_second() {
        let window = Validity::new(10_000, 20_000).unwrap();
        assert!(!window.contains_ms(9_999));
        assert!(window.contains_ms(10_000));
        assert!(window.contains_ms(20_999));
        assert!(!window.contains_ms(21_000));
        assert!(window.contains(Validity::new(11_000, 20_000).unwrap()));
        assert!(!window.contains(Validity::new(11_000, 21_000).unwrap()));
    }

    #[test]
    fn every_window_is_read_back() {
        let years_2049_and_2050 = Validity::new(2_524_607_999_000, 2_524_608_000_000).unwrap();
        for window in [years_2049_and_2050, Validity::forever(0).unwrap()] {
            assert_eq!(Validity::decoded(&window.encoded().unwrap()), Ok(window));
        }
    }
}
