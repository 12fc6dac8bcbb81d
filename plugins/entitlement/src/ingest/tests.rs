//! An audit from one end to the other, over rows that a site could have written.

mod closed;
mod receipts;
mod waiting;

use mintmark_exchange::bundle::{BundleHead, push_frame};
use mintmark_exchange::canonical::{encode, sha256};
use mintmark_exchange::checkpoint::{Checkpoint, EntitlementCounters, Position};
use mintmark_exchange::grant::{AcceptedPlugins, AuditReturn, ConfirmProof, Grant, Rate, Terms};
use mintmark_exchange::merkle::Tree;
use mintmark_exchange::message::HeadRef;
use mintmark_exchange::opened::OpenedHead;
use mintmark_exchange::product::{Delivery, KeyOrigin, Product};
use mintmark_exchange::proposal::ReceiptMessageBody;
use mintmark_exchange::reconcile::{
    FindingKind, Index, LostHead, MemoryRegister, Orders, Verdict, World,
};
use mintmark_exchange::row::{Event, PluginRef, Row, RowBody, Started, UnitEvent, encode_envelope};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_exchange::unit::{Counters, UnitChange, UnitState};
use mintmark_exchange::{SignedOrder, Signer, Verify};

use super::*;
use crate::catalog::Entitlement;
use crate::memory::{FORGOTTEN_HEAD, LOST_HEAD, MADE_AT_MS, Memory, SITE, installed};

const ENTITLEMENT: &str = "ent-0123456789abcdef";
const TIME_MS: u64 = 1_000_000;

/// A site's ledger, as its host would write it.
struct Site {
    rows: Vec<Vec<u8>>,
    last: Position,
    tree: Tree,
    counters: Counters,
}

impl Site {
    /// A site that imported one entitlement of ten units.
    fn new() -> Self {
        let counters = Counters { credited: 10, unused: 10, ..Counters::default() };
        let (rows, last, tree) = (Vec::new(), Position::default(), Tree::new());
        let mut site = Self { rows, last, tree, counters };
        let started = Started {
            cluster: SITE.to_owned(),
            node: "n1".to_owned(),
            incarnation: 1,
            hardware_model: "software-emulated".to_owned(),
            software: "0.1.0".to_owned(),
            replaces: None,
        };
        site.push(Event::Started(started), &[]);
        let imported = Event::GrantImported {
            entitlement: ENTITLEMENT.to_owned(),
            number: 1,
            grant: grant().digest(),
            exporter: grant().exporter,
            total: 10,
        };
        site.push(imported, &counters.values());
        site
    }

    fn push(&mut self, event: Event, counters: &[u64]) {
        let sequence = self.last.sequence + 1;
        let mut request = [0; 16];
        request[..8].copy_from_slice(&sequence.to_be_bytes());
        let body = RowBody {
            version: 1,
            time_ms: TIME_MS + sequence,
            monotonic_ms: sequence,
            boot: 1,
            clock_suspect: false,
            plugin: Some(PluginRef { name: "device-key".to_owned(), measurement: [7; 32] }),
            principal: format!("{SITE}/station/line-1"),
            request,
            event,
        };
        let row =
            encode_envelope(sequence, &self.last.hash, &body.encode(), counters, &[0; 32]).unwrap();
        let hash = Row::decode(&row).unwrap().hash;
        self.tree.push(&hash);
        self.last = Position { sequence, hash };
        self.rows.push(row);
    }

    /// One device, from reservation to confirmation.
    fn make_device(&mut self, unit: u64) {
        let subject = format!("SN:{unit}");
        let changes = [UnitChange::Reserved, UnitChange::Issued, UnitChange::Confirmed];
        let mut state = None;
        for change in changes {
            let next = UnitState::after(state, change).unwrap();
            assert!(self.counters.move_unit(state, next));
            state = Some(next);
            let issued = change != UnitChange::Reserved;
            let event = UnitEvent {
                entitlement: ENTITLEMENT.to_owned(),
                unit,
                subject: subject.clone(),
                serial: Some(format!("T-{unit:06}")),
                change,
                detail: String::new(),
                certificate_hash: None,
                key_hash: issued.then_some([unit as u8 + 1; 32]),
                certificate_serial: None,
                proof: None,
            };
            let counters = self.counters.values();
            self.push(Event::Unit(Box::new(event)), &counters);
        }
    }

    /// Rows that say nothing and are many.
    fn chat(&mut self, rows: u32) {
        for _ in 0..rows {
            self.push(Event::Note { text: "x".repeat(1_000) }, &[]);
        }
    }

    /// The bundle's body, without the rows at the places in `left_out`.
    fn bundle(&self, left_out: &[usize]) -> Vec<u8> {
        let kept =
            |(place, row): (usize, &Vec<u8>)| (!left_out.contains(&place)).then(|| row.clone());
        let rows = self.rows.iter().enumerate().filter_map(kept).collect();
        body(self.checkpoint(), rows)
    }

    /// What the host signs about all rows.
    fn checkpoint(&self) -> Checkpoint {
        let drawn = self.counters.credited - self.counters.unused;
        let counters = EntitlementCounters {
            entitlement: ENTITLEMENT.to_owned(),
            counters: self.counters,
            drawn,
            limit: self.counters.credited,
            ended: false,
        };
        Checkpoint {
            version: 1,
            cluster: SITE.to_owned(),
            node: "n1".to_owned(),
            incarnation: 1,
            from: Position::default(),
            to: self.last,
            rows: self.last.sequence,
            merkle_root: self.tree.root(),
            counters: vec![counters],
            clock_suspect: false,
            boots: 1,
            headquarters: String::new(),
            applied_epoch: 0,
            applied_sequence: 1,
            hq_head: None,
            made_at: MADE_AT_MS,
            as_of: TIME_MS + 100_000,
        }
    }
}

/// A bundle with these rows, whatever they are.
fn body(checkpoint: Checkpoint, rows: Vec<Vec<u8>>) -> Vec<u8> {
    let head = BundleHead { version: 1, checkpoints: vec![signed(encode(&checkpoint))] };
    let mut body = Vec::new();
    push_frame(&mut body, &encode(&head)).unwrap();
    for row in rows {
        push_frame(&mut body, &row).unwrap();
    }
    push_frame(&mut body, &[]).unwrap();
    body
}

fn signed(body: Vec<u8>) -> SignedOrder {
    SignedOrder { body, chain: vec![vec![1], vec![2]], signature: vec![3; 64] }
}

fn grant() -> Grant {
    Grant {
        version: 1,
        entitlement: ENTITLEMENT.to_owned(),
        number: 1,
        order: "PO-1".to_owned(),
        exporter: "spiffe://acme/headquarters/berlin".to_owned(),
        recipient: SITE.to_owned(),
        issued_at: TIME_MS - 1,
        product: Product {
            id: "t2".to_owned(),
            name: "T2".to_owned(),
            origin: KeyOrigin::SiteBorn,
            algorithm: "ecdsa-p256".to_owned(),
            delivery: Delivery::SealedToDevice,
            template: None,
            serial: SerialRule::Assigned {
                prefix: "T-".to_owned(),
                digits: 6,
                start: 0,
                check: CheckDigit::None,
            },
            subjects: None,
        },
        terms: Terms {
            total: 10,
            not_before: TIME_MS,
            not_after: TIME_MS + 1_000_000,
            rates: vec![Rate { units: 10, per_seconds: 1 }],
            max_in_doubt: 10,
            max_attempts_per_subject: 3,
            max_units_per_subject: 1,
            scrap_allowance: 0,
            audit_return: AuditReturn { units: 5, seconds: 1_000 },
            confirm_proof: ConfirmProof::None,
            grace_seconds: 0,
            lease_size: 10,
            max_pause_seconds: 0,
            certificates_per_unit: 1,
        },
        product_ca: None,
        batch_ca: None,
        packages: Vec::new(),
        accepted_plugins: AcceptedPlugins { measurements: vec![[7; 32]], publishers: Vec::new() },
    }
}

fn entitlement() -> Entitlement {
    Entitlement {
        id: ENTITLEMENT.to_owned(),
        number: 1,
        order: "PO-1".to_owned(),
        request: [0; 32],
        site: SITE.to_owned(),
        product: "t2".to_owned(),
        file: String::new(),
        sequence: 1,
        total: 10,
        audit_units: 5,
        audit_seconds: 1_000,
        issued_at_ms: TIME_MS - 1,
        not_before_ms: TIME_MS,
        not_after_ms: grant().terms.not_after,
        changes: 0,
        revoked: false,
        closed: false,
    }
}

/// Headquarters that granted the entitlement.
fn headquarters() -> Memory {
    let memory = installed();
    memory.set_now(TIME_MS + 200_000);
    catalog::add(&entitlement(), &signed(encode(&grant())).encode()).unwrap();
    memory
}

/// Repeats `Ingest` until it is done; also says how many calls it took.
fn ingest(memory: &Memory, file: &str) -> (StoredReport, u32) {
    for calls in 1..1_000 {
        if let Step::Done(report) = memory.call(|| step(file)).unwrap() {
            return (*report, calls);
        }
    }
    panic!("the audit does not end");
}

fn is_registered(subject: &str) -> bool {
    !register::find(&[Index::Subject { product: "t2", subject }]).unwrap().is_empty()
}

#[test]
fn an_honest_bundle_is_clean_and_gives_a_receipt() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    site.make_device(1);
    memory.stage("a", site.bundle(&[]));
    let (stored, _) = ingest(&memory, "a");
    assert_eq!(stored.report.findings, []);
    assert_eq!(stored.report.verdict, Verdict::Clean);
    assert_eq!(stored.receipt_file.as_deref(), Some("receipt"));
    let receipt = ReceiptMessageBody::decode(&memory.receipts()[0]).unwrap();
    assert_eq!(receipt.order, b"receipt");
    assert!(is_registered("SN:0") && is_registered("SN:1") && !is_registered("SN:2"));
    let last = catalog::last_bundle(ENTITLEMENT).unwrap().unwrap();
    assert_eq!((last.taken(), last.counters.confirmed), (2, 2));
}

#[test]
fn r14_a_bundle_with_a_row_left_out_is_a_breach_and_names_the_row() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    memory.stage("a", site.bundle(&[3]));
    let (stored, _) = ingest(&memory, "a");
    assert_eq!(stored.report.verdict, Verdict::Breach);
    let finding = &stored.report.findings[0];
    assert_eq!((finding.kind, finding.row), (FindingKind::Gap, Some(4)));
    assert_eq!(stored.receipt_file, None);
    assert!(memory.receipts().is_empty() && !is_registered("SN:0"));
    assert_eq!(catalog::last_bundle(ENTITLEMENT), Ok(None));
}

#[test]
fn a_breach_does_not_spoil_a_later_honest_bundle() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    // A unit that is taken twice: all is signed and whole, and against the rules.
    let mut greedy = Site::new();
    greedy.make_device(0);
    greedy.make_device(0);
    memory.stage("greedy", greedy.bundle(&[]));
    assert_eq!(ingest(&memory, "greedy").0.report.verdict, Verdict::Breach);
    assert!(!is_registered("SN:0"));
    memory.stage("a", site.bundle(&[]));
    assert_eq!(ingest(&memory, "a").0.report.verdict, Verdict::Clean);
}

#[test]
fn r14_the_same_bundle_again_is_replayed_with_its_verdict() {
    let memory = headquarters();
    let bundle = Site::new().bundle(&[]);
    memory.stage("a", bundle.clone());
    memory.stage("b", bundle);
    ingest(&memory, "a");
    let again = memory.call(|| step("a")).unwrap_err();
    assert_eq!(again.reason, "REPLAYED");
    assert!(again.metadata.contains(&("verdict".to_owned(), "clean".to_owned())));
    // The host knows the bytes under whatever file id.
    assert_eq!(memory.call(|| step("b")).unwrap_err(), again);
    assert_eq!(memory.receipts().len(), 1);
}

#[test]
fn a_longer_bundle_goes_on_where_the_last_one_ended() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    memory.stage("a", site.bundle(&[]));
    ingest(&memory, "a");
    site.make_device(1);
    memory.stage("b", site.bundle(&[]));
    let (stored, _) = ingest(&memory, "b");
    assert_eq!(stored.report.verdict, Verdict::Clean);
    assert_eq!(stored.report.rows_new, 3);
}

#[test]
fn a_large_bundle_is_checked_in_steps_that_get_on() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    site.chat(2_500);
    site.make_device(1);
    memory.stage("a", site.bundle(&[]));
    let mut before = 0;
    let Step::Going { checked, total } = memory.call(|| step("a")).unwrap() else {
        panic!("one call is enough");
    };
    assert!(checked > before && checked < total);
    before = checked;
    if let Step::Going { checked, .. } = memory.call(|| step("a")).unwrap() {
        assert!(checked > before);
    }
    let (stored, _) = ingest(&memory, "a");
    assert_eq!(stored.report.verdict, Verdict::Clean);
    assert!(is_registered("SN:1"));
}

#[test]
fn one_bundle_waits_for_another_but_not_for_ever() {
    let memory = headquarters();
    let mut site = Site::new();
    site.chat(2_500);
    memory.stage("large", site.bundle(&[]));
    memory.stage("small", Site::new().bundle(&[]));
    memory.call(|| step("large")).unwrap();
    let waiting = memory.call(|| step("small")).unwrap_err();
    assert_eq!((waiting.reason.as_str(), waiting.retry_after_ms), ("CONFLICT", Some(1_000)));
    memory.set_now(TIME_MS + 300_000);
    assert_eq!(ingest(&memory, "small").0.report.verdict, Verdict::Clean);
    // The one that was given up begins again.
    assert_eq!(ingest(&memory, "large").0.report.verdict, Verdict::Clean);
}

#[test]
fn p1_a_bundle_that_ends_anywhere_is_a_breach_and_never_a_receipt() {
    let bundle = Site::new().bundle(&[]);
    for end in (0..bundle.len()).step_by(37) {
        let memory = headquarters();
        memory.stage("a", bundle[..end].to_vec());
        let (stored, _) = ingest(&memory, "a");
        assert_eq!(stored.report.verdict, Verdict::Breach, "{end}");
        assert!(memory.receipts().is_empty());
    }
}

/// Believes what the installed host believes, as the offline verifier's root does.
struct Believing;

impl Verify for Believing {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn verify_order(&self, _: &str, order: &SignedOrder, _: u64) -> Option<Signer> {
        let cluster = order.open::<Checkpoint>().ok()?.cluster;
        Some(Signer { cluster, leaf: "custody/host".to_owned() })
    }
}

/// What `audit verify` does: the same library, without plugin, host and records.
fn judged_offline(bundle: &[u8]) -> Report {
    let mut orders = Orders::default();
    orders.grants.insert(ENTITLEMENT.to_owned(), grant());
    let mut register = MemoryRegister::new();
    let held = SiteState::default();
    let mut reconciler = Reconciler::new(SITE, sha256(bundle), MADE_AT_MS, held);
    while let Some(offset) = reconciler.wanted() {
        let from = (offset as usize).min(bundle.len());
        let to = (from + 1_000).min(bundle.len());
        let verify = &Believing;
        let mut world = World { orders: &orders, register: &mut register, verify };
        reconciler.feed(&bundle[from..to], &mut world).unwrap();
    }
    reconciler.finish().unwrap().report
}

/// Every row dropped, repeated, swapped and edited, and every length: two programs, one verdict.
#[test]
fn the_plugin_and_the_offline_verifier_give_the_same_report() {
    let mut site = Site::new();
    (0..3).for_each(|unit| site.make_device(unit));
    site.chat(2);
    let mut greedy = Site::new();
    greedy.make_device(0);
    greedy.make_device(0);
    let mut bundles = vec![site.bundle(&[]), greedy.bundle(&[])];
    for place in 0..site.rows.len() {
        let mut rows = site.rows.clone();
        rows[place][20] ^= 1;
        bundles.push(body(site.checkpoint(), rows));
        let mut rows = site.rows.clone();
        rows.insert(place, rows[place].clone());
        bundles.push(body(site.checkpoint(), rows));
        let mut rows = site.rows.clone();
        rows.swap(place, (place + 1) % site.rows.len());
        bundles.push(body(site.checkpoint(), rows));
        bundles.push(site.bundle(&[place]));
    }
    let whole = site.bundle(&[]);
    bundles.extend((0..whole.len()).step_by(101).map(|end| whole[..end].to_vec()));
    let mut verdicts = Vec::new();
    for bundle in bundles {
        let memory = headquarters();
        memory.stage("a", bundle.clone());
        let (stored, _) = ingest(&memory, "a");
        let offline = judged_offline(&bundle);
        assert_eq!(stored.report, offline);
        verdicts.push(offline.verdict);
    }
    assert_eq!(verdicts[0], Verdict::Clean);
    assert!(verdicts[1..].iter().all(|verdict| *verdict == Verdict::Breach), "{verdicts:?}");
}

/// The host verifies a checkpoint as of its own date; so it must be the bundle's.
#[test]
fn p13_a_checkpoint_dated_back_is_a_breach_in_both_programs() {
    for (early_ms, verdict) in [(0, Verdict::Clean), (600_000, Verdict::Breach)] {
        let memory = headquarters();
        let mut site = Site::new();
        site.make_device(0);
        let at = MADE_AT_MS - early_ms;
        let checkpoint = Checkpoint { made_at: at, as_of: at, ..site.checkpoint() };
        let bundle = body(checkpoint, site.rows.clone());
        memory.stage("a", bundle.clone());
        let (stored, _) = ingest(&memory, "a");
        assert_eq!(stored.report, judged_offline(&bundle));
        assert_eq!(stored.report.verdict, verdict, "{:?}", stored.report.findings);
    }
}

#[test]
fn r14_a_fork_is_a_breach_and_both_signed_checkpoints_are_kept() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    let mut copy = Site::new();
    copy.make_device(7);
    memory.stage("a", site.bundle(&[]));
    assert_eq!(ingest(&memory, "a").0.report.verdict, Verdict::Clean);
    memory.stage("b", copy.bundle(&[]));
    let (stored, _) = ingest(&memory, "b");
    let finding = &stored.report.findings[0];
    assert_eq!((finding.kind, finding.row), (FindingKind::Fork, Some(3)));
    assert!(stored.receipt_file.is_none() && !is_registered("SN:7"));
    // The stored report has the proof, for whoever asks later.
    let kept = StoredReport::of_file("b").unwrap().unwrap();
    let proof = kept.shown(catalog::by_id).unwrap().equivocation.unwrap();
    let read = |order: &[u8]| SignedOrder::decode(order).unwrap().open::<Checkpoint>().unwrap();
    assert_eq!((proof.row, read(&proof.held).to), (3, site.last));
    assert_eq!(read(&proof.shown).to, copy.last);
    // The site itself goes on.
    site.make_device(1);
    memory.stage("c", site.bundle(&[]));
    assert_eq!(ingest(&memory, "c").0.report.verdict, Verdict::Clean);
}

#[test]
fn r14_a_bundle_that_came_too_early_is_clean_once_the_earlier_one_has_come() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    let (early, from) = (site.bundle(&[]), site.last);
    site.make_device(1);
    let mut checkpoint = site.checkpoint();
    let mut tree = Tree::new();
    let later = &site.rows[from.sequence as usize..];
    later.iter().for_each(|row| tree.push(&Row::decode(row).unwrap().hash));
    (checkpoint.from, checkpoint.rows) = (from, tree.len());
    checkpoint.merkle_root = tree.root();
    memory.stage("later", body(checkpoint, later.to_vec()));
    let (stored, _) = ingest(&memory, "later");
    let finding = &stored.report.findings[0];
    assert_eq!((stored.report.verdict, finding.kind), (Verdict::Hold, FindingKind::MissingBundle));
    assert_eq!(finding.text, "rows 1 to 5 are in an earlier bundle");
    memory.stage("early", early);
    assert_eq!(ingest(&memory, "early").0.report.verdict, Verdict::Clean);
    memory.set_now(TIME_MS + 210_000);
    assert_eq!(ingest(&memory, "later").0.report.verdict, Verdict::Clean);
    assert!(is_registered("SN:0") && is_registered("SN:1"));
    // Its report is there once, with what is true now; and from now on it stands.
    let listed = report::list("", 10, SITE).unwrap().reports;
    assert!(listed.len() == 2 && listed.iter().all(|line| line.verdict == 1), "{listed:?}");
    assert_eq!(memory.call(|| step("later")).unwrap_err().reason, "REPLAYED");
}

#[test]
fn a_headquarters_that_was_set_back_gives_no_receipt() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    let mut checkpoint = site.checkpoint();
    let seen = HeadRef { node: "n1".to_owned(), incarnation: 1, sequence: 77, hash: LOST_HEAD };
    checkpoint.hq_head = Some(seen.clone());
    let bundle = body(checkpoint, site.rows.clone());
    memory.stage("a", bundle.clone());
    let (stored, _) = ingest(&memory, "a");
    assert_eq!((stored.report.verdict, stored.receipt_file), (Verdict::Hold, None));
    assert_eq!(stored.report.findings[0].kind, FindingKind::Witness);
    // The auditor is told, and comes to the same verdict.
    let (file, _) = crate::opened::read(&sha256(&bundle), bundle.len() as u64, 0).unwrap();
    let lost = LostHead { head: seen, by_restore: false };
    assert_eq!(OpenedHead::split(&file).unwrap().0.lost_heads, [lost]);
}

#[test]
fn a_headquarters_that_was_restored_says_what_it_has_lost_and_goes_on() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    let mut checkpoint = site.checkpoint();
    let hash = FORGOTTEN_HEAD;
    checkpoint.hq_head =
        Some(HeadRef { node: "n1".to_owned(), incarnation: 1, sequence: 77, hash });
    memory.stage("a", body(checkpoint, site.rows.clone()));
    let (stored, _) = ingest(&memory, "a");
    assert_eq!(stored.report.verdict, Verdict::CleanWithNotes);
    assert_eq!(stored.report.findings[0].kind, FindingKind::Witness);
    assert!(stored.receipt_file.is_some());
}

/// Leaves a check where the call is used up by the verdict, before its effects.
fn leave_judged(file: &str) {
    let Ok(Begun::New(mut active)) = Active::begin(file) else { panic!("it is no new bundle") };
    while !matches!(active.stage, Stage::Register(_) | Stage::Drop(_)) {
        let mut budget = Budget { left: 1 };
        let Ok(Next::Stage(stage)) = active.stage.step(&active.bundle, &mut budget) else {
            panic!("a stage was left out");
        };
        active.stage = stage;
    }
    active.save(clock::now()).unwrap();
}

/// A site's small bundle and a large one that goes on from it.
fn small_and_large(memory: &Memory) -> Site {
    let mut site = Site::new();
    site.make_device(0);
    memory.stage("small", site.bundle(&[]));
    site.chat(2_500);
    site.make_device(1);
    memory.stage("large", site.bundle(&[]));
    site
}
