//! A site that writes honest rows, and a headquarters that reconciles them.

use std::collections::BTreeMap;

use crate::{
    bundle::{self, BundleHead, push_frame},
    canonical::{Digest, encode, sha256},
    certificate::CertificateSerial,
    checkpoint::{Checkpoint, EntitlementCounters, Position},
    grant::{
        AcceptedPlugins, AuditReturn, ConfirmProof, Grant, Rate, Terms, VERSION as GRANT_VERSION,
    },
    merkle::Tree,
    order::{self, SignedOrder},
    product::{Delivery, KeyOrigin, Product, Template},
    proof::{DeviceProof, confirm_bytes},
    reconcile::{MemoryRegister, Orders, Outcome, Reconciler, SiteState, World},
    row::{Event, PluginRef, Row, RowBody, Started, UnitEvent, encode_envelope},
    serial::{CheckDigit, SerialRule},
    unit::{Counters, UnitChange, UnitState},
    verify::{Signer, Verify},
};

pub(crate) const HQ: &str = "spiffe://acme/headquarters/berlin";
pub(crate) const SHENZHEN: &str = "spiffe://acme/site/shenzhen";
pub(crate) const HANOI: &str = "spiffe://acme/site/hanoi";
pub(crate) const PLUGIN: Digest = [7; 32];
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// Signatures that are hashes: whoever has the public key can make them, which tests may.
pub(crate) struct Hashes;

impl Hashes {
    pub(crate) fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
        sha256(&[key, message].concat()).to_vec()
    }
}

impl Verify for Hashes {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        Self::sign(key, message) == signature
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, _at_ms: u64) -> Option<Signer> {
        let leaf = order.chain.first()?;
        let valid = self.verify_signature(leaf, &order.signed_bytes(label), &order.signature);
        let name = std::str::from_utf8(leaf).ok().filter(|_| valid)?;
        let (cluster, leaf) = name.rsplit_once("/custody/").map(|(c, n)| (c, ["custody/", n]))?;
        Some(Signer { cluster: cluster.to_owned(), leaf: leaf.concat() })
    }
}

pub(crate) fn sign_order<T: serde::Serialize>(label: &str, cluster: &str, body: &T) -> SignedOrder {
    let chain = vec![format!("{cluster}/custody/n1").into_bytes()];
    let body = encode(body);
    let signature = Hashes::sign(&chain[0], &order::signed_bytes(label, &body));
    SignedOrder { body, chain, signature }
}

pub(crate) fn grant(number: u32, recipient: &str) -> Grant {
    Grant {
        version: GRANT_VERSION,
        entitlement: format!("ent-{number:016x}"),
        number,
        order: format!("PO-{number}"),
        exporter: HQ.to_owned(),
        recipient: recipient.to_owned(),
        issued_at: START_MS,
        product: Product {
            id: "thermostat-2".to_owned(),
            name: "Thermostat 2".to_owned(),
            origin: KeyOrigin::DeviceBorn,
            algorithm: "ecdsa-p256".to_owned(),
            delivery: Delivery::None,
            template: Some(Template {
                organization: "Acme".to_owned(),
                model: "T2".to_owned(),
                fields: Vec::new(),
            }),
            serial: SerialRule::Assigned {
                prefix: format!("T{number}-"),
                digits: 6,
                start: 0,
                check: CheckDigit::Luhn,
            },
            subjects: None,
        },
        terms: terms(),
        product_ca: Some(vec![1]),
        batch_ca: Some(vec![2]),
        packages: Vec::new(),
        accepted_plugins: AcceptedPlugins { measurements: vec![PLUGIN], publishers: Vec::new() },
    }
}

fn terms() -> Terms {
    Terms {
        total: 100,
        not_before: START_MS,
        not_after: START_MS + 86_400_000,
        rates: vec![Rate { units: 4, per_seconds: 10 }],
        max_in_doubt: 50,
        max_attempts_per_subject: 3,
        max_units_per_subject: 1,
        scrap_allowance: 2,
        audit_return: AuditReturn { units: 20, seconds: 86_400 },
        confirm_proof: ConfirmProof::Required,
        grace_seconds: 3_600,
        lease_size: 100,
        max_pause_seconds: 86_400,
        certificates_per_unit: 1,
    }
}

/// One node of a site, with its ledger.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) incarnation: u64,
    /// The row before the first one that is kept.
    pub(crate) before: Position,
    pub(crate) rows: Vec<Vec<u8>>,
    pub(crate) counters: BTreeMap<String, Counters>,
    pub(crate) drawn: BTreeMap<String, u64>,
    pub(crate) now_ms: u64,
    pub(crate) boot: u64,
    pub(crate) plugin: Digest,
    pub(crate) role: String,
    pub(crate) station: String,
    pub(crate) suspect: bool,
    calls: u64,
}

impl Site {
    pub(crate) fn new(cluster: &str) -> Self {
        let mut site = Self {
            cluster: cluster.to_owned(),
            node: "n1".to_owned(),
            incarnation: 1,
            before: Position::default(),
            rows: Vec::new(),
            counters: BTreeMap::new(),
            drawn: BTreeMap::new(),
            now_ms: START_MS,
            boot: 0,
            plugin: PLUGIN,
            role: "station".to_owned(),
            station: "t1".to_owned(),
            suspect: false,
            calls: 0,
        };
        site.start();
        site
    }

    pub(crate) fn started(&self) -> Started {
        Started {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            incarnation: self.incarnation,
            hardware_model: "software-emulated".to_owned(),
            software: "0.1.0".to_owned(),
            replaces: None,
        }
    }

    pub(crate) fn start(&mut self) {
        self.boot += 1;
        let started = Event::Started(self.started());
        self.call(vec![(started, None)]);
    }

    /// The rows of a call that somebody else than the station makes.
    pub(crate) fn call_as(&mut self, who: (&str, &str), events: Vec<(Event, Option<&str>)>) {
        let (role, name) = (who.0.to_owned(), who.1.to_owned());
        let role = std::mem::replace(&mut self.role, role);
        let name = std::mem::replace(&mut self.station, name);
        self.call(events);
        (self.role, self.station) = (role, name);
    }

    /// Writes the rows of one call; rows with an entitlement have its counters.
    pub(crate) fn call(&mut self, events: Vec<(Event, Option<&str>)>) {
        self.calls += 1;
        let mut request = [0; 16];
        request[..8].copy_from_slice(&self.calls.to_be_bytes());
        for (event, entitlement) in events {
            let body = RowBody {
                version: crate::row::VERSION,
                time_ms: self.now_ms,
                monotonic_ms: self.now_ms - START_MS,
                boot: self.boot,
                clock_suspect: self.suspect,
                plugin: Some(PluginRef { name: "device-key".to_owned(), measurement: self.plugin }),
                principal: format!("{}/{}/{}", self.cluster, self.role, self.station),
                request,
                event,
            };
            let counters = entitlement.map(|entitlement| self.counters[entitlement].values());
            self.push(&body, counters.as_ref().map_or(&[], |values| &values[..]));
        }
    }

    /// Appends a row as the store does.
    pub(crate) fn push(&mut self, body: &RowBody, counters: &[u64]) {
        let head = self.head();
        let sequence = head.sequence + 1;
        let row = encode_envelope(sequence, &head.hash, &body.encode(), counters, &[9; 32]);
        self.rows.push(row.unwrap());
    }

    pub(crate) fn position(&self, sequence: u64) -> Position {
        match (sequence - self.before.sequence).checked_sub(1) {
            None => self.before,
            Some(index) => {
                let row = Row::decode(&self.rows[usize::try_from(index).unwrap()]).unwrap();
                Position { sequence: row.sequence, hash: row.hash }
            }
        }
    }

    pub(crate) fn head(&self) -> Position {
        self.position(self.before.sequence + self.rows.len() as u64)
    }

    pub(crate) fn import(&mut self, grant: &Grant) {
        let total = grant.terms.total;
        let counters = Counters { credited: total, unused: total, ..Counters::default() };
        self.counters.insert(grant.entitlement.clone(), counters);
        let event = Event::GrantImported {
            entitlement: grant.entitlement.clone(),
            number: grant.number,
            grant: grant.digest(),
            exporter: grant.exporter.clone(),
            total,
        };
        self.call(vec![(event, Some(&grant.entitlement))]);
    }

    /// Moves a unit and gives the row about it.
    pub(crate) fn change(
        &mut self,
        grant: &Grant,
        unit: u64,
        subject: &str,
        change: UnitChange,
        from: Option<UnitState>,
    ) -> Event {
        let to = UnitState::after(from, change).unwrap();
        let counters = self.counters.get_mut(&grant.entitlement).unwrap();
        assert!(counters.move_unit(from, to));
        Event::Unit(Box::new(unit_event(grant, unit, subject, change)))
    }

    /// Reserves and issues the next unit in one call.
    pub(crate) fn provision(&mut self, grant: &Grant, subject: &str) -> u64 {
        let drawn = self.drawn.entry(grant.entitlement.clone()).or_default();
        let unit = *drawn;
        *drawn += 1;
        let reserved = self.change(grant, unit, subject, UnitChange::Reserved, None);
        let from = Some(UnitState::Reserved);
        let issued = self.change(grant, unit, subject, UnitChange::Issued, from);
        let entitlement = Some(grant.entitlement.as_str());
        self.call(vec![(reserved, entitlement), (issued, entitlement)]);
        unit
    }

    pub(crate) fn confirm(&mut self, grant: &Grant, unit: u64, subject: &str) {
        let from = Some(UnitState::Issued);
        let event = self.change(grant, unit, subject, UnitChange::Confirmed, from);
        self.call(vec![(event, Some(&grant.entitlement))]);
    }

    /// Provisions and confirms `count` devices, at a pace that the rate allows.
    pub(crate) fn produce(&mut self, grant: &Grant, count: u64) {
        for _ in 0..count {
            self.now_ms += 2_500;
            let next = self.drawn.get(&grant.entitlement).copied().unwrap_or_default();
            let subject = format!("{}-{next}", grant.number);
            let unit = self.provision(grant, &subject);
            self.confirm(grant, unit, &subject);
        }
    }

    pub(crate) fn checkpoint(&self, from: u64) -> Checkpoint {
        let mut tree = Tree::new();
        for sequence in from + 1..=self.head().sequence {
            tree.push(&self.position(sequence).hash);
        }
        let counters = self.counters.iter().map(|(entitlement, counters)| EntitlementCounters {
            entitlement: entitlement.clone(),
            counters: *counters,
            drawn: self.drawn.get(entitlement).copied().unwrap_or_default(),
            limit: counters.credited,
            ended: counters.destroyed > 0,
        });
        Checkpoint {
            version: crate::checkpoint::VERSION,
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            incarnation: self.incarnation,
            from: self.position(from),
            to: self.head(),
            rows: tree.len(),
            merkle_root: tree.root(),
            counters: counters.collect(),
            clock_suspect: false,
            boots: self.boot,
            headquarters: HQ.to_owned(),
            applied_epoch: 0,
            applied_sequence: 0,
            hq_head: None,
            made_at: self.now_ms,
            as_of: self.now_ms,
        }
    }

    /// A bundle of the rows after `from`.
    pub(crate) fn bundle(&self, from: u64) -> Vec<u8> {
        let rows = &self.rows[usize::try_from(from).unwrap()..];
        body(&self.cluster, &[(self.checkpoint(from), rows.to_vec())])
    }
}

/// A bundle with these rows, whatever they are.
pub(crate) fn body(signer: &str, nodes: &[(Checkpoint, Vec<Vec<u8>>)]) -> Vec<u8> {
    let checkpoints =
        nodes.iter().map(|(read, _)| sign_order(order::CHECKPOINT, signer, read)).collect();
    let head = BundleHead { version: bundle::VERSION, checkpoints };
    let mut body = Vec::new();
    push_frame(&mut body, &encode(&head)).unwrap();
    for (_, rows) in nodes {
        for row in rows {
            push_frame(&mut body, row).unwrap();
        }
        push_frame(&mut body, &[]).unwrap();
    }
    body
}

pub(crate) fn unit_event(grant: &Grant, unit: u64, subject: &str, change: UnitChange) -> UnitEvent {
    let key = format!("key of {subject}").into_bytes();
    let certificate_hash = sha256(format!("certificate of {subject}").as_bytes());
    let issued = change != UnitChange::Reserved && change != UnitChange::Returned;
    let nonce = [3; 32];
    let message = confirm_bytes(&grant.entitlement, unit, &certificate_hash, &nonce);
    let serial = CertificateSerial { number: grant.number, unit, ordinal: 0 };
    UnitEvent {
        entitlement: grant.entitlement.clone(),
        unit,
        subject: subject.to_owned(),
        serial: grant.product.serial.make(unit),
        change,
        detail: String::new(),
        certificate_hash: issued.then_some(certificate_hash),
        key_hash: issued.then(|| sha256(&key)),
        certificate_serial: issued.then(|| serial.to_bytes().to_vec()),
        proof: (change == UnitChange::Confirmed).then(|| DeviceProof {
            signature: Hashes::sign(&key, &message),
            public_key: key,
            nonce,
        }),
    }
}

/// Headquarters: what it granted, the register, and the state of each site.
#[derive(Clone, Default)]
pub(crate) struct Headquarters {
    pub(crate) orders: Orders,
    pub(crate) register: MemoryRegister,
    pub(crate) states: BTreeMap<String, SiteState>,
    /// Bytes per step; all at once if zero.
    pub(crate) step: usize,
    /// The largest reconciler between two steps.
    pub(crate) encoded_bytes_max: usize,
}

impl Headquarters {
    pub(crate) fn with(grants: &[Grant]) -> Self {
        let grants = grants.iter().map(|grant| (grant.entitlement.clone(), grant.clone()));
        let orders = Orders { grants: grants.collect(), ..Orders::default() };
        Self { orders, ..Self::default() }
    }

    /// Reconciles a bundle, encoding the reconciler between any two steps.
    pub(crate) fn reconcile(&mut self, site: &str, body: &[u8]) -> Outcome {
        let held = self.states.get(site).cloned().unwrap_or_default();
        let mut reconciler = Reconciler::new(site, sha256(body), START_MS, held);
        let step = if self.step == 0 { body.len().max(1) } else { self.step };
        while let Some(offset) = reconciler.wanted() {
            let begin = usize::try_from(offset).unwrap();
            let end = (begin + step).min(body.len());
            let mut world =
                World { orders: &self.orders, register: &mut self.register, verify: &Hashes };
            reconciler.feed(&body[begin..end], &mut world).unwrap();
            let encoded = encode(&reconciler);
            self.encoded_bytes_max = self.encoded_bytes_max.max(encoded.len());
            reconciler = crate::canonical::decode(&encoded, usize::MAX).unwrap();
        }
        let outcome = reconciler.finish().unwrap();
        if outcome.advanced {
            self.states.insert(site.to_owned(), outcome.state.clone());
        }
        outcome
    }
}
