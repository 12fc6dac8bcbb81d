//! A site takes a grant: verified to the root, once, for the plugin that it names.

use mintmark_crypto::SecretBytes;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::grant::{Grant, GrantPackage, PackageKind, SealedPackage};
use mintmark_exchange::order::GRANT;
use mintmark_exchange::row::Event;
use mintmark_model::escrow::Held;
use mintmark_model::policy::{ContentRule, ExportRule, KeyPolicy};
use mintmark_model::{Algorithm, Operation, Operations, Reason, Refusal};
use mintmark_pki::{Certificate, ClusterRole};
use mintmark_store::{Key, Range};

use super::{PACKAGE_INFO, granting::terms_invalid};
use crate::call::Call;
use crate::counting::Credit;
use crate::disk::allotment::{AllotmentRecord, OrdersRecord};
use crate::disk::key::KeyKind;
use crate::disk::time::WindowsRecord;
use crate::escrows::windows_place;
use crate::host::untrusted;
use crate::keys::{self, Material, NewKey};
use crate::pending::PendingRow;
use crate::pools;
use crate::restoring::forgot_place;
use crate::rotation::ForHost;
use crate::tables;
use crate::types::ImportedGrant;
use crate::view::View;

impl Call {
    /// Makes the allotment and its keys, once.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`, `WRONG_SITE`, `WRONG_PLUGIN`, `TERMS_INVALID`; `KEY_RETIRED` for keys
    /// that are sealed to a key of the host's that opens no more; `REPLAYED` for an id that was
    /// imported before.
    pub async fn import_grant(&mut self, order: &[u8]) -> Result<ImportedGrant, Refusal> {
        let imported = self.import_whole(order).await;
        self.whole(imported)
    }

    async fn import_whole(&mut self, order: &[u8]) -> Result<ImportedGrant, Refusal> {
        self.check_claim("import")?;
        self.check_storage()?;
        let package = GrantPackage::decode(order).map_err(|_| untrusted())?;
        let grant = self.verify_grant(&package)?;
        self.check_recipient_of(&grant)?;
        grant.check().map_err(|error| terms_invalid(&error))?;
        self.refuse_known(&grant).await?;
        self.store_packages(&grant, &package).await?;
        self.store_allotment(&grant, &package).await?;
        Ok(ImportedGrant {
            entitlement: grant.entitlement,
            number: grant.number,
            grant: package.grant.encode(),
        })
    }

    /// The grant in a package, if a headquarters' host signed it and the packages are its own.
    fn verify_grant(&self, package: &GrantPackage) -> Result<Grant, Refusal> {
        // The moment at which the chain must hold is in the body; the signature over the body is
        // checked with it.
        let grant: Grant = package.grant.open().map_err(|_| untrusted())?;
        let chain = self.host.identity.verify_order(GRANT, &package.grant, grant.issued_at)?;
        let cluster = chain.id().cluster();
        let right = cluster.role() == ClusterRole::Headquarters
            && cluster.to_string() == grant.exporter
            && package.matches(&grant);
        if right { Ok(grant) } else { Err(untrusted()) }
    }

    fn check_recipient_of(&self, grant: &Grant) -> Result<(), Refusal> {
        if grant.recipient != self.host.identity.uri() {
            let detail = "The entitlement is for another site.";
            return Err(Refusal::new(Reason::WrongSite, detail));
        }
        if !grant.accepted_plugins.accept(&self.plugin()?.measurement, &[], 0) {
            let detail = "The entitlement is for another version of the plugin.";
            return Err(Refusal::new(Reason::WrongPlugin, detail));
        }
        Ok(())
    }

    async fn refuse_known(&mut self, grant: &Grant) -> Result<(), Refusal> {
        let forgot: Option<u64> = self.read(&forgot_place()).await?;
        if forgot.is_some_and(|since| grant.issued_at <= since) {
            let detail = "The host was restored on a platform that does not know what it imported, \
                          and may have had this entitlement. Send headquarters a bundle, take its \
                          receipt, and have a new entitlement granted.";
            return Err(Refusal::new(Reason::OutOfOrder, detail));
        }
        let id = remembered(&grant.entitlement);
        let place = tables::pair(tables::ALLOTMENTS, &self.plugin_name()?, &grant.entitlement);
        let known: Option<AllotmentRecord> = self.read(&place).await?;
        let by_number = Key::new(
            tables::NUMBERS,
            [b"grant ", &grant.number.to_be_bytes()[..], grant.exporter.as_bytes()].concat(),
        );
        let number: Option<String> = self.read(&by_number).await?;
        if known.is_none() && number.is_none() && !self.host.platform.remembers(&id) {
            self.view.write(by_number, grant.entitlement.clone());
            self.remember.push(id);
            return Ok(());
        }
        let detail = "The entitlement was imported before; nothing changed.";
        let refusal =
            Refusal::new(Reason::Replayed, detail).with("entitlement", grant.entitlement.clone());
        Err(match known {
            Some(known) => refusal.with("imported-at", known.imported_at.to_string()),
            None => refusal,
        })
    }

    async fn store_packages(
        &mut self,
        grant: &Grant,
        package: &GrantPackage,
    ) -> Result<(), Refusal> {
        for sealed in &package.packages {
            let material = self.open_package(grant, sealed).await?;
            let new = match sealed.kind {
                PackageKind::BatchCa => self.batch_key(grant, &material)?,
                PackageKind::KeySet => self.key_set(grant, material)?,
                // A grant lists it, but no message carries it.
                PackageKind::Pool => return Err(untrusted()),
            };
            self.store_key(new).await?;
        }
        if let Some(head) = grant.key_file() {
            let secret = keys::random_secret(Algorithm::HkdfSha256);
            let new = self.key_set(grant, secret)?;
            self.store_key(new).await?;
            self.expect_keys(grant, head)?;
        }
        Ok(())
    }

    /// Opens a key package with the host's transfer key.
    async fn open_package(
        &self,
        grant: &Grant,
        sealed: &SealedPackage,
    ) -> Result<SecretBytes, Refusal> {
        self.open_for_host(&ForHost {
            info: PACKAGE_INFO,
            encapsulated: &sealed.encapsulated,
            aad: &grant.core_digest(),
            ciphertext: &sealed.ciphertext,
        })
        .await
    }

    fn batch_key(&self, grant: &Grant, material: &SecretBytes) -> Result<NewKey, Refusal> {
        let key = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, material.expose());
        let key = key.map_err(|_| untrusted())?;
        let certificate = grant.batch_ca.as_deref().and_then(|der| Certificate::parse(der).ok());
        let fits = certificate.is_some_and(|one| one.public_key_info() == key.public_key_info());
        if !fits {
            return Err(untrusted());
        }
        Ok(NewKey {
            name: keys::batch_name(&grant.entitlement),
            algorithm: Algorithm::EcdsaP256,
            policy: self.through_units(grant, Operation::Certify, ContentRule::Certificate)?,
            kind: KeyKind::BatchKey,
            material: Material::Signing(key),
        })
    }

    fn key_set(&self, grant: &Grant, material: SecretBytes) -> Result<NewKey, Refusal> {
        if material.len() != 32 {
            return Err(untrusted());
        }
        Ok(NewKey {
            name: keys::set_name(&grant.entitlement),
            algorithm: Algorithm::HkdfSha256,
            policy: self.through_units(grant, Operation::Derive, ContentRule::Message)?,
            kind: KeyKind::KeySet {
                size: grant.terms.total,
                algorithm: grant.product.algorithm.clone(),
            },
            material: Material::Secret(material),
        })
    }

    /// The policy of an imported key: it stays here, and works only through units of its allotment.
    fn through_units(
        &self,
        grant: &Grant,
        operation: Operation,
        content: ContentRule,
    ) -> Result<KeyPolicy, Refusal> {
        let operations = Operations::of(&[operation]);
        Ok(KeyPolicy {
            operations,
            grants: vec![self.grant_to_itself(operations)?],
            activation: None,
            deactivation: None,
            content,
            export: ExportRule::Never,
            allotment: Some(grant.entitlement.clone()),
        })
    }

    async fn store_allotment(
        &mut self,
        grant: &Grant,
        package: &GrantPackage,
    ) -> Result<(), Refusal> {
        let plugin = self.plugin_name()?;
        let now = self.now_ms();
        let seconds = grant.terms.audit_return.seconds;
        let record = AllotmentRecord {
            grant: package.grant.encode(),
            plugin: plugin.clone(),
            imported_at: now,
            end: 0,
            closed_at: None,
            receipted_drawn: 0,
            receipt_due: self.latest_ms().saturating_add(seconds.saturating_mul(1_000)),
            orders: OrdersRecord::default(),
            written_off: false,
        };
        self.view.write(tables::pair(tables::ALLOTMENTS, &plugin, &grant.entitlement), record);
        let nothing = Held { drawn: 0, units: vec![0; grant.terms.rates.len()] };
        let windows = WindowsRecord::new(self.host.identity.incarnation, &nothing);
        self.view.write(windows_place(&grant.entitlement), windows);
        self.credits.push(Credit::added(grant, grant.terms.total));
        let event = Event::GrantImported {
            entitlement: grant.entitlement.clone(),
            number: grant.number,
            grant: grant.digest(),
            exporter: grant.exporter.clone(),
            total: grant.terms.total,
        };
        let row = PendingRow::plain(self.began, event);
        self.rows.push(PendingRow { allotment: Some(grant.entitlement.clone()), ..row });
        Ok(())
    }

    /// All allotments of this store, with their plugins.
    pub(crate) async fn all_allotments(&self) -> Result<Vec<(Key, AllotmentRecord)>, Refusal> {
        let found = self.view.peek_range(&Range::all(tables::ALLOTMENTS, Vec::new())).await?;
        found.into_iter().map(|(key, value)| Ok((key, crate::disk::read(&value)?))).collect()
    }
}

/// What the platform is to remember of all that this store has taken: entitlements, and chunks of
/// given keys.
pub(crate) async fn taken_digests(view: &View) -> Result<Vec<[u8; 32]>, Refusal> {
    let found = view.peek_range(&Range::all(tables::ALLOTMENTS, Vec::new())).await?;
    let name = |key: &Key| {
        let start = key.key.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
        String::from_utf8_lossy(&key.key[start..]).into_owned()
    };
    let mut taken = pools::taken_digests(view).await?;
    taken.extend(found.iter().map(|(key, _)| remembered(&name(key))));
    Ok(taken)
}

/// What the platform remembers of an entitlement, for ever.
pub(crate) fn remembered(entitlement: &str) -> [u8; 32] {
    sha256(&mintmark_crypto::framed("mintmark imported entitlement v1", &[entitlement.as_bytes()]))
}
