//! A tour of the whole contract, with a search of the memory after every call of the host.

use mintmark_sdk::allotments::{self, Allotment, Failure};
use mintmark_sdk::certificates::{self, Csr};
use mintmark_sdk::key_sets::KeySet;
use mintmark_sdk::keys::{Algorithm, Key, KeyPolicy, Operations, Recipients};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::transfers::{self, Proposal};
use mintmark_sdk::{Error, caller, clock, ledger, log, peers, records};

use crate::memory;
use crate::proto::{SearchRequest, SearchResponse, Step};

/// The plugin to which everything is addressed: this one, elsewhere.
const PLUGIN: &str = "hostile";

/// Walks through the parts that are asked for and says what was found on the way.
pub(crate) fn search(request: &SearchRequest) -> SearchResponse {
    let mut tour = Tour { request, response: SearchResponse::default() };
    tour.plain("instance", || ());
    for part in &request.parts {
        match part.as_str() {
            "host" => tour.host(),
            "keys" => tour.keys(),
            "grant" => tour.grant(),
            "import" => tour.import(),
            "device" => tour.device(),
            "messages" => tour.messages(),
            "receipt" => tour.receipt(),
            _ => {}
        }
    }
    let mut response = tour.response;
    response.control = request.needles.iter().map(memory::is_found_in_the_clear).collect();
    response.memory_bytes = memory::size() as u64;
    response
}

struct Tour<'a> {
    request: &'a SearchRequest,
    response: SearchResponse,
}

impl Tour<'_> {
    /// One call of the host; a refusal is an answer too.
    fn step<T>(&mut self, name: &str, act: impl FnOnce() -> Result<T, Error>) -> Option<T> {
        let answer = act();
        let refused = answer.as_ref().err().map(|error| error.code().to_owned());
        let found = memory::search(&self.request.needles);
        let refused = refused.unwrap_or_default();
        self.response.steps.push(Step { name: name.to_owned(), refused, found });
        answer.ok()
    }

    fn plain<T>(&mut self, name: &str, act: impl FnOnce() -> T) -> Option<T> {
        self.step(name, || Ok(act()))
    }

    fn host(&mut self) {
        self.plain("clock.now", clock::now);
        self.plain("clock.state", clock::state);
        self.plain("caller.current", caller::current);
        self.plain("caller.request-id", caller::request_id);
        self.plain("caller.time-left-ms", caller::time_left_ms);
        self.plain("log.write", || log::info!("a guest looks around"));
        self.step("peers.clusters", peers::clusters);
        self.step("peers.get", || peers::identity(&self.request.peer, PLUGIN));
        self.step("records.put", || records::put("key", "value"));
        self.step("records.get", || records::get("key"));
        self.step("records.scan", || records::scan(b"", None, 10));
        self.step("records.delete", || records::delete("key"));
        self.step("ledger.note", || ledger::note("a guest was here"));
        let checkpoints = self.step("ledger.checkpoints", || ledger::checkpoints(None, 1 << 20));
        self.response.checkpoints = checkpoints.map_or_else(Vec::new, |signed| signed.orders);
        self.step("ledger.read", || ledger::read("n1", 0, 64 << 10));
        self.step("ledger.held-heads", || ledger::held_heads(&self.request.peer));
    }

    fn keys(&mut self) {
        self.signing("own-ed25519", Algorithm::ED25519);
        self.signing("own-p256", Algorithm::ECDSA_P256);
        self.symmetric();
        self.derivation();
        self.requests();
    }

    fn generate(&mut self, name: &str, algorithm: Algorithm, may: Operations) -> Option<Key> {
        let policy = KeyPolicy::new(may);
        self.step("keys.generate", || Key::generate(name, algorithm, &policy))
    }

    fn signing(&mut self, name: &str, algorithm: Algorithm) {
        let may = Operations::SIGN | Operations::VERIFY;
        let Some(key) = self.generate(name, algorithm, may) else { return };
        self.step("keys.open", || Key::open(name));
        self.step("key.attributes", || key.attributes());
        let public_key = self.step("key.public-key", || key.public_key()).unwrap_or_default();
        let signature = self.step("key.sign", || key.sign(b"message")).unwrap_or_default();
        self.step("key.verify", || key.verify(b"message", &signature));
        self.step("certificates.verify-signature", || {
            certificates::verify_signature(&public_key, b"message", &signature)
        });
    }

    fn symmetric(&mut self) {
        let may = Operations::ENCRYPT | Operations::DECRYPT;
        if let Some(key) = self.generate("own-aes", Algorithm::AES_256_GCM, may) {
            let sealed = self.step("key.encrypt", || key.encrypt(b"text", b"with"));
            let sealed = sealed.unwrap_or_default();
            self.step("key.decrypt", || key.decrypt(&sealed, b"with"));
        }
        let may = Operations::MAC | Operations::VERIFY_MAC;
        if let Some(key) = self.generate("own-mac", Algorithm::HMAC_SHA_256, may) {
            let tag = self.step("key.mac", || key.mac(b"message")).unwrap_or_default();
            self.step("key.verify-mac", || key.verify_mac(b"message", &tag));
        }
    }

    fn derivation(&mut self) {
        let root = self.generate("own-root", Algorithm::HKDF_SHA_256, Operations::DERIVE);
        if let Some(key) = root {
            let policy = KeyPolicy::new(Operations::MAC | Operations::VERIFY_MAC);
            let (name, algorithm) = ("own-derived", Algorithm::HMAC_SHA_256);
            self.step("key.derive", || key.derive(name, algorithm, b"context", &policy));
            self.step("key.destroy", || key.destroy());
        }
        let recipients = Recipients::every_site(PLUGIN, Operations::DERIVE);
        let generate = || KeySet::generate("own-set", Algorithm::ECDSA_P256, 100, &recipients);
        let Some(set) = self.step("key-sets.generate", generate) else { return };
        self.step("key-sets.open", || KeySet::open("own-set"));
        self.step("key-set.attributes", || set.attributes());
        self.step("key-set.destroy", || set.destroy());
    }

    fn requests(&mut self) {
        let read = || Csr::read(&self.request.csr);
        let Some(csr) = self.step("certificates.read-csr", read) else { return };
        self.plain("csr.public-key", || csr.public_key());
        self.plain("csr.key-hash", || csr.key_hash());
        self.plain("csr.algorithm", || csr.algorithm());
        self.plain("csr.subject-serial", || csr.subject_serial());
    }

    /// Makes the keys of an entitlement and exports them; only headquarters may.
    fn grant(&mut self) {
        let create = || certificates::create_product_ca("own-ca", "acme", "thermostat-9");
        let ca = self.step("certificates.create-product-ca", create);
        if let Some(ca) = &ca {
            self.step("certificates.chain", || certificates::chain(ca));
        }
        let recipients = Recipients::every_site(PLUGIN, Operations::CERTIFY);
        let create = || certificates::create_batch_key("own-batch", &recipients);
        let batch = self.step("certificates.create-batch-key", create);
        let recipients = Recipients::every_site(PLUGIN, Operations::DERIVE);
        let generate = || KeySet::generate("own-granted", Algorithm::ECDSA_P256, 9, &recipients);
        let set = self.step("key-sets.generate", generate);
        let proposal = Proposal {
            cluster: &self.request.peer,
            plugin: PLUGIN,
            proposal: &self.request.proposal,
            product_ca: ca.as_ref(),
            batch_key: batch.as_ref(),
            key_set: set.as_ref(),
        };
        let export = || transfers::export_grant(&proposal);
        if let Some(exported) = self.step("transfers.export-grant", export) {
            self.response.order = exported.order;
        }
    }

    fn import(&mut self) {
        self.step("transfers.import-grant", || transfers::import_grant(&self.request.order));
    }

    fn device(&mut self) {
        let SearchRequest { entitlement, subject, .. } = self.request;
        self.step("allotments.names", || allotments::names(None, 10));
        self.step("certificates.allotment-chain", || certificates::allotment_chain(entitlement));
        let open = || Allotment::open(entitlement);
        let Some(allotment) = self.step("allotments.open", open) else { return };
        self.step("allotment.status", || allotment.status());
        let read = || Csr::read(&self.request.csr);
        let Some(csr) = self.step("certificates.read-csr", read) else { return };
        let draw = || allotment.draw(subject, None);
        let Some(unit) = self.step("allotment.draw", draw) else { return };
        self.step("unit.status", || unit.status());
        for _ in 0..2 {
            self.step("unit.certify-csr", || unit.certify_csr(&csr, &[]));
            self.step("unit.seal-to-station", || unit.seal_to_station(&[]));
            self.step("unit.seal-to-device", || unit.seal_to_device(&csr, &[]));
        }
        self.step("unit.artefact", || unit.artefact());
        self.step("unit.fail", || unit.fail(Failure::Transient, "it was not there"));
        self.step("unit.give-back", || unit.give_back("not needed"));
        self.step("unit.hand-over", || unit.hand_over("nobody"));
        for ordinal in [0, 1, 1] {
            self.step("unit.recertify", || unit.recertify(ordinal, &[]));
        }
        self.step("unit.confirm", || unit.confirm(None));
        self.step("unit.scrap", || unit.scrap("no good"));
        self.step("allotment.revocation-list", || allotment.revocation_list());
        self.step("allotment.find", || allotment.find(subject));
        self.step("allotment.scan", || allotment.scan(0, 10));
    }

    fn messages(&mut self) {
        let grants = caller::current().cluster.starts_with("headquarters/");
        let (sends, receives) = match grants {
            true => (Purpose::Entitlement, Purpose::Bundle),
            false => (Purpose::Bundle, Purpose::Entitlement),
        };
        let open = || messages::open(receives, &self.request.file);
        if let Some(opened) = self.step("messages.open", open) {
            self.plain("opened.sender", || opened.sender());
            self.plain("opened.header", || opened.header());
            self.plain("opened.made-at", || opened.made_at());
            self.plain("opened.digest", || opened.digest());
            self.plain("opened.length", || opened.length());
            self.step("opened.read", || opened.read(0, 1 << 10));
            self.step("opened.accept", || opened.accept());
        }
        let seal = || messages::seal(sends, &self.request.peer, PLUGIN, b"header");
        let Some(mut writer) = self.step("messages.seal", seal) else { return };
        // More than goes to the host at once, so that a part goes now and the rest at the end.
        let body = vec![0x5a; messages::RANGE_BYTES_MAX + 1];
        self.step("writer.write", || writer.append(&body));
        if let Some(sealed) = self.step("writer.finish", || writer.finish()) {
            self.response.file = sealed.file;
        }
    }

    /// Headquarters gives a receipt for checkpoints, a site takes one.
    fn receipt(&mut self) {
        let checkpoints = &self.request.checkpoints;
        for checkpoint in checkpoints {
            self.step("ledger.verify-checkpoint", || ledger::verify_checkpoint(checkpoint));
        }
        let export = || transfers::export_receipt(&[0x5a; 32], checkpoints, "clean");
        let receipt = self.step("transfers.export-receipt", export);
        self.response.order.extend(receipt.unwrap_or_default());
        self.step("transfers.import-receipt", || transfers::import_receipt(&self.request.order));
    }
}
