//! The plugin at headquarters in memory, against a site whose plugin lies as a test wants.

#![expect(clippy::unwrap_used, reason = "a test fails where its headquarters does")]

use mintmark_exchange::bundle::{BundleHead, VERSION, push_frame};
use mintmark_exchange::canonical::encode;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::proposal::EntitlementBody;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto::{self, Verdict, show_request::Name};
use mintmark_sdk::allotments::{Allotment, DeviceProof};
use mintmark_sdk::certificates::Csr;
use mintmark_sdk::exchange::proof::confirm_bytes;
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Package, Plugin, Status, ledger, transfers};
use mintmark_sdk_testing::{Device, NODE, TestHost, World};

/// The site's plugin.
struct Liar;

impl Plugin for Liar {
    const NAME: &'static str = "device-key";
    const VERSION: &'static str = "0.1.0";
    const SERVICES: &'static [&'static str] = &[];

    fn dispatch(_: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, Status> {
        Err(Status::unimplemented())
    }
}

impl Package for Liar {
    const MANIFEST: &'static str = include_str!("site.toml");
    const DESCRIPTORS: &'static [u8] = &[];
}

/// What happens to the rows of a bundle.
type Lie = fn(&mut Vec<Vec<u8>>);

struct Office {
    hq: TestHost,
    site: TestHost,
}

impl Office {
    fn new() -> Self {
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<EntitlementPlugin>();
        let mut site = world.site("shenzhen");
        site.install::<Liar>();
        world.introduce(&hq, &site);
        Self { hq, site }
    }

    fn order(&self, number: &str) -> proto::CreateRequest {
        let now_ms = self.hq.clock().now_ms();
        proto::CreateRequest {
            order_number: number.to_owned(),
            site: "site/shenzhen".to_owned(),
            product: Some(product(number)),
            terms: Some(proto::Terms {
                total: 10,
                not_before_ms: now_ms,
                not_after_ms: now_ms + 86_400_000,
                unlimited_rate: true,
                audit_return: Some(proto::AuditReturn { units: 10, seconds: 3_600 }),
                ..proto::Terms::default()
            }),
            plugin: String::new(),
        }
    }

    fn create(&self, order: &proto::CreateRequest) -> Result<proto::CreateResponse, Status> {
        self.hq.call("admin", "ada", "Create", order)
    }

    fn show(&self, name: Name) -> Result<proto::ShowResponse, Status> {
        let request = proto::ShowRequest { name: Some(name) };
        self.hq.call("operator", "otto", "Show", &request)
    }

    /// Grants, carries over, and makes `devices` devices at the site.
    fn produced(&self, devices: usize) -> String {
        let created = self.create(&self.order("PO-1")).unwrap();
        let file = self.site.stage(&self.hq.fetch(&created.file_id).unwrap());
        let imported = self.site.run::<Liar, _>("operator", "mei", || {
            let message = messages::open(Purpose::Entitlement, &file)?;
            let body = EntitlementBody::decode(&message.read_all(1 << 22)?).unwrap();
            Ok(transfers::import_grant(&body.order)?.entitlement)
        });
        let entitlement = imported.unwrap();
        for number in 0..devices {
            self.make(&entitlement, &format!("SN:{number}"));
        }
        entitlement
    }

    fn make(&self, entitlement: &str, subject: &str) {
        let device = Device::new();
        let made = self.site.run::<Liar, _>("operator", "mei", || {
            let unit = Allotment::open(entitlement)?.draw(subject, None)?;
            let artefact = unit.certify_csr(&Csr::read(&device.csr())?, &[])?;
            let identity = mintmark_exchange::canonical::sha256(&artefact.certificate.unwrap());
            let nonce = artefact.confirm_nonce.try_into().unwrap();
            let message = confirm_bytes(entitlement, unit.status()?.number, &identity, &nonce);
            let proof = DeviceProof { signature: device.sign(&message) };
            Ok(unit.confirm(Some(&proof))?)
        });
        made.unwrap();
    }

    /// A bundle whose rows went through `change`.
    fn bundle(&self, change: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let file = self.site.run::<Liar, _>("auditor", "eve", || {
            let orders = ledger::checkpoints(None, 1 << 24)?.orders;
            let orders: Vec<_> =
                orders.iter().map(|order| SignedOrder::decode(order).unwrap()).collect();
            let head = BundleHead { version: VERSION, checkpoints: orders };
            let mut rows = ledger::read(NODE, 0, 1 << 20)?.rows;
            change(&mut rows);
            let mut frames = Vec::new();
            push_frame(&mut frames, &encode(&head)).unwrap();
            for row in &rows {
                push_frame(&mut frames, row).unwrap();
            }
            push_frame(&mut frames, &[]).unwrap();
            seal(&frames)
        });
        self.site.fetch(&file.unwrap()).unwrap()
    }

    fn ingest(&self, bundle: &[u8]) -> Result<proto::IngestResponse, Status> {
        let request = proto::IngestRequest { file_id: self.hq.stage(bundle) };
        loop {
            let step: proto::IngestResponse = self.hq.call("auditor", "eva", "Ingest", &request)?;
            if step.done {
                return Ok(step);
            }
        }
    }

    fn report(&self, ingested: &proto::IngestResponse) -> proto::Report {
        let request = proto::ShowReportRequest { report: ingested.report.clone() };
        self.hq.call("auditor", "eva", "ShowReport", &request).unwrap()
    }
}

/// Seals a body to headquarters, as a bundle.
fn seal(body: &[u8]) -> Result<String, Status> {
    let hq = "headquarters/berlin";
    let mut writer = messages::seal(Purpose::Bundle, hq, EntitlementPlugin::NAME, &[])?;
    writer.append(body)?;
    Ok(writer.finish()?.file)
}

/// Each order has serial numbers of its own.
fn product(number: &str) -> proto::Product {
    proto::Product {
        id: "thermostat-2".to_owned(),
        name: "Thermostat 2".to_owned(),
        origin: proto::KeyOrigin::DeviceBorn.into(),
        algorithm: "ecdsa-p256".to_owned(),
        delivery: proto::Delivery::None.into(),
        template: Some(proto::CertificateTemplate {
            organization: "Acme".to_owned(),
            model: "T2".to_owned(),
            fields: Vec::new(),
        }),
        serial: Some(proto::product::Serial::Assigned(proto::AssignedSerial {
            prefix: format!("{number}-"),
            digits: 6,
            start: 1,
            check: proto::CheckDigit::None.into(),
        })),
        subjects: Vec::new(),
        pool: String::new(),
    }
}

#[test]
fn what_was_granted_can_be_read_back_with_every_term_filled() {
    let office = Office::new();
    let created = office.create(&office.order("PO-1")).unwrap();
    let shown = office.show(Name::OrderNumber("PO-1".to_owned())).unwrap();
    assert_eq!(office.show(Name::Entitlement(created.entitlement.clone())).unwrap(), shown);
    assert_eq!(shown.created.as_ref(), Some(&created));
    let terms = shown.terms.unwrap();
    assert_eq!((terms.total, terms.max_in_doubt, terms.scrap_allowance), (10, Some(10), Some(0)));
    assert_eq!(terms.confirm_proof(), proto::ConfirmProof::Required);
    let summary = shown.summary.unwrap();
    assert_eq!((summary.exposure, summary.reported), (10, 0));
    assert_eq!(summary.site, office.site.uri());
    assert_eq!(office.show(Name::OrderNumber("PO-2".to_owned())).unwrap_err().reason, "NOT_FOUND");
}

#[test]
fn no_order_and_no_extension_assigns_a_serial_number_twice() {
    let office = Office::new();
    let order = |number: &str, from: u64| {
        let mut order = office.order(number);
        let product = order.product.as_mut().unwrap();
        let Some(proto::product::Serial::Assigned(serial)) = &mut product.serial else { panic!() };
        (serial.prefix, serial.start) = ("T2-".to_owned(), from);
        order
    };
    let one = order("PO-1", 1);
    let first = office.create(&one).unwrap();
    let refused = office.create(&order("PO-2", 10)).unwrap_err();
    assert_eq!(refused.reason, "TERMS_INVALID");
    let fact = ("entitlement".to_owned(), first.entitlement.clone());
    assert!(refused.metadata.contains(&fact), "{refused:?}");
    assert_eq!(office.create(&one).unwrap(), first, "a repetition is none");
    office.create(&order("PO-2", 16)).unwrap();
    let extend = |units| {
        let extension = proto::Extension { units, not_after_ms: None };
        let change = proto::change_request::Change::Extend(extension);
        let entitlement = first.entitlement.clone();
        let request = proto::ChangeRequest { entitlement, change: Some(change) };
        office.hq.call::<proto::ChangeResponse>("admin", "ada", "Change", &request)
    };
    // Numbers 11 to 15 are free.
    assert_eq!(extend(6).unwrap_err().reason, "TERMS_INVALID");
    assert_eq!(extend(5).unwrap_err().reason, "APPROVAL_REQUIRED");
}

#[test]
fn an_order_that_fails_leaves_no_key_and_no_number() {
    let office = Office::new();
    let mut wrong = office.order("PO-1");
    wrong.terms.as_mut().unwrap().total = 2_000_000;
    let Some(proto::product::Serial::Assigned(serial)) =
        &mut wrong.product.as_mut().unwrap().serial
    else {
        panic!("assigned")
    };
    serial.digits = 9;
    assert_eq!(office.create(&wrong).unwrap_err().reason, "APPROVAL_REQUIRED");
    let created = office.create(&office.order("PO-1")).unwrap();
    assert_eq!(created.number, 1);
}

#[test]
fn an_honest_bundle_is_clean() {
    let office = Office::new();
    office.produced(3);
    let ingested = office.ingest(&office.bundle(|_| ())).unwrap();
    assert_eq!(ingested.verdict(), Verdict::Clean, "{:?}", office.report(&ingested).findings);
}

#[test]
fn b1_a_row_that_is_left_out_is_a_breach_with_its_number() {
    let office = Office::new();
    office.produced(3);
    let middle = 10;
    let bundle = office.bundle(|rows| drop(rows.remove(middle)));
    let ingested = office.ingest(&bundle).unwrap();
    assert_eq!(ingested.verdict(), Verdict::Breach);
    assert!(ingested.receipt_file_id.is_empty());
    let report = office.report(&ingested);
    let named = report.findings.iter().any(|finding| finding.row == Some(middle as u64 + 1));
    assert!(named, "{:?}", report.findings);
    // The truth is still taken.
    let ingested = office.ingest(&office.bundle(|_| ())).unwrap();
    assert_eq!(ingested.verdict(), Verdict::Clean, "{:?}", office.report(&ingested).findings);
}

#[test]
fn b2_rows_that_are_turned_doubled_cut_or_changed_are_a_breach() {
    let office = Office::new();
    office.produced(3);
    let lies: [(&str, Lie); 5] = [
        ("turned", |rows| rows.swap(8, 9)),
        ("doubled", |rows| rows.insert(9, rows[8].clone())),
        ("cut", |rows| rows.truncate(9)),
        ("emptied", Vec::clear),
        ("changed", |rows| {
            let row = &mut rows[9];
            let subject = row.windows(4).position(|bytes| bytes == b"SN:0");
            let place = subject.map_or(60, |place| place + 3);
            row[place] ^= 1;
        }),
    ];
    for (lie, change) in lies {
        let ingested = office.ingest(&office.bundle(change)).unwrap();
        let report = office.report(&ingested);
        assert_eq!(ingested.verdict(), Verdict::Breach, "{lie}: {:?}", report.findings);
        assert!(ingested.receipt_file_id.is_empty(), "{lie}");
    }
}

#[test]
fn b7_a_body_without_sense_gives_no_receipt() {
    let office = Office::new();
    office.produced(1);
    for body in [&[0xff; 9][..], &[0; 100], b"nonsense"] {
        let file = office.site.run::<Liar, _>("auditor", "eve", || seal(body)).unwrap();
        match office.ingest(&office.site.fetch(&file).unwrap()) {
            Ok(ingested) => {
                assert_eq!(ingested.verdict(), Verdict::Breach);
                assert!(ingested.receipt_file_id.is_empty());
            }
            Err(status) => assert_eq!(status.reason, "UNTRUSTED_MESSAGE"),
        }
    }
}

#[test]
fn two_bundles_at_once_are_checked_one_after_the_other() {
    let office = Office::new();
    let entitlement = office.produced(2);
    let first = office.bundle(|_| ());
    office.make(&entitlement, "SN:9");
    let second = office.bundle(|_| ());
    let auditor = |bundle: &[u8]| loop {
        match office.ingest(bundle) {
            Ok(ingested) => return ingested,
            Err(status) => assert_eq!(status.reason, "CONFLICT", "{status:?}"),
        }
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| auditor(&first));
        let other = scope.spawn(|| auditor(&second));
        for ingested in [one.join().unwrap(), other.join().unwrap()] {
            let report = office.report(&ingested);
            assert_ne!(ingested.verdict(), Verdict::Breach, "{:?}", report.findings);
        }
    });
}
