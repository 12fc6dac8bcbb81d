//! Where every life begins: headquarters and sites that know each other, with orders on their way.

use std::collections::BTreeMap;

use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::{Chance, Device, Machine, Stopped, TestHost, World};

/// The limits of every order: small, so that lives meet them.
pub(crate) const TOTAL: u64 = 7;
pub(crate) const MAX_IN_DOUBT: u64 = 5;
pub(crate) const RATE_UNITS: usize = 4;
pub(crate) const RATE_MS: u64 = 10_000;
pub(crate) const AUDIT_UNITS: u64 = 6;
pub(crate) const SCRAP_ALLOWANCE: u64 = 1;
pub(crate) const ATTEMPTS: u32 = 2;
pub(crate) const UNITS_PER_SUBJECT: u32 = 2;

/// Orders of each site; it has taken the first.
const ORDERS: usize = 3;
/// Devices of all lives; a life takes those that its seed says.
const DEVICES: usize = 64;

/// A machine with a host that does not run.
pub(crate) struct Asleep {
    machine: Machine,
    host: Stopped,
    pub(crate) uri: String,
    /// The entitlements that are on their way to it, by their place in the stream.
    pub(crate) orders: BTreeMap<u64, String>,
}

/// The beginning.
pub(crate) struct Beginning {
    pub(crate) headquarters: Asleep,
    pub(crate) sites: Vec<Asleep>,
    devices: Vec<Device>,
}

impl Asleep {
    fn new(machine: Machine, host: TestHost, orders: BTreeMap<u64, String>) -> Self {
        let uri = host.uri();
        let host = host.stop();
        Self { machine: machine.copy(), host, uri, orders }
    }

    /// Another life of the same host.
    pub(crate) fn wake(&self) -> (Machine, Stopped) {
        (self.machine.copy(), self.host.fork())
    }
}

impl Beginning {
    /// Headquarters and so many sites.
    pub(crate) fn new(sites: usize) -> Self {
        let world = World::new();
        let machine = Machine::new();
        let mut headquarters = world.headquarters_on("berlin", machine.create().unwrap());
        headquarters.install::<EntitlementPlugin>();
        let names = ["shenzhen", "penang"];
        let sites: Vec<_> = names[..sites]
            .iter()
            .map(|name| {
                let machine = Machine::new();
                let mut site = world.site_on(name, machine.create().unwrap());
                site.install::<DeviceKeyPlugin>();
                world.introduce(&headquarters, &site);
                for station in ["line-4", "line-5"] {
                    site.enrol_station(station, &[]);
                }
                let orders = (0..ORDERS)
                    .map(|number| {
                        let order = order(&site, &format!("{name}-{number}"));
                        let created: office::CreateResponse =
                            headquarters.call("admin", "ada", "Create", &order).unwrap();
                        if number == 0 {
                            let file_id =
                                site.stage(&headquarters.fetch(&created.file_id).unwrap());
                            let request = line::ImportRequest { file_id };
                            let _: line::ImportResponse =
                                site.call("operator", "mei", "Import", &request).unwrap();
                        }
                        (created.sequence, created.entitlement)
                    })
                    .collect();
                Asleep::new(machine, site, orders)
            })
            .collect();
        let headquarters = Asleep::new(machine, headquarters, BTreeMap::new());
        let devices = (0..DEVICES).map(|_| Device::new()).collect();
        Self { headquarters, sites, devices }
    }

    /// One of the devices, by number.
    pub(crate) fn device(&self, number: usize) -> &Device {
        &self.devices[number % DEVICES]
    }

    /// The number of one of a site's devices: no device is at two sites.
    pub(crate) fn any_device(site: usize, chance: &mut Chance) -> usize {
        chance.below(DEVICES / 2) * 2 + site
    }
}

fn order(site: &TestHost, number: &str) -> office::CreateRequest {
    let now_ms = site.clock().now_ms();
    office::CreateRequest {
        order_number: number.to_owned(),
        site: site.uri(),
        product: Some(product(site.uri().rsplit('/').next().unwrap(), number)),
        terms: Some(office::Terms {
            total: TOTAL,
            not_before_ms: now_ms,
            not_after_ms: now_ms + 30 * 86_400_000,
            rates: vec![office::Rate { units: RATE_UNITS as u64, per_seconds: RATE_MS / 1_000 }],
            audit_return: Some(office::AuditReturn { units: AUDIT_UNITS, seconds: 7 * 86_400 }),
            scrap_allowance: Some(SCRAP_ALLOWANCE),
            max_in_doubt: Some(MAX_IN_DOUBT),
            max_attempts_per_subject: Some(ATTEMPTS),
            max_units_per_subject: Some(UNITS_PER_SUBJECT),
            ..office::Terms::default()
        }),
        plugin: String::new(),
    }
}

/// Each site makes a product of its own: one subject at two sites would be a breach, and is tested
/// elsewhere.
fn product(site: &str, number: &str) -> office::Product {
    office::Product {
        id: format!("thermostat-{site}"),
        name: "Thermostat".to_owned(),
        origin: office::KeyOrigin::DeviceBorn.into(),
        algorithm: "ecdsa-p256".to_owned(),
        delivery: office::Delivery::None.into(),
        template: Some(office::CertificateTemplate {
            organization: "Acme".to_owned(),
            model: "T2".to_owned(),
            fields: Vec::new(),
        }),
        serial: Some(office::product::Serial::Assigned(office::AssignedSerial {
            prefix: format!("{number}-"),
            digits: 6,
            start: 1,
            check: office::CheckDigit::None.into(),
        })),
        ..office::Product::default()
    }
}
