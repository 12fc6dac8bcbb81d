//! Headquarters `berlin` and site `shenzhen`, and what people carry between them.

use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk::Status;
use mintmark_sdk_testing::{Device, TestHost, World};

/// A day in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Two hosts that know each other.
pub(crate) struct Gap {
    pub(crate) world: World,
    pub(crate) hq: TestHost,
    pub(crate) site: TestHost,
}

impl Gap {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<EntitlementPlugin>();
        let site = new_site(&world, &hq, "shenzhen");
        Self { world, hq, site }
    }

    /// What an ordinary order asks for: ten device-born devices, with room in every limit.
    pub(crate) fn order(&self, number: &str) -> office::CreateRequest {
        let now_ms = self.site.clock().now_ms();
        office::CreateRequest {
            order_number: number.to_owned(),
            site: self.site.uri(),
            product: Some(ordered(number)),
            terms: Some(terms(10, now_ms)),
            plugin: String::new(),
        }
    }

    pub(crate) fn create(
        &self,
        order: &office::CreateRequest,
    ) -> Result<office::CreateResponse, Status> {
        self.hq.call("admin", "ada", "Create", order)
    }

    /// Creates an entitlement and carries it over; gives its id.
    pub(crate) fn grant(&self, order: &office::CreateRequest) -> String {
        let created = self.create(order).unwrap();
        let file = self.hq.fetch(&created.file_id).unwrap();
        self.import(&file).unwrap().entitlement
    }

    /// An ordinary entitlement of ten devices.
    pub(crate) fn granted(&self) -> String {
        self.grant(&self.order("PO-1"))
    }

    /// As [`Gap::granted`], with other terms.
    pub(crate) fn granted_with(&self, change: impl FnOnce(&mut office::Terms)) -> String {
        let mut order = self.order("PO-1");
        change(order.terms.as_mut().unwrap());
        self.grant(&order)
    }

    pub(crate) fn import(&self, file: &[u8]) -> Result<line::ImportResponse, Status> {
        import_at(&self.site, file)
    }

    pub(crate) fn provision(
        &self,
        entitlement: &str,
        subject: &str,
        device: &Device,
    ) -> Result<line::DeviceIdentity, Status> {
        self.provision_as("line-4", request(entitlement, subject, device.csr()))
    }

    pub(crate) fn provision_as(
        &self,
        station: &str,
        request: line::ProvisionRequest,
    ) -> Result<line::DeviceIdentity, Status> {
        self.site.call("station", station, "Provision", &request)
    }

    /// Provisions and confirms a device.
    pub(crate) fn make(&self, entitlement: &str, subject: &str) -> (Device, line::DeviceIdentity) {
        let device = Device::new();
        let identity = self.provision(entitlement, subject, &device).unwrap();
        let proof = device.sign(&identity.confirm_message);
        self.confirm(entitlement, subject, proof).unwrap();
        (device, identity)
    }

    pub(crate) fn confirm(
        &self,
        entitlement: &str,
        subject: &str,
        proof: Vec<u8>,
    ) -> Result<line::UnitStatus, Status> {
        let (entitlement, subject) = (entitlement.to_owned(), subject.to_owned());
        let request = line::ConfirmRequest { entitlement, subject, proof };
        self.site.call("station", "line-4", "Confirm", &request)
    }

    pub(crate) fn fail(
        &self,
        entitlement: &str,
        subject: &str,
        kind: line::FailureKind,
    ) -> Result<line::UnitStatus, Status> {
        self.fail_as(("station", "line-4"), entitlement, subject, kind)
    }

    pub(crate) fn fail_as(
        &self,
        (role, name): (&str, &str),
        entitlement: &str,
        subject: &str,
        kind: line::FailureKind,
    ) -> Result<line::UnitStatus, Status> {
        let request = line::FailRequest {
            entitlement: entitlement.to_owned(),
            subject: subject.to_owned(),
            kind: kind.into(),
            detail: "the flash does not verify".to_owned(),
        };
        self.site.call(role, name, "Fail", &request)
    }

    pub(crate) fn scrap(
        &self,
        entitlement: &str,
        subject: &str,
    ) -> Result<line::UnitStatus, Status> {
        let request = line::ScrapRequest {
            entitlement: entitlement.to_owned(),
            subject: subject.to_owned(),
            reason: "the housing is broken".to_owned(),
        };
        self.site.call("operator", "mei", "Scrap", &request)
    }

    pub(crate) fn status(&self, entitlement: &str) -> line::EntitlementStatus {
        let request = line::StatusRequest { entitlement: entitlement.to_owned() };
        self.site.call("auditor", "eve", "Status", &request).unwrap()
    }

    /// Counters that keep the equation.
    pub(crate) fn counters(&self, entitlement: &str) -> line::Counters {
        let counters = self.status(entitlement).counters.unwrap();
        let parts = counters.unused
            + counters.reserved
            + counters.issued
            + counters.confirmed
            + counters.failed
            + counters.scrapped
            + counters.returned
            + counters.lost
            + counters.destroyed;
        assert_eq!(counters.credited, parts, "{counters:?}");
        counters
    }

    /// The site's bundle, as a file.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        let request = line::ExportBundleRequest::default();
        let exported: line::ExportBundleResponse =
            self.site.call("auditor", "eve", "ExportBundle", &request).unwrap();
        self.site.fetch(&exported.file_id).unwrap()
    }

    /// Checks a bundle to its end.
    pub(crate) fn ingest(&self, bundle: &[u8]) -> Result<office::IngestResponse, Status> {
        let request = office::IngestRequest { file_id: self.hq.stage(bundle) };
        for _ in 0..100 {
            let step: office::IngestResponse =
                self.hq.call("auditor", "eva", "Ingest", &request)?;
            if step.done {
                return Ok(step);
            }
        }
        panic!("a small bundle is checked in a hundred steps");
    }

    pub(crate) fn import_receipt(
        &self,
        receipt: &[u8],
    ) -> Result<line::ImportReceiptResponse, Status> {
        let request = line::ImportReceiptRequest { file_id: self.site.stage(receipt) };
        self.site.call("operator", "mei", "ImportReceipt", &request)
    }

    /// A bundle there, a receipt back.
    pub(crate) fn report(&self) -> (office::IngestResponse, line::ImportReceiptResponse) {
        let ingested = self.ingest(&self.bundle()).unwrap();
        let receipt = self.hq.fetch(&ingested.receipt_file_id).unwrap();
        let taken = self.import_receipt(&receipt).unwrap();
        (ingested, taken)
    }
}

/// A site with its plugin that knows `hq`, and that `hq` knows.
pub(crate) fn new_site(world: &World, hq: &TestHost, name: &str) -> TestHost {
    let mut site = world.site(name);
    site.install::<DeviceKeyPlugin>();
    world.introduce(hq, &site);
    site.enrol_station("line-4", &[]);
    site.enrol_station("line-5", &[]);
    site
}

pub(crate) fn import_at(site: &TestHost, file: &[u8]) -> Result<line::ImportResponse, Status> {
    let request = line::ImportRequest { file_id: site.stage(file) };
    site.call("operator", "mei", "Import", &request)
}

pub(crate) fn request(entitlement: &str, subject: &str, csr: Vec<u8>) -> line::ProvisionRequest {
    line::ProvisionRequest {
        entitlement: entitlement.to_owned(),
        subject: subject.to_owned(),
        serial: None,
        csr,
        fields: Default::default(),
    }
}

/// Each order has serial numbers of its own; those of the first begin with T2.
fn ordered(number: &str) -> office::Product {
    let mut product = device_born();
    if let Some(office::product::Serial::Assigned(serial)) = &mut product.serial
        && number != "PO-1"
    {
        serial.prefix = format!("{number}-");
    }
    product
}

/// A product whose devices make their keys.
pub(crate) fn device_born() -> office::Product {
    office::Product {
        id: "thermostat-2".to_owned(),
        name: "Thermostat 2".to_owned(),
        origin: office::KeyOrigin::DeviceBorn.into(),
        algorithm: "ecdsa-p256".to_owned(),
        delivery: office::Delivery::None.into(),
        template: Some(office::CertificateTemplate {
            organization: "Acme".to_owned(),
            model: "T2".to_owned(),
            fields: vec![office::TemplateField {
                name: "organizational-unit".to_owned(),
                max_bytes: 32,
            }],
        }),
        serial: Some(office::product::Serial::Assigned(office::AssignedSerial {
            prefix: "T2-".to_owned(),
            digits: 6,
            start: 1,
            check: office::CheckDigit::None.into(),
        })),
        subjects: Vec::new(),
        pool: String::new(),
    }
}

/// Terms with room everywhere.
pub(crate) fn terms(total: u64, now_ms: u64) -> office::Terms {
    office::Terms {
        total,
        not_before_ms: now_ms,
        not_after_ms: now_ms + 30 * DAY_MS,
        rates: vec![office::Rate { units: 100, per_seconds: 10 }],
        audit_return: Some(office::AuditReturn { units: 100, seconds: 7 * 86_400 }),
        scrap_allowance: Some(2),
        ..office::Terms::default()
    }
}
