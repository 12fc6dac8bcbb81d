//! A tour of the whole contract, with a search of the memory after every call of the host.

use mintmark_sdk::allotments::{self, Allotment, Failure};
use mintmark_sdk::certificates::{self, Csr};
use mintmark_sdk::key_sets::KeySet;
use mintmark_sdk::keys::{Algorithm, Key, KeyPolicy, Operations, Recipients};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::transfers::{self, Proposal};
use mintmark_sdk::{Error, caller, clock, ledger, log, peers, records};

use crate::memory;
use crate::proto::{Needle, SearchRequest, SearchResponse, Step};

/// The plugin and the role of recipients that there are none of.
const NOWHERE: &str = "site/nowhere";

/// Walks through the interfaces and says what was found on the way.
pub(crate) fn search(request: SearchRequest) -> SearchResponse {
    let mut tour = Tour { needles: &request.needles, steps: Vec::new() };
    tour.plain("instance", || ());
    if request.order.is_empty() {
        tour.surroundings();
        let key = tour.signing();
        tour.symmetric();
        tour.key_sets();
        tour.certificates(&request, key.as_ref());
        tour.device(&request);
        tour.records();
        tour.ledger(&request);
        tour.transfers(&request);
    } else {
        tour.step("transfers.import-grant", || transfers::import_grant(&request.order));
    }
    let steps = tour.steps;
    let control = request.needles.iter().map(memory::is_found_in_the_clear).collect();
    SearchResponse { steps, control, memory_bytes: memory::size() as u64 }
}

struct Tour<'a> {
    needles: &'a [Needle],
    steps: Vec<Step>,
}

impl Tour<'_> {
    /// One call of the host; a refusal is an answer too.
    fn step<T>(&mut self, name: &str, act: impl FnOnce() -> Result<T, Error>) -> Option<T> {
        let answer = act();
        let refused = answer.as_ref().err().map(|error| error.code().to_owned());
        let found = memory::search(self.needles);
        let refused = refused.unwrap_or_default();
        self.steps.push(Step { name: name.to_owned(), refused, found });
        answer.ok()
    }

    fn plain<T>(&mut self, name: &str, act: impl FnOnce() -> T) {
        self.step(name, || Ok(act()));
    }

    fn surroundings(&mut self) {
        self.plain("clock.now", clock::now);
        self.plain("clock.state", clock::state);
        self.plain("caller.current", caller::current);
        self.plain("caller.request-id", caller::request_id);
        self.plain("caller.time-left-ms", caller::time_left_ms);
        self.plain("log.write", || log::info!("a guest looks around"));
        self.step("peers.clusters", peers::clusters);
        self.step("peers.get", || peers::identity(NOWHERE, "hostile"));
    }

    fn signing(&mut self) -> Option<Key> {
        let policy = KeyPolicy::new(Operations::SIGN | Operations::VERIFY);
        let mut last = None;
        for (name, algorithm) in
            [("own-ed25519", Algorithm::ED25519), ("own-p256", Algorithm::ECDSA_P256)]
        {
            let key = self.step("keys.generate", || Key::generate(name, algorithm, &policy));
            let Some(key) = key else { continue };
            self.step("keys.open", || Key::open(name));
            self.step("key.attributes", || key.attributes());
            self.step("key.public-key", || key.public_key());
            let signature = self.step("key.sign", || key.sign(b"message")).unwrap_or_default();
            self.step("key.verify", || key.verify(b"message", &signature));
            last = Some(key);
        }
        last
    }

    fn symmetric(&mut self) {
        let generate = |name, algorithm, operations| {
            move || Key::generate(name, algorithm, &KeyPolicy::new(operations))
        };
        let operations = Operations::ENCRYPT | Operations::DECRYPT;
        let aes = generate("own-aes", Algorithm::AES_256_GCM, operations);
        if let Some(key) = self.step("keys.generate", aes) {
            let sealed = self.step("key.encrypt", || key.encrypt(b"text", b"with"));
            let sealed = sealed.unwrap_or_default();
            self.step("key.decrypt", || key.decrypt(&sealed, b"with"));
        }
        let operations = Operations::MAC | Operations::VERIFY_MAC;
        let mac = generate("own-mac", Algorithm::HMAC_SHA_256, operations);
        if let Some(key) = self.step("keys.generate", mac) {
            let tag = self.step("key.mac", || key.mac(b"message")).unwrap_or_default();
            self.step("key.verify-mac", || key.verify_mac(b"message", &tag));
        }
        let root = generate("own-root", Algorithm::HKDF_SHA_256, Operations::DERIVE);
        if let Some(key) = self.step("keys.generate", root) {
            let policy = KeyPolicy::new(operations);
            let (name, algorithm) = ("own-derived", Algorithm::HMAC_SHA_256);
            self.step("key.derive", || key.derive(name, algorithm, b"context", &policy));
            self.step("key.destroy", || key.destroy());
        }
    }

    fn key_sets(&mut self) {
        let recipients = Recipients::every_site("device-key", Operations::DERIVE);
        let generate = || KeySet::generate("own-set", Algorithm::ECDSA_P256, 100, &recipients);
        let Some(set) = self.step("key-sets.generate", generate) else { return };
        self.step("key-sets.open", || KeySet::open("own-set"));
        self.step("key-set.attributes", || set.attributes());
        self.step("key-set.destroy", || set.destroy());
    }

    fn certificates(&mut self, request: &SearchRequest, key: Option<&Key>) {
        let create = || certificates::create_product_ca("own-ca", "acme", "thermostat-9");
        if let Some(ca) = self.step("certificates.create-product-ca", create) {
            self.step("certificates.chain", || certificates::chain(&ca));
        }
        let recipients = Recipients::every_site("device-key", Operations::CERTIFY);
        let create = || certificates::create_batch_key("own-batch", &recipients);
        self.step("certificates.create-batch-key", create);
        if let Some(csr) = self.step("certificates.read-csr", || Csr::read(&request.csr)) {
            self.plain("csr.public-key", || csr.public_key());
            self.plain("csr.key-hash", || csr.key_hash());
            self.plain("csr.algorithm", || csr.algorithm());
            self.plain("csr.subject-serial", || csr.subject_serial());
        }
        let allotment = &request.entitlement;
        self.step("certificates.allotment-chain", || certificates::allotment_chain(allotment));
        let Some(public_key) = key.and_then(|key| key.public_key().ok()) else { return };
        self.step("certificates.verify-signature", || {
            certificates::verify_signature(&public_key, b"message", b"signature")
        });
    }

    fn device(&mut self, request: &SearchRequest) {
        self.step("allotments.names", || allotments::names(None, 10));
        let open = || Allotment::open(&request.entitlement);
        let Some(allotment) = self.step("allotments.open", open) else { return };
        self.step("allotment.status", || allotment.status());
        let Ok(csr) = Csr::read(&request.csr) else { return };
        let draw = || allotment.draw(&request.subject, None);
        let Some(unit) = self.step("allotment.draw", draw) else { return };
        self.step("unit.status", || unit.status());
        self.step("unit.certify-csr", || unit.certify_csr(&csr, &[]));
        self.step("unit.seal-to-station", || unit.seal_to_station(&[]));
        self.step("unit.seal-to-device", || unit.seal_to_device(&csr, &[]));
        self.step("unit.seal-to-device", || unit.seal_to_device(&csr, &[]));
        self.step("unit.artefact", || unit.artefact());
        self.step("unit.fail", || unit.fail(Failure::Transient, "it was not there"));
        self.step("unit.confirm", || unit.confirm(None));
        self.step("unit.scrap", || unit.scrap("no good"));
        self.step("allotment.find", || allotment.find(&request.subject));
        self.step("allotment.scan", || allotment.scan(0, 10));
    }

    fn records(&mut self) {
        self.step("records.put", || records::put("key", "value"));
        self.step("records.get", || records::get("key"));
        self.step("records.scan", || records::scan(b"", None, 10));
        self.step("records.delete", || records::delete("key"));
    }

    fn ledger(&mut self, request: &SearchRequest) {
        self.step("ledger.note", || ledger::note("a guest was here"));
        self.step("ledger.checkpoints", ledger::checkpoints);
        self.step("ledger.read", || ledger::read("n1", 0, 64 << 10));
        self.step("ledger.verify-checkpoint", || ledger::verify_checkpoint(&request.rubbish));
        self.step("ledger.held-heads", || ledger::held_heads(NOWHERE));
    }

    fn transfers(&mut self, request: &SearchRequest) {
        let proposal = Proposal {
            cluster: NOWHERE,
            plugin: "device-key",
            proposal: &request.rubbish,
            product_ca: None,
            batch_key: None,
            key_set: None,
        };
        self.step("transfers.export-grant", || transfers::export_grant(&proposal));
        self.step("transfers.import-grant", || transfers::import_grant(&request.rubbish));
        self.step("transfers.import-receipt", || transfers::import_receipt(&request.rubbish));
        self.step("transfers.export-receipt", || {
            transfers::export_receipt(&[0; 32], &[request.rubbish.clone()], "clean")
        });
        self.step("messages.open", || messages::open(Purpose::Receipt, &"0".repeat(32)));
        self.step("messages.seal", || messages::seal(Purpose::Bundle, NOWHERE, "hostile", b""));
    }
}
