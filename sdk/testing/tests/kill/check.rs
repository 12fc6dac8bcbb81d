//! What holds after a death.

use std::collections::BTreeSet;
use std::path::Path;

use futures_executor::block_on;
use mintmark_custody::pools::PoolState;
use mintmark_custody::verify;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::UnitChange;
use mintmark_plugin_device_key::proto as line;
use mintmark_sdk_testing::{Device, NODE, TestHost};

use crate::Point;
use crate::eve::Eve;
use crate::strace::Traced;
use crate::victim::{self, AUDIT_RETURN, Act, GIVEN, Outcome, POOL, TOTAL};

/// A host that was killed, and is there again.
struct Risen<'a> {
    eve: &'a Eve,
    folder: &'a Path,
    host: TestHost,
    what: String,
    act: Act,
}

/// Starts what was killed, does the act again, and looks at everything that must hold.
pub(crate) fn check(eve: &Eve, folder: &Path, point: &Point, traced: &Traced) {
    let act = point.act;
    let what = format!("{act:?} {}: {:?}", point.injection, traced.answer.is_some());
    let host = victim::open(folder, act).unwrap_or_else(|error| panic!("{what}: {error}"));
    let risen = Risen { eve, folder, host, what, act };
    risen.verify();
    if !act.is_at_headquarters() {
        risen.is_whole(traced.answer.is_some());
    }
    if let Some(known) = &traced.answer {
        risen.was_answered(known);
    }
    let head = risen.rows().len();
    let again = victim::act(&risen.host, folder, act);
    risen.answers_as_before(&again, traced.answer.as_deref());
    match act {
        Act::Start => {}
        Act::Provision => risen.provisioned(&again),
        Act::Import => risen.imported(),
        Act::Export => risen.exported(&again, head),
        Act::Receipt => risen.receipted(),
        Act::Rotate => risen.rotated(&again),
        Act::ImportKeys => risen.has_its_keys(),
        Act::Load => risen.loaded(),
        Act::Grant => risen.granted(),
    }
    risen.verify();
}

impl Risen<'_> {
    /// What `mintmark verify` looks at.
    fn verify(&self) {
        let hardware = self.host.hardware();
        let sealing = hardware.platform.sealing_secret().unwrap();
        let verified = block_on(verify(&*hardware.store, &sealing, Some(&*hardware.platform)));
        assert!(verified.is_ok(), "{}: {verified:?}", self.what);
    }

    /// The first entitlement is as it was, or one unit further.
    fn is_whole(&self, answered: bool) {
        let counters = self.counters();
        let places = counters.unused + counters.reserved + counters.issued;
        assert_eq!((counters.credited, counters.reserved), (places, 0), "{}", self.what);
        assert_eq!(counters.credited, TOTAL, "{}", self.what);
        let more = counters.issued - self.eve.issued;
        assert!(more <= u64::from(self.act == Act::Provision), "{}: {more} more", self.what);
        if self.act == Act::Provision && answered {
            assert_eq!(more, 1, "{}: what was answered is on record", self.what);
        }
    }

    /// What was answered is there before anybody asks again.
    fn was_answered(&self, known: &[u8]) {
        match self.act {
            Act::Import => {
                let there = self.entitlements();
                assert!(there.iter().any(|it| it.entitlement.as_bytes() == known), "{}", self.what);
            }
            Act::Receipt => assert_eq!(self.status().since_receipt, 0, "{}", self.what),
            // The rows for which the host signed are those that it has.
            Act::Export => self.is_of_this_ledger(known, 0),
            Act::Load | Act::Grant => {
                let left = if self.act == Act::Load { GIVEN as u64 } else { 0 };
                assert_eq!(self.left(), left, "{}", self.what);
            }
            _ => {}
        }
    }

    /// The same question has the same answer; what counts once is refused the second time.
    fn answers_as_before(&self, again: &Outcome, known: Option<&[u8]>) {
        let what = &self.what;
        match (again, self.act, known) {
            (Outcome::Refused(reason), Act::Import | Act::Receipt, _) => {
                assert_eq!(reason, "REPLAYED", "{what}");
            }
            (Outcome::Answered(_), Act::Import | Act::Receipt, Some(_)) => {
                panic!("{what}: what was answered was taken twice")
            }
            // A second bundle has more rows, and is sealed anew.
            (Outcome::Answered(bytes), act, Some(known)) if act != Act::Export => {
                assert_eq!(bytes, known, "{what}: the same question has the same answer");
            }
            (Outcome::Answered(_), _, _) => {}
            (Outcome::Refused(reason), _, _) => panic!("{what}: {reason}"),
        }
    }

    fn provisioned(&self, again: &Outcome) {
        let Outcome::Answered(first) = again else { unreachable!("it was looked at") };
        let repeated = victim::act(&self.host, self.folder, Act::Provision);
        assert_eq!(repeated, Outcome::Answered(first.clone()), "{}", self.what);
        let identity = <line::DeviceIdentity as prost::Message>::decode(&first[..]).unwrap();
        assert_eq!(identity.public_key, self.eve.device.public_key(), "{}", self.what);
        self.has_issued(self.eve.issued + 1);
    }

    /// Both entitlements, the second once, with all of its units.
    fn imported(&self) {
        let there = self.entitlements();
        let credited = |it: &line::EntitlementStatus| it.counters.as_ref().unwrap().credited;
        assert_eq!(there.iter().map(credited).collect::<Vec<_>>(), [TOTAL; 2], "{}", self.what);
        let mut ids: Vec<_> = there.into_iter().map(|it| it.entitlement).collect();
        ids.retain(|id| *id != self.eve.entitlement);
        let [second] = &ids[..] else { panic!("{}: {ids:?}", self.what) };
        let rows = self.count(|event| {
            matches!(event, Event::GrantImported { entitlement, .. } if entitlement == second)
        });
        assert_eq!(rows, 1, "{}: once", self.what);
        let again = victim::act(&self.host, self.folder, Act::Import);
        assert_eq!(again, Outcome::Refused("REPLAYED".to_owned()), "{}", self.what);
        let csr = Device::new().csr();
        victim::provision(&self.host, second, "SN:1", &csr)
            .unwrap_or_else(|status| panic!("{}: its units can be drawn: {status:?}", self.what));
        self.has_issued(self.eve.issued);
    }

    /// Every row from the last receipt up to the head that the site had at least.
    fn exported(&self, again: &Outcome, head: usize) {
        let Outcome::Answered(bundle) = again else { unreachable!("it was looked at") };
        self.is_of_this_ledger(bundle, head as u64);
        self.has_issued(self.eve.issued);
    }

    /// A bundle's rows are those of the ledger, byte for byte, without a gap.
    fn is_of_this_ledger(&self, bundle: &[u8], head: u64) {
        let bundle = self.eve.read(bundle);
        let (from, to) = (bundle.checkpoint.from, bundle.checkpoint.to);
        assert_eq!(from, self.eve.receipted, "{}: it begins after the receipt", self.what);
        assert!(to.sequence >= head, "{}: {to:?} is before {head}", self.what);
        let rows = self.rows();
        let covered = &rows[usize::try_from(from.sequence).unwrap()..];
        let covered = &covered[..usize::try_from(bundle.checkpoint.rows).unwrap()];
        assert!(bundle.rows == covered, "{}: other rows than the ledger's", self.what);
        let last = Row::decode(covered.last().unwrap()).unwrap();
        assert_eq!((last.sequence, last.hash), (to.sequence, to.hash), "{}", self.what);
    }

    /// As many units as the terms allow without a receipt, and no more.
    fn receipted(&self) {
        let rows = self.count(|event| matches!(event, Event::ReceiptImported { .. }));
        assert_eq!(rows, 1, "{}: once", self.what);
        assert_eq!(self.status().since_receipt, 0, "{}", self.what);
        self.has_issued(self.eve.issued);
        let draw = |number: u64| {
            let subject = format!("SN:more-{number}");
            let csr = Device::new().csr();
            victim::provision(&self.host, &self.eve.entitlement, &subject, &csr)
        };
        for number in 0..AUDIT_RETURN {
            let drawn = draw(number);
            assert!(drawn.is_ok(), "{}: the receipt allows it: {drawn:?}", self.what);
        }
        let refused = draw(AUDIT_RETURN).unwrap_err();
        assert_eq!(refused.reason, "RECEIPT_OVERDUE", "{}", self.what);
    }

    fn rotated(&self, again: &Outcome) {
        let old = std::fs::read(self.folder.join("keys")).unwrap();
        let Outcome::Answered(new) = again else { unreachable!("it was looked at") };
        assert!(new.len() == old.len() && *new != old, "{}: the keys are other ones", self.what);
        let repeated = victim::act(&self.host, self.folder, Act::Rotate);
        assert_eq!(repeated, *again, "{}: replaced once", self.what);
        self.has_issued(self.eve.issued);
    }

    /// Each key that was given goes to one device, and then there is none.
    fn has_its_keys(&self) {
        let mut other = self.entitlements();
        other.retain(|it| it.entitlement != self.eve.entitlement);
        let entitlement = &other[0].entitlement;
        let pools = block_on(self.host.custody().pools(victim::admin(&self.host))).unwrap();
        let [keys] = &pools[..] else { panic!("{}: {pools:?}", self.what) };
        assert_eq!((keys.state, keys.left), (PoolState::Ready, GIVEN as u64), "{}", self.what);
        let provision = |number: usize| {
            let subject = format!("SN:given-{number}");
            victim::provision(&self.host, entitlement, &subject, &Device::new().csr())
        };
        let handed: BTreeSet<_> = (0..GIVEN).map(|it| provision(it).unwrap().public_key).collect();
        let given: BTreeSet<_> = self.eve.given.iter().cloned().collect();
        assert_eq!(handed, given, "{}: each key once", self.what);
        assert_eq!(provision(GIVEN).unwrap_err().reason, "QUOTA_EXHAUSTED", "{}", self.what);
        self.has_issued(self.eve.issued);
    }

    /// One pool with every key; the same keys make no other one.
    fn loaded(&self) {
        assert_eq!(self.left(), GIVEN as u64, "{}", self.what);
        let chunks = self.count(|event| matches!(event, Event::PoolLoaded { .. }));
        assert_eq!(chunks, 1, "{}: once", self.what);
        let keys = victim::given(&std::fs::read(self.folder.join("given")).unwrap());
        let refused = victim::load(&self.host, "others", &keys).unwrap_err();
        assert_eq!(refused.reason, "DUPLICATE_KEY", "{}", self.what);
    }

    /// The pool's keys left it for one grant.
    fn granted(&self) {
        assert_eq!(self.left(), 0, "{}", self.what);
        let grants = self.count(|event| matches!(event, Event::GrantExported { .. }));
        assert_eq!(grants, 1, "{}: once", self.what);
    }

    fn has_issued(&self, issued: u64) {
        let after = self.counters();
        let expected = (issued, after.credited - issued);
        assert_eq!((after.issued, after.unused), expected, "{}", self.what);
        let change = |event: &Event| match event {
            Event::Unit(event) if event.entitlement == self.eve.entitlement => {
                event.change == UnitChange::Issued
            }
            _ => false,
        };
        assert_eq!(self.count(change) as u64, issued, "{}: each in one row", self.what);
    }

    /// Keys that are left in the only pool.
    fn left(&self) -> u64 {
        let pools = block_on(self.host.custody().pools(victim::admin(&self.host))).unwrap();
        let [pool] = &pools[..] else { panic!("{}: {pools:?}", self.what) };
        assert_eq!((pool.name.as_str(), pool.state), (POOL, PoolState::Ready), "{}", self.what);
        pool.left
    }

    fn entitlements(&self) -> Vec<line::EntitlementStatus> {
        let request = line::ListEntitlementsRequest::default();
        let listed: line::ListEntitlementsResponse =
            self.host.call("auditor", "eve", "ListEntitlements", &request).unwrap();
        listed.entitlements
    }

    fn status(&self) -> line::EntitlementStatus {
        let request = line::StatusRequest { entitlement: self.eve.entitlement.clone() };
        self.host.call("auditor", "eve", "Status", &request).unwrap()
    }

    fn counters(&self) -> line::Counters {
        self.status().counters.unwrap()
    }

    fn rows(&self) -> Vec<Vec<u8>> {
        let snapshot = block_on(self.host.hardware().store.snapshot()).unwrap();
        let rows = block_on(snapshot.rows(NODE, 0, usize::MAX)).unwrap();
        rows.into_iter().map(|row| row.encoded).collect()
    }

    fn count(&self, is_such: impl Fn(&Event) -> bool) -> usize {
        let rows = self.rows();
        rows.iter().filter(|row| is_such(&Row::decode(row).unwrap().body.event)).count()
    }
}
