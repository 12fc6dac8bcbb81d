//! Certificate authorities for devices, and certificate requests.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::row::Event;
use mintmark_model::policy::{ContentRule, ExportRule, KeyPolicy, Recipients};
use mintmark_model::{Algorithm, Operation, Operations, Reason, Refusal};
use mintmark_pki::VerifiedCsr;
use mintmark_pki::device::product_ca;

use crate::call::Call;
use crate::disk::allotment::AllotmentRecord;
use crate::disk::key::KeyKind;
use crate::keys::{Material, NewKey, OpenKey};
use crate::transfers::batch_ca_of;
use crate::types::SlotKind;
use crate::units::OpenUnit;
use crate::{tables, units};

/// The algorithm of product and batch CAs.
const CA_ALGORITHM: Algorithm = Algorithm::EcdsaP256;

impl Call {
    /// Checks form and proof of possession of a PKCS#10 request.
    ///
    /// # Errors
    ///
    /// `CSR_INVALID`; the detail says which part.
    pub fn read_csr(&self, der: &[u8]) -> Result<VerifiedCsr, Refusal> {
        VerifiedCsr::check(der).map_err(|error| {
            Refusal::new(
                Reason::CsrInvalid,
                format!("The certificate request is refused: {error}."),
            )
        })
    }

    /// Makes a product CA.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` without a slot; `WRONG_STATE` for a name that is taken;
    /// `INVALID_ARGUMENT`.
    pub async fn create_product_ca(
        &mut self,
        name: &str,
        organization: &str,
        product: &str,
    ) -> Result<OpenKey, Refusal> {
        self.check_storage()?;
        let operations = Operations::of(&[Operation::Certify]);
        self.check_slot(SlotKind::ProductCa, name, CA_ALGORITHM, operations, false)?;
        for text in [organization, product] {
            let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !(1..=64).contains(&text.len()) || !printable {
                let detail = "Organisation and product are 1 to 64 printable ASCII characters.";
                return Err(Refusal::invalid(detail));
            }
        }
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let certificate =
            product_ca(&key, organization, product, self.now_ms()).map_err(|error| {
                tracing::warn!(%error, "a product CA could not be made");
                Refusal::invalid("A product CA with these names can not be made.")
            })?;
        let policy = KeyPolicy {
            operations,
            grants: vec![self.grant_to_itself(operations)?],
            activation: None,
            deactivation: None,
            content: ContentRule::Certificate,
            export: ExportRule::Never,
            allotment: None,
        };
        let certificate_hash = sha256(&certificate);
        let kind = KeyKind::ProductCa(certificate);
        let material = Material::Signing(key);
        let algorithm = CA_ALGORITHM;
        let new = NewKey { name: name.to_owned(), algorithm, policy, kind, material };
        self.store_key(new).await?;
        self.record(Event::CaMade { name: name.to_owned(), certificate_hash });
        Ok(OpenKey { name: name.to_owned() })
    }

    /// Makes the key of a batch CA, to be exported once under a grant.
    ///
    /// # Errors
    ///
    /// As [`Call::create_product_ca`].
    pub async fn create_batch_key(
        &mut self,
        name: &str,
        recipients: Recipients,
    ) -> Result<OpenKey, Refusal> {
        self.check_storage()?;
        let operations = Operations::of(&[Operation::Certify]);
        self.check_slot(SlotKind::BatchKey, name, CA_ALGORITHM, operations, true)?;
        let policy = self.exportable(ContentRule::Certificate, Operation::Certify, recipients)?;
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let new = NewKey {
            name: name.to_owned(),
            algorithm: CA_ALGORITHM,
            policy,
            kind: KeyKind::BatchKey,
            material: Material::Signing(key),
        };
        self.store_key(new).await?;
        Ok(OpenKey { name: name.to_owned() })
    }

    /// The certificate of a product CA.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a key that is none.
    pub async fn ca_chain(&mut self, key: &OpenKey) -> Result<Vec<Vec<u8>>, Refusal> {
        match self.load_key(&key.name).await?.record.kind {
            KeyKind::ProductCa(certificate) => Ok(vec![certificate]),
            _ => Err(Refusal::not_found("certificate of this key")),
        }
    }

    /// The chain that devices of an allotment need, batch CA first.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn allotment_chain(&mut self, name: &str) -> Result<Vec<Vec<u8>>, Refusal> {
        let plugin = self.plugin_name()?;
        let place = tables::pair(tables::ALLOTMENTS, &plugin, name);
        let record: Option<AllotmentRecord> = self.read(&place).await?;
        let grant = units::grant_of(&record.ok_or_else(|| Refusal::not_found("entitlement"))?)?;
        Ok(grant.batch_ca.into_iter().chain(grant.product_ca).collect())
    }

    /// The chain of a unit's certificate, batch CA first: the same for ever.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn unit_chain(&mut self, unit: &OpenUnit) -> Result<Vec<Vec<u8>>, Refusal> {
        let record = self.allotment_record(&unit.grant).await?;
        let batch_ca = batch_ca_of(&record, &unit.grant, unit.number);
        Ok(batch_ca.into_iter().chain(unit.grant.product_ca.clone()).collect())
    }

    /// Whether `signature` over `message` is right under a SubjectPublicKeyInfo.
    #[must_use]
    pub fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        mintmark_crypto::sign::verify(public_key, message, signature).is_ok()
    }
}
