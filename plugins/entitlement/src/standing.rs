//! How a site stands with an entitlement: what could exist unreported, and whether its audit is
//! overdue.

/// What was granted, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// Devices that may be made.
    pub(crate) total: u64,
    /// `audit_return` of the terms.
    pub(crate) audit_units: u64,
    /// `audit_return` of the terms.
    pub(crate) audit_seconds: u64,
    /// When headquarters signed the grant.
    pub(crate) issued_at_ms: u64,
    /// When provisioning begins.
    pub(crate) not_before_ms: u64,
}

/// What the newest clean bundle that names the entitlement said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    /// Units in any state but unused and destroyed.
    pub(crate) taken: u64,
    /// Units that were unused when the entitlement was closed.
    pub(crate) destroyed: u64,
    /// Units reserved or issued.
    pub(crate) in_doubt: u64,
    /// When the site made the bundle.
    pub(crate) made_at_ms: u64,
}

/// Whether the next bundle is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audit {
    /// In time.
    Current,
    /// Late: the site gets no further entitlement.
    Overdue,
    /// Everything was made and reported, so nothing is due.
    Complete,
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Units that could exist and are not reported, per copy of the site.
    pub(crate) exposure: u64,
    pub(crate) audit: Audit,
    /// When the next bundle must have been exported.
    pub(crate) due_ms: u64,
}

/// Decides how a site stands at `now_ms`.
///
/// The site's host stops reserving `audit_units` after the newest receipt, so what is unreported is
/// at most that, and never more than what is left of the total.
pub(crate) fn standing(granted: &Granted, reported: Option<&Reported>, now_ms: u64) -> Standing {
    let gone = reported.map_or(0, |seen| seen.taken.saturating_add(seen.destroyed));
    let exposure = granted.total.saturating_sub(gone).min(granted.audit_units);
    let since =
        reported.map_or(granted.issued_at_ms, |seen| seen.made_at_ms).max(granted.not_before_ms);
    let due_ms = since.saturating_add(granted.audit_seconds.saturating_mul(1_000));
    let settled = exposure == 0 && reported.is_some_and(|seen| seen.in_doubt == 0);
    let audit = match (settled, now_ms > due_ms) {
        (true, _) => Audit::Complete,
        (false, true) => Audit::Overdue,
        (false, false) => Audit::Current,
    };
    Standing { exposure, audit, due_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: Granted = Granted {
        total: 1_000,
        audit_units: 500,
        audit_seconds: 60,
        issued_at_ms: 10_000,
        not_before_ms: 20_000,
    };

    fn reported(taken: u64, in_doubt: u64) -> Reported {
        Reported { taken, destroyed: 0, in_doubt, made_at_ms: 50_000 }
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
        assert_eq!(now, Standing { exposure: 300, audit: Audit::Current, due_ms: 110_000 });
        assert_eq!(standing(&GRANTED, Some(&reported(100, 0)), 0).exposure, 500);
    }

    #[test]
    fn everything_made_and_settled_is_complete_and_never_overdue() {
        assert_eq!(standing(&GRANTED, Some(&reported(1_000, 0)), u64::MAX).audit, Audit::Complete);
    }

    #[test]
    fn units_in_doubt_keep_the_audit_due() {
        assert_eq!(standing(&GRANTED, Some(&reported(1_000, 2)), u64::MAX).audit, Audit::Overdue);
    }

    #[test]
    fn destroyed_units_are_no_exposure() {
        let closed = Reported { destroyed: 300, ..reported(700, 0) };
        assert_eq!(standing(&GRANTED, Some(&closed), 0).audit, Audit::Complete);
    }

    #[test]
    fn p15_absurd_numbers_saturate() {
        let granted = Granted { audit_seconds: u64::MAX, not_before_ms: u64::MAX, ..GRANTED };
        let seen = Reported { destroyed: u64::MAX, ..reported(u64::MAX, 0) };
        assert_eq!(standing(&granted, Some(&seen), 0).exposure, 0);
        assert_eq!(standing(&granted, None, u64::MAX).audit, Audit::Current);
    }
}
