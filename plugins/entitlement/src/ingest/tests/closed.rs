//! A closing statement that headquarters took binds the site's rows: here and for an auditor.

use mintmark_exchange::closing::{self, ClosingStatement};
use mintmark_exchange::proposal::{self, ClosingMessageBody};
use mintmark_exchange::reconcile::Closing;

use super::*;

/// What the site's host states when it has destroyed what is unused.
fn statement(site: &Site) -> SignedOrder {
    let Counters { unused, .. } = site.counters;
    let statement = ClosingStatement {
        version: closing::VERSION,
        site: SITE.to_owned(),
        exporter: grant().exporter,
        entitlement: ENTITLEMENT.to_owned(),
        number: 1,
        counters: Counters { unused: 0, destroyed: unused, ..site.counters },
        limit: 10,
        in_doubt: Vec::new(),
        after: site.last,
        made_at: TIME_MS + 100_000,
    };
    assert_eq!(statement.check(), Ok(()));
    signed(encode(&statement))
}

/// Takes the statement as `ImportClosing` does.
fn take(memory: &Memory, statement: &SignedOrder) {
    let body = ClosingMessageBody { version: proposal::VERSION, order: statement.encode() };
    memory.stage("closing", body.encode());
    memory.call(|| crate::closing::import("closing")).unwrap();
}

/// What `audit verify` knows after the files so far.
#[derive(Default)]
struct Auditor {
    register: MemoryRegister,
    state: SiteState,
}

impl Auditor {
    /// Judges the auditor's file of a bundle; also gives the statements in it.
    fn judge(&mut self, bundle: &[u8]) -> (Report, Vec<SignedOrder>) {
        let (file, _) = crate::opened::read(&sha256(bundle), bundle.len() as u64, 0).unwrap();
        let (head, _) = OpenedHead::split(&file).unwrap();
        let mut orders = Orders::default();
        orders.grants.insert(ENTITLEMENT.to_owned(), grant());
        for signed in &head.closings {
            let statement: ClosingStatement = signed.open().unwrap();
            orders.closings.insert(statement.entitlement.clone(), Closing::of(&statement));
        }
        let held = self.state.clone();
        let mut reconciler = Reconciler::new(SITE, head.bundle, head.made_at, held);
        while let Some(offset) = reconciler.wanted() {
            let rest = &bundle[(offset as usize).min(bundle.len())..];
            let (register, verify) = (&mut self.register, &Believing);
            let mut world = World { orders: &orders, register, verify };
            reconciler.feed(rest, &mut world).unwrap();
        }
        let outcome = reconciler.finish().unwrap();
        self.state = outcome.state;
        (outcome.report, head.closings)
    }
}

#[test]
fn the_plugin_and_an_auditor_name_the_unit_that_was_drawn_after_the_closing_statement() {
    let memory = headquarters();
    let mut auditor = Auditor::default();
    let mut site = Site::new();
    site.make_device(0);
    let honest = site.bundle(&[]);
    memory.stage("honest", honest.clone());
    assert_eq!(ingest(&memory, "honest").0.report.verdict, Verdict::Clean);
    assert_eq!(auditor.judge(&honest).0.verdict, Verdict::Clean);
    let statement = statement(&site);
    take(&memory, &statement);
    let row = site.last.sequence + 1;
    site.make_device(1);
    let greedy = site.bundle(&[]);
    memory.stage("greedy", greedy.clone());
    let (stored, _) = ingest(&memory, "greedy");
    assert_eq!((stored.report.verdict, &stored.receipt_file), (Verdict::Breach, &None));
    let found = &stored.report.findings[0];
    assert_eq!((found.kind, found.row), (FindingKind::Total, Some(row)));
    assert!(!is_registered("SN:1"));
    assert_eq!(auditor.judge(&greedy), (stored.report, vec![statement]));
}

#[test]
fn an_honest_bundle_that_is_carried_later_than_the_closing_statement_is_clean() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    take(&memory, &statement(&site));
    let destroyed = site.counters.unused;
    (site.counters.unused, site.counters.destroyed) = (0, destroyed);
    let counters = site.counters.values();
    site.push(Event::Closed { entitlement: ENTITLEMENT.to_owned(), destroyed }, &counters);
    let mut checkpoint = site.checkpoint();
    checkpoint.counters[0].ended = true;
    let bundle = body(checkpoint, site.rows.clone());
    memory.stage("a", bundle.clone());
    let (stored, _) = ingest(&memory, "a");
    assert_eq!((&stored.report.findings[..], stored.report.verdict), (&[][..], Verdict::Clean));
    assert_eq!(Auditor::default().judge(&bundle).0, stored.report);
}
