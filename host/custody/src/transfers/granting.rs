//! Headquarters signs a grant, and seals the keys under it to the site's host.

use mintmark_crypto::hpke::Sender;
use mintmark_crypto::random;
use mintmark_exchange::approval::Act;
use mintmark_exchange::canonical;
use mintmark_exchange::grant::{
    AcceptedPlugins, Grant, GrantPackage, PackageKind, PackageRef, SealedPackage, TermsError,
};
use mintmark_exchange::order::GRANT;
use mintmark_exchange::product::KeyOrigin;
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::Event;
use mintmark_exchange::standing::Audit;
use mintmark_model::policy::Content;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::device::batch_ca;
use mintmark_store::{Key, Range};

use super::PACKAGE_INFO;
use crate::call::Call;
use crate::disk;
use crate::disk::granted::{CreditRecord, GrantedRecord};
use crate::disk::key::KeyKind;
use crate::keys::{OpenKey, OpenKeySet};
use crate::peers::first_key;
use crate::permit::{Certify, Export, LoadedKey};
use crate::tables;
use crate::types::ExportedGrant;

/// Over how long credits are added up for the approval threshold.
const CREDIT_WINDOW_MS: u64 = 30 * 86_400_000;

/// The keys that go under a grant, as they were read.
struct GrantKeys {
    product_ca: Option<LoadedKey>,
    batch: Option<LoadedKey>,
    set: Option<LoadedKey>,
    /// The batch CA's public key.
    batch_key: Option<Vec<u8>>,
}

/// The certificates of product CA and batch CA.
#[derive(Default)]
struct Authorities {
    product: Option<Vec<u8>>,
    batch: Option<Vec<u8>>,
}

impl Call {
    /// Signs a grant for a peer's plugin.
    ///
    /// # Errors
    ///
    /// `TERMS_INVALID`; `APPROVAL_REQUIRED` above the threshold; `NOT_FOUND` for the peer;
    /// `WRONG_STATE` for a key that was exported before, for a pool of a restored store, and before
    /// a bundle has shown a restored headquarters what the site holds;
    /// `QUOTA_EXHAUSTED` for a pool that has too few keys; what the policies of the keys say.
    pub async fn export_grant(
        &mut self,
        cluster: &str,
        plugin: &str,
        proposal: &[u8],
        product_ca: Option<&OpenKey>,
        batch_key: Option<&OpenKey>,
        key_set: Option<&OpenKeySet>,
    ) -> Result<ExportedGrant, Refusal> {
        self.check_claim("grant")?;
        if !self.host.identity.is_headquarters() {
            return Err(Refusal::denied("Only headquarters grants."));
        }
        self.check_storage()?;
        // Credits, numbers and keys belong to a grant that was signed, or the call is not
        // committed.
        let keys = (product_ca, batch_key, key_set);
        let exported = self.export_whole(cluster, plugin, proposal, keys).await;
        self.whole(exported)
    }

    async fn export_whole(
        &mut self,
        cluster: &str,
        plugin: &str,
        proposal: &[u8],
        (product_ca, batch_key, key_set): (Option<&OpenKey>, Option<&OpenKey>, Option<&OpenKeySet>),
    ) -> Result<ExportedGrant, Refusal> {
        let proposal = check_proposal(proposal)?;
        let (recipient, peer, device_key) = self.peer_plugin(cluster, plugin).await?;
        self.refuse_stale_stream(&recipient).await?;
        self.refuse_before_entry(&recipient).await?;
        self.refuse_overdue(&recipient).await?;
        let entitlement = format!("ent-{}", hex::encode(random::array::<8>()));
        self.check_credit(&recipient, &proposal, &entitlement).await?;
        let transfer = first_key(&peer.transfer, self.now_ms())?;
        let mut keys = self.grant_keys(product_ca, batch_key, key_set).await?;
        check_keys(&proposal, &keys)?;
        let number = self.next_number().await?;
        let authorities = self.certify_batch(&keys, &proposal, number)?;
        let mut grant = Grant {
            version: 1,
            entitlement,
            number,
            order: proposal.order,
            exporter: self.host.identity.uri(),
            recipient,
            issued_at: self.now_ms(),
            product: proposal.product,
            terms: proposal.terms,
            product_ca: authorities.product,
            batch_ca: authorities.batch,
            packages: Vec::new(),
            accepted_plugins: AcceptedPlugins {
                measurements: vec![device_key.measurement],
                publishers: Vec::new(),
            },
        };
        let packages = self.seal_packages(&mut keys, &grant, plugin, &transfer)?;
        let mut listed: Vec<_> = (packages.iter())
            .map(|package| PackageRef { kind: package.kind, digest: package.digest() })
            .collect();
        if let Some(pool) = proposal.pool {
            listed.push(self.take_from_pool(&pool, &grant, &transfer).await?);
        }
        grant.packages = listed;
        grant.check().map_err(|error| terms_invalid(&error))?;
        let batch_key = keys.batch_key.take();
        let place = tables::pair(tables::GRANTED, &grant.recipient, &grant.entitlement);
        let message = Some(self.next_place(&grant.recipient).await?);
        self.view.write(place, GrantedRecord { message, ..GrantedRecord::of(&grant, batch_key) });
        Ok(self.sign_grant(&grant, packages))
    }

    /// Beyond the threshold people must agree, however many orders it is cut into.
    async fn check_credit(
        &mut self,
        site: &str,
        proposal: &GrantProposal,
        entitlement: &str,
    ) -> Result<(), Refusal> {
        let total = proposal.terms.total;
        let sum = self.credit(site, &proposal.product.id, total, entitlement).await?;
        if sum <= self.host.settings.approval_units {
            return Ok(());
        }
        let act = Act::Order {
            order: proposal.order.clone(),
            recipient: site.to_owned(),
            proposal: mintmark_crypto::digest::sha256(&proposal.encode()),
            total,
        };
        self.require_approvals(&act).await
    }

    /// Credits a site with units; says how many of the product it was credited in thirty days.
    pub(super) async fn credit(
        &mut self,
        site: &str,
        product: &str,
        units: u64,
        entitlement: &str,
    ) -> Result<u64, Refusal> {
        self.credit_at(self.now_ms(), site, product, units, entitlement).await
    }

    /// The same for what was credited at `at`.
    pub(super) async fn credit_at(
        &mut self,
        at: u64,
        site: &str,
        product: &str,
        units: u64,
        entitlement: &str,
    ) -> Result<u64, Refusal> {
        let place = tables::pair(tables::CREDITS, site, product);
        let mut credits: Vec<CreditRecord> = self.read(&place).await?.unwrap_or_default();
        let since = self.now_ms().saturating_sub(CREDIT_WINDOW_MS);
        credits.retain(|credit| credit.at > since);
        credits.push(CreditRecord { at, units, entitlement: entitlement.to_owned() });
        let sum = credits.iter().fold(0_u64, |sum, credit| sum.saturating_add(credit.units));
        self.view.write(place, credits);
        Ok(sum)
    }

    /// A site that owes an audit gets nothing more.
    async fn refuse_overdue(&mut self, site: &str) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let stream = self.stream_record(site).await?;
        let range = Range::all(tables::GRANTED, tables::prefix(site, b""));
        for (key, value) in self.view.peek_range(&range).await? {
            let record: GrantedRecord = disk::read(&value)?;
            let due = !record.never_due(&stream);
            if due && record.standing(now_ms).audit == Audit::Overdue {
                let entitlement = String::from_utf8_lossy(&key.key[site.len() + 1..]);
                let detail =
                    format!("The site owes an audit bundle about {entitlement}; ingest it first.");
                return Err(Refusal::new(Reason::ReceiptOverdue, detail));
            }
        }
        Ok(())
    }

    async fn grant_keys(
        &mut self,
        product_ca: Option<&OpenKey>,
        batch_key: Option<&OpenKey>,
        key_set: Option<&OpenKeySet>,
    ) -> Result<GrantKeys, Refusal> {
        let mut keys = GrantKeys { product_ca: None, batch: None, set: None, batch_key: None };
        if let Some(key) = product_ca {
            keys.product_ca = Some(self.load_key(&key.name).await?);
        }
        if let Some(key) = batch_key {
            let batch = self.load_key(&key.name).await?;
            keys.batch_key.clone_from(&batch.record.public_key);
            keys.batch = Some(batch);
        }
        if let Some(set) = key_set {
            keys.set = Some(self.load_key(&set.name).await?);
        }
        Ok(keys)
    }

    /// The next entitlement number of this headquarters.
    async fn next_number(&mut self) -> Result<u32, Refusal> {
        let place = number_place();
        let last: u32 = self.read(&place).await?.unwrap_or(0);
        let next = last.checked_add(1).ok_or_else(|| {
            Refusal::new(Reason::QuotaExhausted, "There are no more entitlement numbers.")
        })?;
        self.view.write(place, next);
        Ok(next)
    }

    /// The certificates of product CA and batch CA, where the product has certificates.
    fn certify_batch(
        &mut self,
        keys: &GrantKeys,
        proposal: &GrantProposal,
        number: u32,
    ) -> Result<Authorities, Refusal> {
        let (Some(product), Some(batch)) = (&keys.product_ca, &keys.batch) else {
            return Ok(Authorities::default());
        };
        let KeyKind::ProductCa(certificate) = product.record.kind.clone() else {
            return Err(Refusal::invalid("The product CA is none."));
        };
        let permit = self.permit::<Certify>(product, Content::Certificate, None)?;
        let signer = permit.signing_key(&self.host.vault)?;
        let public_key = batch.record.public_key.as_deref().unwrap_or_default();
        let (id, total) = (&proposal.product.id, proposal.terms.total);
        let issued = batch_ca(&signer, &certificate, public_key, id, number, total, self.now_ms());
        let issued = issued.map_err(|error| {
            tracing::warn!(%error, "a batch CA could not be certified");
            Refusal::invalid("The product CA does not fit the product.")
        })?;
        let certificate_hash = mintmark_crypto::digest::sha256(&issued);
        self.record(Event::CaMade { name: batch.name.clone(), certificate_hash });
        Ok(Authorities { product: Some(certificate), batch: Some(issued) })
    }

    fn seal_packages(
        &mut self,
        keys: &mut GrantKeys,
        grant: &Grant,
        plugin: &str,
        transfer: &[u8],
    ) -> Result<Vec<SealedPackage>, Refusal> {
        let mut packages = Vec::new();
        let listed =
            [(PackageKind::BatchCa, keys.batch.take()), (PackageKind::KeySet, keys.set.take())];
        for (kind, key) in listed {
            let Some(mut key) = key else { continue };
            packages.push(self.seal_package(kind, &key, grant, plugin, transfer)?);
            key.record.exported = true;
            self.update_key(key);
        }
        Ok(packages)
    }

    fn seal_package(
        &mut self,
        kind: PackageKind,
        key: &LoadedKey,
        grant: &Grant,
        plugin: &str,
        transfer: &[u8],
    ) -> Result<SealedPackage, Refusal> {
        if key.record.exported {
            let detail = "The key went into another grant; every grant has keys of its own.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let peer = Content::Peer { cluster: &grant.recipient, plugin };
        let material = self.permit::<Export>(key, peer, None)?.material(&self.host.vault)?;
        let unusable = |_| Refusal::not_found("transfer key of that peer");
        let (encapsulated, mut sender) = Sender::new(transfer, PACKAGE_INFO).map_err(unusable)?;
        let ciphertext = sender.seal(&grant.core_digest(), material.expose());
        let operation = mintmark_model::Operation::Export;
        self.key_used(key, operation, grant.recipient.as_bytes());
        Ok(SealedPackage { kind, encapsulated, ciphertext })
    }

    fn sign_grant(&mut self, grant: &Grant, packages: Vec<SealedPackage>) -> ExportedGrant {
        let signed = self.host.identity.sign_order(GRANT, canonical::encode(grant));
        self.taint();
        self.record(Event::GrantExported {
            entitlement: grant.entitlement.clone(),
            number: grant.number,
            grant: grant.digest(),
            recipient: grant.recipient.clone(),
            total: grant.terms.total,
            order: grant.order.clone(),
        });
        ExportedGrant {
            entitlement: grant.entitlement.clone(),
            number: grant.number,
            grant: signed.encode(),
            order: GrantPackage { grant: signed, packages }.encode(),
        }
    }
}

/// Where the last entitlement number is.
pub(crate) fn number_place() -> Key {
    Key::new(tables::NUMBERS, b"entitlement")
}

/// Keys are there exactly where the product needs them, and are what it needs.
fn check_keys(proposal: &GrantProposal, keys: &GrantKeys) -> Result<(), Refusal> {
    let product = &proposal.product;
    let certified = product.template.is_some();
    let derived = product.origin == KeyOrigin::Derived;
    let fits = keys.product_ca.is_some() == certified
        && keys.batch.is_some() == certified
        && keys.set.is_some() == derived
        && keys.set.as_ref().is_none_or(|set| is_for(&set.record.kind, proposal));
    if fits {
        return Ok(());
    }
    let detail = "Product CA and batch key go with a template, a key set with derived keys.";
    Err(Refusal::new(Reason::TermsInvalid, detail))
}

/// A set has a key of the product's algorithm for each unit.
fn is_for(kind: &KeyKind, proposal: &GrantProposal) -> bool {
    match kind {
        KeyKind::KeySet { size, algorithm } => {
            *size >= proposal.terms.total && *algorithm == proposal.product.algorithm
        }
        _ => false,
    }
}

fn check_proposal(proposal: &[u8]) -> Result<GrantProposal, Refusal> {
    let proposal = GrantProposal::decode(proposal)
        .map_err(|_| Refusal::new(Reason::TermsInvalid, "The proposal is malformed."))?;
    proposal.check().map_err(|error| terms_invalid(&error))?;
    Ok(proposal)
}

pub(super) fn terms_invalid(error: &TermsError) -> Refusal {
    Refusal::new(Reason::TermsInvalid, format!("The terms are refused: {error}."))
}
