//! How a site stands with an entitlement: what could exist unreported, and whether its audit is
//! overdue. Headquarters' host keeps the limit, its plugin shows it; both use this.

use crate::unit::Counters;

/// What was granted and ordered, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Units that were credited, extensions included, whatever was taken back.
    pub limit: u64,
    /// `audit_return` of the terms.
    pub audit_units: u64,
    /// `audit_return` of the terms.
    pub audit_seconds: u64,
    /// When headquarters signed the grant.
    pub issued_at_ms: u64,
    /// When provisioning begins.
    pub not_before_ms: u64,
    /// True once headquarters has the site's closing statement.
    pub closed: bool,
}

/// What the newest clean bundle that names the entitlement said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// The counters.
    pub counters: Counters,
    /// Units ever credited, as far as the site had got.
    pub limit: u64,
    /// True where the site says that nothing more can be reserved.
    pub ended: bool,
    /// Up to when it reports all that the site did: [`Checkpoint::as_of`].
    ///
    /// [`Checkpoint::as_of`]: crate::checkpoint::Checkpoint::as_of
    pub as_of_ms: u64,
}

/// Whether the next bundle is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// In time.
    Current,
    /// Late: the site gets no further entitlement.
    Overdue,
    /// Everything was made or is over, and reported, so nothing is due.
    Complete,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Units that could exist and are not reported, per copy of the site.
    pub exposure: u64,
    /// Whether the next bundle is late.
    pub audit: Audit,
    /// Up to when the next bundle must report, at the earliest.
    pub due_ms: u64,
}

/// Decides how a site stands at `now_ms`.
///
/// The site's host stops reserving `audit_units` after the newest receipt, so what is unreported is
/// at most that, and never more than what is left: what the site reported as unused, and what was
/// credited since.
pub fn standing(granted: &Granted, reported: Option<&Reported>, now_ms: u64) -> Standing {
    let left = match reported {
        None => granted.limit,
        Some(seen) if seen.ended => 0,
        Some(seen) => {
            let coming = granted.limit.saturating_sub(seen.limit);
            seen.counters.unused.saturating_add(coming)
        }
    };
    let exposure = left.min(granted.audit_units);
    let since = reported.map_or(granted.issued_at_ms, |seen| seen.as_of_ms);
    let since = since.max(granted.not_before_ms);
    let due_ms = since.saturating_add(granted.audit_seconds.saturating_mul(1_000));
    let in_doubt = reported.is_none_or(|seen| seen.counters.in_doubt() > 0);
    let settled = granted.closed || (exposure == 0 && !in_doubt);
    let audit = match (settled, now_ms > due_ms) {
        (true, _) => Audit::Complete,
        (false, true) => Audit::Overdue,
        (false, false) => Audit::Current,
    };
    let exposure = if granted.closed { 0 } else { exposure };
    Standing { exposure, audit, due_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: Granted = Granted {
        limit: 1_000,
        audit_units: 500,
        audit_seconds: 60,
        issued_at_ms: 10_000,
        not_before_ms: 20_000,
        closed: false,
    };

    fn reported(confirmed: u64, issued: u64) -> Reported {
        let unused = 1_000 - confirmed - issued;
        let counters =
            Counters { credited: 1_000, unused, confirmed, issued, ..Counters::default() };
        Reported { counters, limit: 1_000, ended: false, as_of_ms: 50_000 }
    }

    #[test]
    fn before_the_first_bundle_the_time_runs_from_the_window() {
        let now = standing(&GRANTED, None, 80_000);
        assert_eq!(now, Standing { exposure: 500, audit: Audit::Current, due_ms: 80_000 });
        assert_eq!(standing(&GRANTED, None, 80_001).audit, Audit::Overdue);
    }

    #[test]
    fn a_bundle_renews_the_time_and_bounds_the_exposure() {
        let now = standing(&GRANTED, Some(&reported(700, 3)), 110_000);
        assert_eq!(now, Standing { exposure: 297, audit: Audit::Current, due_ms: 110_000 });
        assert_eq!(standing(&GRANTED, Some(&reported(100, 0)), 0).exposure, 500);
    }

    #[test]
    fn everything_made_and_settled_is_complete_and_never_overdue() {
        let all = reported(1_000, 0);
        assert_eq!(standing(&GRANTED, Some(&all), u64::MAX).audit, Audit::Complete);
        let doubt = reported(998, 2);
        assert_eq!(standing(&GRANTED, Some(&doubt), u64::MAX).audit, Audit::Overdue);
    }

    #[test]
    fn an_extension_that_the_site_has_not_reported_is_exposure() {
        let extended = Granted { limit: 1_020, ..GRANTED };
        let now = standing(&extended, Some(&reported(1_000, 0)), 0);
        assert_eq!((now.exposure, now.audit), (20, Audit::Current));
    }

    #[test]
    fn what_was_taken_back_or_ended_is_no_exposure() {
        let mut reduced = reported(700, 0);
        (reduced.counters.credited, reduced.counters.unused) = (700, 0);
        assert_eq!(standing(&GRANTED, Some(&reduced), u64::MAX).audit, Audit::Complete);
        let revoked = Reported { ended: true, ..reported(700, 0) };
        assert_eq!(standing(&GRANTED, Some(&revoked), u64::MAX).exposure, 0);
        let closed = Granted { closed: true, ..GRANTED };
        let now = standing(&closed, Some(&reported(700, 3)), u64::MAX);
        assert_eq!((now.exposure, now.audit), (0, Audit::Complete));
    }

    #[test]
    fn p15_absurd_numbers_saturate() {
        let granted = Granted { audit_seconds: u64::MAX, not_before_ms: u64::MAX, ..GRANTED };
        let mut seen = reported(0, 0);
        (seen.counters.unused, seen.limit) = (u64::MAX, u64::MAX);
        assert_eq!(standing(&granted, Some(&seen), 0).exposure, 500);
        assert_eq!(standing(&granted, None, u64::MAX).audit, Audit::Current);
    }
}
