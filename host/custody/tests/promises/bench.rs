//! A site whose plugin does what a test tells it, and a headquarters that grants everything.

use futures_executor::block_on;
use mintmark_custody::{Artefact, Call, Carry, CommitFailure, OpenUnit, VerifiedCsr};
use mintmark_exchange::bundle::{BundleHead, VERSION, push_frame};
use mintmark_exchange::canonical::encode;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::proposal::{EntitlementBody, GrantProposal, ReceiptMessageBody};
use mintmark_exchange::row::{Event, Row, UnitEvent};
use mintmark_model::{Counters, Reason, Refusal};
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::{Package, Plugin, Status, ledger, transfers};
use mintmark_sdk_testing::{Device, Hardware, NODE, Office, TestHost, World};

/// The site's plugin.
pub(crate) struct Line;

impl Plugin for Line {
    const NAME: &'static str = "device-key";
    const VERSION: &'static str = "0.1.0";
    const SERVICES: &'static [&'static str] = &[];

    fn dispatch(_: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, Status> {
        Err(Status::unimplemented())
    }
}

impl Package for Line {
    const MANIFEST: &'static str = include_str!("line.toml");
    const DESCRIPTORS: &'static [u8] = &[];
}

/// Headquarters and site, which know each other.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) hq: TestHost,
    pub(crate) site: TestHost,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(Hardware::memory())
    }

    /// A bench whose site runs on this hardware.
    pub(crate) fn on(hardware: Hardware) -> Self {
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<Office>();
        let mut site = world.site_on("shenzhen", hardware);
        site.install::<Line>();
        world.introduce(&hq, &site);
        for station in ["line-4", "line-5"] {
            site.enrol_station(station, &[]);
        }
        Self { world, hq, site }
    }

    /// The same after a restart of the site.
    pub(crate) fn restarted(self) -> Self {
        let Self { world, hq, site } = self;
        Self { world, hq, site: site.restart().unwrap() }
    }

    pub(crate) fn order(&self, number: &str, total: u64) -> GrantProposal {
        Office::order(number, total, self.site.clock().now_ms())
    }

    /// A file that grants an order to the site.
    pub(crate) fn granted(&self, order: &GrantProposal) -> Vec<u8> {
        Office::grant(&self.hq, &self.site.uri(), Line::NAME, order).unwrap()
    }

    /// Grants and imports an order of so many devices; gives the entitlement's id.
    pub(crate) fn entitlement(&self, total: u64) -> String {
        self.entitlement_of(&self.order("po-1", total))
    }

    pub(crate) fn entitlement_of(&self, order: &GrantProposal) -> String {
        import(&self.site, &self.granted(order)).unwrap()
    }

    /// A call of the station's.
    pub(crate) async fn call(&self) -> Call {
        self.call_as("line-4", None).await
    }

    pub(crate) async fn call_as(&self, station: &str, carry: Option<Carry>) -> Call {
        self.call_of(("station", station), carry).await
    }

    pub(crate) async fn call_of(&self, (role, name): (&str, &str), carry: Option<Carry>) -> Call {
        let session = self.site.session_of::<Line>(role, name);
        self.site.custody().begin(session, carry).await.unwrap()
    }

    /// Does something with a device's unit in a call of its own.
    pub(crate) fn with_unit<T>(
        &self,
        (role, name): (&str, &str),
        (entitlement, subject): (&str, &str),
        act: impl AsyncFnOnce(&mut Call, &OpenUnit) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        block_on(async {
            let session = self.site.session_of::<Line>(role, name);
            let mut call = self.site.custody().begin(session, None).await.unwrap();
            let done = async {
                let allotment = call.open_allotment(entitlement).await?;
                let unit = call.find_unit(&allotment, subject).await?;
                act(&mut call, &unit).await
            };
            match done.await {
                Ok(done) => finish(call).await.map(|()| done),
                Err(refusal) => {
                    call.abort(refusal.reason).await;
                    Err(refusal)
                }
            }
        })
    }

    /// Draws a unit in a call of its own.
    pub(crate) fn reserve(&self, entitlement: &str, subject: &str) -> Result<u64, Refusal> {
        self.reserve_with(entitlement, subject, None)
    }

    /// The same for a device that brings its serial number.
    pub(crate) fn reserve_with(
        &self,
        entitlement: &str,
        subject: &str,
        serial: Option<&str>,
    ) -> Result<u64, Refusal> {
        block_on(async {
            let mut call = self.call().await;
            let allotment = call.open_allotment(entitlement).await?;
            let drawn = call.draw(&allotment, subject, serial).await;
            match drawn {
                Ok(unit) => {
                    let number = call.unit_status(&unit).await?.number;
                    finish(call).await.map(|()| number)
                }
                Err(refusal) => {
                    call.abort(refusal.reason).await;
                    Err(refusal)
                }
            }
        })
    }

    /// Provisions a device in a call of its own.
    pub(crate) fn provision(
        &self,
        entitlement: &str,
        subject: &str,
        device: &Device,
    ) -> Result<Artefact, Refusal> {
        self.provision_as("line-4", entitlement, subject, device)
    }

    pub(crate) fn provision_as(
        &self,
        station: &str,
        entitlement: &str,
        subject: &str,
        device: &Device,
    ) -> Result<Artefact, Refusal> {
        self.provision_of(("station", station), entitlement, subject, device)
    }

    pub(crate) fn provision_of(
        &self,
        who: (&str, &str),
        entitlement: &str,
        subject: &str,
        device: &Device,
    ) -> Result<Artefact, Refusal> {
        block_on(async {
            let mut call = self.call_of(who, None).await;
            match issue(&mut call, entitlement, subject, device).await {
                Ok((_, artefact)) => finish(call).await.map(|()| artefact),
                Err(refusal) => {
                    call.abort(refusal.reason).await;
                    Err(refusal)
                }
            }
        })
    }

    /// The counters of an entitlement, which keep the equation.
    pub(crate) fn counters(&self, entitlement: &str) -> Counters {
        let status = block_on(async {
            let mut call = self.call().await;
            let allotment = call.open_allotment(entitlement).await?;
            call.allotment_status(&allotment).await
        });
        let counters = status.unwrap().counters;
        let [credited, parts @ ..] = counters.in_row_order();
        assert_eq!(credited, parts.iter().sum::<u64>(), "{counters:?}");
        counters
    }

    /// Every row of the site's ledger, chained.
    pub(crate) fn rows(&self) -> Vec<Row> {
        rows(&self.site)
    }

    /// The rows about units, in order.
    pub(crate) fn unit_rows(&self) -> Vec<UnitEvent> {
        let unit = |row: Row| match row.body.event {
            Event::Unit(event) => Some(*event),
            _ => None,
        };
        self.rows().into_iter().filter_map(unit).collect()
    }

    /// The site's bundle, without its rows: what a receipt is given for.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        let file = self.site.run::<Line, _>("auditor", "eve", || {
            let orders = ledger::checkpoints(None, 1 << 24)?.orders;
            let decoded = orders.iter().map(|order| SignedOrder::decode(order).unwrap());
            let head = BundleHead { version: VERSION, checkpoints: decoded.collect() };
            let mut frames = Vec::new();
            push_frame(&mut frames, &encode(&head)).unwrap();
            let hq = "headquarters/berlin";
            let mut writer = messages::seal(Purpose::Bundle, hq, Office::NAME, &[])?;
            writer.append(&frames)?;
            Ok(writer.finish()?.file)
        });
        self.site.fetch(&file.unwrap()).unwrap()
    }

    /// A bundle there; gives the receipt.
    pub(crate) fn receipt(&self) -> Vec<u8> {
        Office::acknowledge(&self.hq, &self.bundle()).unwrap()
    }
}

/// Every row of a host's ledger, chained.
pub(crate) fn rows(host: &TestHost) -> Vec<Row> {
    let encoded = host.run::<Line, _>("auditor", "eve", || {
        let mut rows = Vec::new();
        loop {
            let page = ledger::read(NODE, rows.len() as u64, 1 << 20)?;
            if page.rows.is_empty() {
                return Ok(rows);
            }
            rows.extend(page.rows);
        }
    });
    let rows: Vec<Row> = encoded.unwrap().iter().map(|row| Row::decode(row).unwrap()).collect();
    for pair in rows.windows(2) {
        assert_eq!((pair[1].sequence, pair[1].previous), (pair[0].sequence + 1, pair[0].hash));
    }
    rows
}

/// Imports an entitlement at a host.
pub(crate) fn import(site: &TestHost, file: &[u8]) -> Result<String, Status> {
    let file = site.try_stage(file)?;
    site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Entitlement, &file)?;
        let body = EntitlementBody::decode(&message.read_all(1 << 22)?).unwrap();
        Ok(transfers::import_grant(&body.order)?.entitlement)
    })
}

/// Imports a receipt at a host; gives the entitlements that it renewed.
pub(crate) fn import_receipt(site: &TestHost, file: &[u8]) -> Result<Vec<String>, Status> {
    let file = site.stage(file);
    site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Receipt, &file)?;
        let body = ReceiptMessageBody::decode(&message.read_all(1 << 22)?).unwrap();
        Ok(transfers::import_receipt(&body.order)?.entitlements)
    })
}

/// Draws and issues.
pub(crate) async fn issue(
    call: &mut Call,
    entitlement: &str,
    subject: &str,
    device: &Device,
) -> Result<(OpenUnit, Artefact), Refusal> {
    let csr: VerifiedCsr = call.read_csr(&device.csr())?;
    let unit = draw(call, entitlement, subject).await?;
    let artefact = call.certify_csr(&unit, &csr, &[]).await?;
    Ok((unit, artefact))
}

/// Draws.
pub(crate) async fn draw(
    call: &mut Call,
    entitlement: &str,
    subject: &str,
) -> Result<OpenUnit, Refusal> {
    let allotment = call.open_allotment(entitlement).await?;
    call.draw(&allotment, subject, None).await
}

/// Commits; a conflict is an ordinary refusal here.
pub(crate) async fn finish(call: Call) -> Result<(), Refusal> {
    match call.commit().await {
        Ok(()) => Ok(()),
        Err(CommitFailure::Refused(refusal)) => Err(refusal),
        Err(CommitFailure::Conflict(_)) => Err(Refusal::new(Reason::Conflict, "others")),
    }
}
