//! Headquarters and a site in memory, for requests that a fuzzer made.

use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::{TestHost, World};

/// Where a method is, who calls it, and its name. Seeds name methods by their place in this list.
pub const METHODS: &[(Place, &str, &str)] = &[
    (Place::Site, "station", "Provision"),
    (Place::Site, "station", "Reserve"),
    (Place::Site, "station", "Issue"),
    (Place::Site, "station", "Confirm"),
    (Place::Site, "station", "Fail"),
    (Place::Site, "operator", "Scrap"),
    (Place::Site, "operator", "Import"),
    (Place::Site, "operator", "ImportReceipt"),
    (Place::Site, "auditor", "ExportBundle"),
    (Place::Site, "auditor", "Status"),
    (Place::Site, "auditor", "ShowUnit"),
    (Place::Site, "auditor", "ListUnits"),
    (Place::Site, "station", "ListEntitlements"),
    (Place::Headquarters, "admin", "Create"),
    (Place::Headquarters, "auditor", "List"),
    (Place::Headquarters, "auditor", "Show"),
    (Place::Headquarters, "auditor", "Ingest"),
    (Place::Headquarters, "auditor", "ShowReport"),
    (Place::Headquarters, "auditor", "ListReports"),
    (Place::Headquarters, "auditor", "FindDevice"),
    (Place::Headquarters, "auditor", "ExportOpened"),
    (Place::Headquarters, "admin", "Change"),
    (Place::Headquarters, "admin", "Adopt"),
    (Place::Headquarters, "auditor", "ImportClosing"),
    (Place::Site, "operator", "Return"),
    (Place::Site, "operator", "HandOver"),
    (Place::Site, "station", "Recertify"),
    (Place::Site, "auditor", "MakeRevocationList"),
    (Place::Site, "operator", "ImportDirective"),
    (Place::Site, "admin", "Close"),
    (Place::Site, "auditor", "ShowOrders"),
];

/// What a seed has in the place of an entitlement's id, which is another one in every world.
pub const ENTITLEMENT: &[u8; 20] = b"ent-0123456789abcdef";

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The site.
    Site,
    /// Headquarters.
    Headquarters,
}

/// Two hosts that know each other, and an entitlement of one at the other.
pub struct Factory {
    /// Time, and the root.
    pub world: World,
    /// Headquarters.
    pub hq: TestHost,
    /// The site.
    pub site: TestHost,
    /// The file that carried the entitlement.
    pub file: Vec<u8>,
    /// The entitlement's id.
    pub entitlement: String,
    /// How many calls were made.
    pub calls: u32,
}

impl Default for Factory {
    fn default() -> Self {
        Self::new()
    }
}

impl Factory {
    /// A new world.
    ///
    /// # Panics
    /// Where a host refuses what it always takes.
    pub fn new() -> Self {
        let world = World::new();
        let (mut hq, mut site) = (world.headquarters("berlin"), world.site("shenzhen"));
        hq.install::<EntitlementPlugin>();
        site.install::<DeviceKeyPlugin>();
        world.introduce(&hq, &site);
        site.enrol_station("line-4", &[]);
        let request = order(&site);
        let created: office::CreateResponse =
            hq.call("admin", "ada", "Create", &request).expect("the order is sound");
        let file = hq.fetch(&created.file_id).expect("it was staged");
        let request = line::ImportRequest { file_id: site.stage(&file) };
        let imported: line::ImportResponse =
            site.call("operator", "mei", "Import", &request).expect("the file is for the site");
        Self { world, hq, site, file, entitlement: imported.entitlement, calls: 0 }
    }

    /// Makes a call.
    ///
    /// # Panics
    /// Where the plugin does: whatever a client sends, it gets an answer or a reason.
    pub fn call(&mut self, which: usize, request: &[u8]) {
        let (place, role, method) = METHODS[which % METHODS.len()];
        self.calls += 1;
        self.world.pass_ms(1);
        let mut request = request.to_vec();
        let placed = request.windows(ENTITLEMENT.len()).position(|part| part == ENTITLEMENT);
        if let Some(place) = placed {
            request[place..][..ENTITLEMENT.len()].copy_from_slice(self.entitlement.as_bytes());
        }
        let host = if place == Place::Site { &self.site } else { &self.hq };
        if let Err(status) = host.call_bytes(role, "line-4", method, &request) {
            assert_ne!(status.reason, "PLUGIN_FAULT", "{method}");
        }
    }
}

/// An order of device-born devices.
pub fn order(site: &TestHost) -> office::CreateRequest {
    let now_ms = site.clock().now_ms();
    office::CreateRequest {
        order_number: "PO-1".to_owned(),
        site: site.uri(),
        product: Some(office::Product {
            id: "thermostat-2".to_owned(),
            name: "Thermostat 2".to_owned(),
            origin: office::KeyOrigin::DeviceBorn.into(),
            algorithm: "ecdsa-p256".to_owned(),
            delivery: office::Delivery::None.into(),
            template: Some(office::CertificateTemplate {
                organization: "Acme".to_owned(),
                model: "T2".to_owned(),
                fields: Vec::new(),
            }),
            serial: Some(office::product::Serial::Assigned(office::AssignedSerial {
                prefix: "T2-".to_owned(),
                digits: 6,
                start: 1,
                check: office::CheckDigit::None.into(),
            })),
            ..office::Product::default()
        }),
        terms: Some(office::Terms {
            total: 1_000,
            not_before_ms: now_ms,
            not_after_ms: now_ms + 30 * 86_400_000,
            rates: vec![office::Rate { units: 100, per_seconds: 10 }],
            audit_return: Some(office::AuditReturn { units: 1_000, seconds: 7 * 86_400 }),
            scrap_allowance: Some(2),
            ..office::Terms::default()
        }),
        plugin: String::new(),
    }
}
