//! The plugin at a site in memory, against a headquarters that grants everything: what it asks the
//! host for, what it refuses by itself, and what it carries.

#![expect(clippy::unwrap_used, reason = "a test fails where its site does")]

use std::collections::BTreeMap;

use mintmark_exchange::SignedOrder;
use mintmark_exchange::bundle::FrameReader;
use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::proposal::{EntitlementBody, GrantProposal};
use mintmark_exchange::row::Row;
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto;
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Plugin, Status, ledger};
use mintmark_sdk_testing::{Device, NODE, Office, TestHost, World};

struct Factory {
    world: World,
    hq: TestHost,
    site: TestHost,
}

impl Factory {
    fn new() -> Self {
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<Office>();
        let mut site = world.site("shenzhen");
        site.install::<DeviceKeyPlugin>();
        world.introduce(&hq, &site);
        site.enrol_station("line-4", &[]);
        Self { world, hq, site }
    }

    fn order(&self, number: &str) -> GrantProposal {
        Office::order(number, 10, self.site.clock().now_ms())
    }

    fn granted(&self, number: &str) -> Vec<u8> {
        let order = self.order(number);
        Office::grant(&self.hq, &self.site.uri(), DeviceKeyPlugin::NAME, &order).unwrap()
    }

    fn import(&self, file: &[u8]) -> Result<proto::ImportResponse, Status> {
        let request = proto::ImportRequest { file_id: self.site.stage(file) };
        self.site.call("operator", "mei", "Import", &request)
    }

    fn entitlement(&self) -> String {
        self.import(&self.granted("po-1")).unwrap().entitlement
    }

    fn provision(
        &self,
        request: &proto::ProvisionRequest,
    ) -> Result<proto::DeviceIdentity, Status> {
        self.site.call("station", "line-4", "Provision", request)
    }

    fn export(&self, headquarters: &str) -> Result<proto::ExportBundleResponse, Status> {
        let request = proto::ExportBundleRequest {
            headquarters: headquarters.to_owned(),
            ..proto::ExportBundleRequest::default()
        };
        self.site.call("auditor", "eve", "ExportBundle", &request)
    }
}

fn request(entitlement: &str, subject: &str) -> proto::ProvisionRequest {
    proto::ProvisionRequest {
        entitlement: entitlement.to_owned(),
        subject: subject.to_owned(),
        serial: None,
        csr: Device::new().csr(),
        fields: BTreeMap::new(),
    }
}

#[test]
fn an_import_answers_what_was_granted() {
    let factory = Factory::new();
    let order = factory.order("po-1");
    let imported = factory.import(&factory.granted("po-1")).unwrap();
    assert_eq!((imported.number, imported.total), (1, 10));
    assert_eq!(
        (imported.order_number.as_str(), imported.product.as_str()),
        ("po-1", "thermostat-2")
    );
    assert_eq!(imported.not_after_ms, order.terms.not_after);
}

#[test]
fn requests_that_are_none_are_refused_before_a_unit_is_touched() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    let ent = |name: &str| request(name, "SN:1");
    let fields = [("organizational-unit".to_owned(), "x".to_owned())].into();
    let refused = [
        (ent("ent-1"), "INVALID_ARGUMENT"),
        (ent("ent-0123456789abcdef"), "NOT_FOUND"),
        (request(&entitlement, ""), "INVALID_ARGUMENT"),
        (request(&entitlement, "two words"), "INVALID_ARGUMENT"),
        (proto::ProvisionRequest { csr: Vec::new(), ..ent(&entitlement) }, "CSR_INVALID"),
        (proto::ProvisionRequest { csr: vec![0x30; 40], ..ent(&entitlement) }, "CSR_INVALID"),
        (proto::ProvisionRequest { fields, ..ent(&entitlement) }, "INVALID_ARGUMENT"),
    ];
    for (request, reason) in refused {
        assert_eq!(factory.provision(&request).unwrap_err().reason, reason, "{request:?}");
    }
    let bytes = factory.site.call_bytes("station", "line-4", "Provision", &[0xff, 0xff, 0xff]);
    assert_eq!(bytes.unwrap_err().reason, "INVALID_ARGUMENT");
    let status = proto::StatusRequest { entitlement };
    let status: proto::EntitlementStatus =
        factory.site.call("auditor", "eve", "Status", &status).unwrap();
    assert_eq!(status.counters.unwrap().unused, 10);
}

#[test]
fn a_stream_answers_each_request_as_a_single_call_does() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    let request = request(&entitlement, "SN:1");
    let first = factory.provision(&request).unwrap();
    let streamed: proto::DeviceIdentity =
        factory.site.call("station", "line-4", "ProvisionStream", &request).unwrap();
    assert_eq!(streamed, first);
}

#[test]
fn units_are_listed_page_by_page_and_found_in_any_entitlement() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    for number in 0..5 {
        factory.provision(&request(&entitlement, &format!("SN:{number}"))).unwrap();
    }
    let mut listed = Vec::new();
    let mut start = Some(0);
    while let Some(next) = start {
        let page =
            proto::ListUnitsRequest { entitlement: entitlement.clone(), start: next, limit: 2 };
        let page: proto::ListUnitsResponse =
            factory.site.call("station", "line-4", "ListUnits", &page).unwrap();
        listed.extend(page.units.into_iter().map(|unit| unit.subject));
        start = page.next;
    }
    assert_eq!(listed, ["SN:0", "SN:1", "SN:2", "SN:3", "SN:4"]);
    let show = |subject: &str| {
        let subject = subject.to_owned();
        let request = proto::ShowUnitRequest { entitlement: String::new(), subject };
        factory.site.call::<proto::UnitStatus>("operator", "mei", "ShowUnit", &request)
    };
    assert_eq!(show("SN:3").unwrap().entitlement, entitlement);
    assert_eq!(show("SN:9").unwrap_err().reason, "NOT_FOUND");
}

/// A grant names the code that may use it: an upgrade leaves older entitlements in the store.
#[test]
fn what_was_granted_for_another_version_hides_nothing_and_stops_no_order() {
    let mut factory = Factory::new();
    let former = factory.entitlement();
    factory.provision(&request(&former, "SN:0")).unwrap();
    factory.site.install_build::<DeviceKeyPlugin>("2");
    factory.world.introduce(&factory.hq, &factory.site);
    let mut order = factory.order("po-2");
    let (prefix, check) = ("T3-".to_owned(), CheckDigit::None);
    order.product.serial = SerialRule::Assigned { prefix, digits: 8, start: 1, check };
    let uri = factory.site.uri();
    let file = Office::grant(&factory.hq, &uri, DeviceKeyPlugin::NAME, &order).unwrap();
    let newer = factory.import(&file).unwrap().entitlement;
    factory.provision(&request(&newer, "SN:1")).unwrap();

    let site = &factory.site;
    let listed: proto::ListEntitlementsResponse = site
        .call("operator", "mei", "ListEntitlements", &proto::ListEntitlementsRequest::default())
        .unwrap();
    let listed: BTreeMap<_, _> =
        listed.entitlements.iter().map(|one| (one.entitlement.clone(), one.state())).collect();
    assert_eq!(listed[&former], proto::EntitlementState::OtherVersion);
    assert_eq!(listed[&newer], proto::EntitlementState::Active);
    let show = |subject: &str| {
        let subject = subject.to_owned();
        let request = proto::ShowUnitRequest { entitlement: String::new(), subject };
        site.call::<proto::UnitStatus>("operator", "mei", "ShowUnit", &request)
    };
    assert_eq!(show("SN:1").unwrap().entitlement, newer);
    assert_eq!(show("SN:0").unwrap_err().reason, "NOT_FOUND");

    let plugin = DeviceKeyPlugin::NAME;
    let file = Office::change(&factory.hq, &uri, plugin, &former, &Change::Revoke).unwrap();
    let request = proto::ImportDirectiveRequest { file_id: site.stage(&file) };
    let acted: proto::ImportDirectiveResponse =
        site.call("admin", "ada", "ImportDirective", &request).unwrap();
    assert_eq!((&*acted.entitlement, acted.counters), (&*former, None));
    let orders = proto::ShowOrdersRequest { entitlement: newer };
    site.call::<proto::ShowOrdersResponse>("auditor", "eve", "ShowOrders", &orders).unwrap();
}

#[test]
fn a_bundle_holds_every_row_up_to_its_checkpoint() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    factory.provision(&request(&entitlement, "SN:1")).unwrap();
    let exported = factory.export("").unwrap();
    assert_eq!(exported.headquarters, factory.hq.uri());
    let file = factory.hq.stage(&factory.site.fetch(&exported.file_id).unwrap());
    let frames = factory.hq.run::<Office, _>("auditor", "eva", || {
        let body = messages::open(Purpose::Bundle, &file)?.read_all(1 << 24)?;
        let (mut reader, mut rest, mut frames) = (FrameReader::new(), &body[..], Vec::new());
        while let Some(frame) = reader.next_frame(&mut rest).unwrap() {
            frames.push(frame);
        }
        Ok(frames)
    });
    let frames = frames.unwrap();
    let rows = factory
        .site
        .run::<DeviceKeyPlugin, _>("auditor", "eve", || Ok(ledger::read(NODE, 0, 1 << 20)?.rows));
    let last = exported.positions[0].sequence as usize;
    assert_eq!(exported.rows as usize, last);
    assert_eq!(frames[1..=last], rows.unwrap()[..last]);
    assert_eq!(frames[last + 1], Vec::<u8>::new(), "the end is marked");
    assert_eq!(Row::decode(&frames[last]).unwrap().hash.to_vec(), exported.positions[0].hash);
}

#[test]
fn a_bundle_goes_only_to_headquarters_that_granted() {
    let factory = Factory::new();
    // Nobody granted anything yet: whom the site knows can be shown that it holds nothing.
    assert_eq!(factory.export("").unwrap().headquarters, factory.hq.uri());
    factory.entitlement();
    let other = factory.world.headquarters("oslo");
    factory.site.import_identity(&other.export_identity()).unwrap();
    assert!(factory.export(&other.uri()).is_err());
    factory.export(&factory.hq.uri()).unwrap();
    factory.export("headquarters/berlin").unwrap();
}

#[test]
fn what_headquarters_ordered_is_shown_as_it_was_signed_the_grant_first() {
    let factory = Factory::new();
    let (site, entitlement) = (factory.site.uri(), factory.entitlement());
    for units in [1, 2] {
        let change = Change::Reduce { units };
        let plugin = DeviceKeyPlugin::NAME;
        let file = Office::change(&factory.hq, &site, plugin, &entitlement, &change).unwrap();
        let request = proto::ImportDirectiveRequest { file_id: factory.site.stage(&file) };
        let _acted: proto::ImportDirectiveResponse =
            factory.site.call("admin", "ada", "ImportDirective", &request).unwrap();
    }
    let request = proto::ShowOrdersRequest { entitlement: entitlement.clone() };
    let shown: proto::ShowOrdersResponse =
        factory.site.call("auditor", "eve", "ShowOrders", &request).unwrap();
    let orders: Vec<_> =
        shown.orders.iter().map(|order| SignedOrder::decode(order).unwrap()).collect();
    assert_eq!(orders[0].open::<Grant>().unwrap().entitlement, entitlement);
    let directives = orders[1..].iter().map(|order| order.open::<Directive>().unwrap());
    let changes: Vec<_> = directives.map(|directive| directive.change).collect();
    assert_eq!(changes, [Change::Reduce { units: 1 }, Change::Reduce { units: 2 }]);
}

#[test]
fn a_receipt_renews_what_its_headquarters_granted() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    factory.provision(&request(&entitlement, "SN:1")).unwrap();
    let exported = factory.export("").unwrap();
    let bundle = factory.site.fetch(&exported.file_id).unwrap();
    let receipt = Office::acknowledge(&factory.hq, &bundle).unwrap();
    let request = proto::ImportReceiptRequest { file_id: factory.site.stage(&receipt) };
    let taken: proto::ImportReceiptResponse =
        factory.site.call("admin", "ada", "ImportReceipt", &request).unwrap();
    assert_eq!((taken.verdict.as_str(), taken.entitlements.len()), ("clean", 1));
    assert_eq!((taken.bundle, taken.positions), (exported.digest, exported.positions));
    let next = factory.export("").unwrap();
    let all = next.positions[0].sequence;
    assert!(next.rows < all, "it goes on where the receipt ended");
}

/// A message of headquarters' plugin with a body of the test's.
fn sealed(factory: &Factory, body: &[u8]) -> Vec<u8> {
    let site = factory.site.uri();
    let file = factory.hq.run::<Office, _>("admin", "ada", || {
        let plugin = DeviceKeyPlugin::NAME;
        let mut writer = messages::seal(Purpose::Entitlement, &site, plugin, &[])?;
        writer.append(body)?;
        Ok(writer.finish()?.file)
    });
    factory.hq.fetch(&file.unwrap()).unwrap()
}

#[test]
fn a_newer_format_asks_for_an_update_and_waits_for_it() {
    let factory = Factory::new();
    let body = EntitlementBody { version: 2, order: vec![1] }.encode();
    let file = sealed(&factory, &body);
    for _ in 0..2 {
        assert_eq!(factory.import(&file).unwrap_err().reason, "UNSUPPORTED_VERSION");
    }
}

#[test]
fn p17_an_authentic_message_without_sense_changes_nothing() {
    let factory = Factory::new();
    let nonsense = EntitlementBody { version: 1, order: vec![7; 500] }.encode();
    let file = sealed(&factory, &nonsense);
    assert_eq!(factory.import(&file).unwrap_err().reason, "UNTRUSTED_MESSAGE");
    let listed: proto::ListEntitlementsResponse = factory
        .site
        .call("admin", "ada", "ListEntitlements", &proto::ListEntitlementsRequest::default())
        .unwrap();
    assert!(listed.entitlements.is_empty());
}

#[test]
fn a_persons_acts_on_a_unit_are_refused_to_programs_and_repeat_without_effect() {
    let factory = Factory::new();
    let entitlement = factory.entitlement();
    factory.site.enrol_station("line-5", &[]);
    let names = || (entitlement.clone(), "SN:1".to_owned());
    let ask = |role: &str, name: &str, method: &str, request: &dyn Fn() -> Vec<u8>| {
        let answer = factory.site.call_bytes(role, name, method, &request())?;
        Ok::<_, Status>(<proto::UnitStatus as prost::Message>::decode(&answer[..]).unwrap())
    };
    let give_back = || {
        let (entitlement, subject) = names();
        let reason = "the board is bent".to_owned();
        prost::Message::encode_to_vec(&proto::ReturnRequest { entitlement, subject, reason })
    };
    let hand_over = || {
        let (entitlement, subject) = names();
        let station = "line-5".to_owned();
        prost::Message::encode_to_vec(&proto::HandOverRequest { entitlement, subject, station })
    };
    let (entitlement_id, subject) = names();
    let reserve = proto::ReserveRequest { entitlement: entitlement_id, subject, serial: None };
    let reserved: proto::ReserveResponse =
        factory.site.call("station", "line-4", "Reserve", &reserve).unwrap();
    for (method, request) in [("Return", &give_back as &dyn Fn() -> _), ("HandOver", &hand_over)] {
        let refused = ask("station", "line-4", method, request).unwrap_err();
        assert_eq!(refused.reason, "PERMISSION_DENIED", "{method}");
    }
    for _ in 0..2 {
        let handed = ask("operator", "mei", "HandOver", &hand_over).unwrap();
        assert!(handed.station.ends_with("/station/line-5"));
    }
    for _ in 0..2 {
        let returned = ask("admin", "ada", "Return", &give_back).unwrap();
        assert_eq!((returned.unit, returned.state()), (reserved.unit, proto::UnitState::Returned));
    }
}

#[test]
fn a_further_certificate_and_the_batchs_list_come_over_the_service() {
    let factory = Factory::new();
    let mut order = factory.order("po-1");
    order.terms.certificates_per_unit = 2;
    let (site, plugin) = (factory.site.uri(), DeviceKeyPlugin::NAME);
    let file = Office::grant(&factory.hq, &site, plugin, &order).unwrap();
    let entitlement = factory.import(&file).unwrap().entitlement;
    let identity = factory.provision(&request(&entitlement, "SN:1")).unwrap();
    let recertify = |ordinal| {
        let (entitlement, subject) = (entitlement.clone(), "SN:1".to_owned());
        let fields = BTreeMap::new();
        let request = proto::RecertifyRequest { entitlement, subject, ordinal, fields };
        let answer = factory.site.call("station", "line-4", "Recertify", &request);
        answer as Result<proto::DeviceCertificate, Status>
    };
    let further = recertify(1).unwrap();
    assert_eq!(recertify(1).unwrap(), further);
    assert_eq!((further.unit, &further.chain), (identity.unit, &identity.chain));
    assert_ne!(further.certificate, identity.certificate);
    for ordinal in [0, 2, 70_000] {
        assert_eq!(recertify(ordinal).unwrap_err().reason, "INVALID_ARGUMENT");
    }
    let list = proto::MakeRevocationListRequest { entitlement };
    let made: proto::RevocationList =
        factory.site.call("operator", "mei", "MakeRevocationList", &list).unwrap();
    assert_eq!((made.number, made.revoked), (1, 0));
    assert!(!factory.site.fetch(&made.file_id).unwrap().is_empty());
    let refused: Result<proto::RevocationList, Status> =
        factory.site.call("station", "line-4", "MakeRevocationList", &list);
    assert_eq!(refused.unwrap_err().reason, "PERMISSION_DENIED");
}
