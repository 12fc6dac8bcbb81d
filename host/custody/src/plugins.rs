//! Plugin versions and plugins' identities: installed, activated, listed.
//!
//! A plugin's keys belong to its name and survive upgrades. Its certificates name the active
//! measurement, so activation issues them anew.

use mintmark_crypto::SecretBytes;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::approval::Act;
use mintmark_exchange::row::{Event, PluginActivation};
use mintmark_model::{Name, Reason, Refusal};
use mintmark_pki::{LeafKind, LeafUsage};
use mintmark_store::Range;

use crate::call::Call;
use crate::custody::Custody;
use crate::disk::{self, plugin::*};
use crate::tables;
use crate::types::{Digest, PluginClaims, Session};
use crate::vault::Binding;

/// How long a plugin's certificates are valid, in days.
const CERTIFICATE_DAYS: u32 = 365;
/// The length of a stored part of a component.
const PART_BYTES: usize = 1 << 20;

/// A version of a plugin, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPlugin {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its security version.
    pub security_version: u32,
    /// SHA-256 of the component.
    pub measurement: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether calls go to it.
    pub active: bool,
    /// Names of those whose signatures over the release were verified; empty: unsigned.
    pub signers: Vec<String>,
}

/// The code that runs under a plugin's name.
pub(crate) struct Code {
    pub(crate) version: String,
    pub(crate) measurement: Digest,
    pub(crate) security_version: u32,
}

impl Custody {
    /// Keeps a component.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a name that is none; `WRONG_STATE` for a version that is kept with
    /// other bytes.
    pub async fn install_plugin(
        &self,
        session: Session,
        name: &str,
        measurement: Digest,
        version: &str,
        security_version: u32,
        component: &[u8],
    ) -> Result<(), Refusal> {
        let mut call = self.begin(session, None).await?;
        let record = PluginRecord {
            measurement,
            security_version,
            size: component.len() as u64,
            parts: 0,
            installed_at: call.now_ms(),
            signers: Vec::new(),
        };
        let installed = call.install_plugin((name, version), record, component).await;
        self.conclude(call, installed).await
    }

    /// Makes an installed version the active one of its name, and issues its certificates.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `APPROVAL_REQUIRED` for a security version below the active one.
    pub async fn activate_plugin(
        &self,
        session: Session,
        claims: &PluginClaims,
        version: &str,
    ) -> Result<(), Refusal> {
        let mut call = self.begin(session, None).await?;
        let activated = call.activate_plugin(claims, version).await;
        self.conclude(call, activated).await
    }

    /// All versions that are kept.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn plugins(&self) -> Result<Vec<InstalledPlugin>, Refusal> {
        let view = self.view().await?;
        let found = view.peek_range(&Range::all(tables::PLUGINS, Vec::new())).await?;
        let mut plugins = Vec::with_capacity(found.len());
        for (key, value) in found {
            let record: PluginRecord = disk::read(&value)?;
            let text = String::from_utf8_lossy(&key.key).into_owned();
            let Some((name, version)) = text.split_once('\0') else { continue };
            let place = tables::pair(tables::IDENTITIES, name, b"");
            let identity: Option<IdentityRecord> = view.peek(&place).await?;
            let active = identity.is_some_and(|identity| {
                identity.measurement == record.measurement && identity.active_version == version
            });
            plugins.push(InstalledPlugin {
                name: name.to_owned(),
                version: version.to_owned(),
                security_version: record.security_version,
                measurement: record.measurement,
                size: record.size,
                active,
                signers: record.signers,
            });
        }
        Ok(plugins)
    }

    /// The bytes of a component that is kept, measured again.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `UNAVAILABLE` for bytes that are not the ones that were installed.
    pub async fn plugin_component(&self, measurement: &Digest) -> Result<Vec<u8>, Refusal> {
        let view = self.view().await?;
        let prefix = tables::prefix(&hex::encode(measurement), b"");
        let parts = view.peek_range(&Range::all(tables::COMPONENTS, prefix)).await?;
        let component: Vec<u8> =
            parts.iter().flat_map(|(_, part)| part.expose().to_vec()).collect();
        if component.is_empty() {
            return Err(Refusal::not_found("component"));
        }
        if sha256(&component) != *measurement {
            let detail = "A component is not the one that was installed; run `mintmark verify`.";
            return Err(Refusal::new(Reason::Unavailable, detail));
        }
        Ok(component)
    }
}

impl Call {
    async fn install_plugin(
        &mut self,
        (name, version): (&str, &str),
        mut record: PluginRecord,
        component: &[u8],
    ) -> Result<(), Refusal> {
        if Name::parse(name).is_none() || version.is_empty() || version.len() > 64 {
            return Err(Refusal::invalid("The plugin's name or version is malformed."));
        }
        let measurement = record.measurement;
        if sha256(component) != measurement {
            return Err(Refusal::invalid("The component is not the one that was measured."));
        }
        let place = tables::pair(tables::PLUGINS, name, version);
        if let Some(known) = self.read::<PluginRecord>(&place).await? {
            if known.measurement == measurement {
                return Ok(());
            }
            let detail = "This version is installed with other bytes; give it another version.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let id = hex::encode(measurement);
        for bytes in component.chunks(PART_BYTES) {
            let part = tables::part(tables::COMPONENTS, &id, record.parts);
            self.view.put(part, SecretBytes::new(bytes.to_vec()));
            record.parts += 1;
        }
        self.record(Event::PluginInstalled(PluginActivation {
            name: name.to_owned(),
            version: version.to_owned(),
            security_version: record.security_version,
            measurement,
            publishers: Vec::new(),
        }));
        self.view.write(place, record);
        Ok(())
    }

    async fn activate_plugin(
        &mut self,
        claims: &PluginClaims,
        version: &str,
    ) -> Result<(), Refusal> {
        let place = tables::pair(tables::PLUGINS, &claims.name, version);
        let installed: Option<PluginRecord> = self.read(&place).await?;
        let installed = installed
            .filter(|installed| installed.measurement == claims.measurement)
            .ok_or_else(|| Refusal::not_found("installed version of the plugin"))?;
        let place = tables::pair(tables::IDENTITIES, &claims.name, b"");
        let known: Option<IdentityRecord> = self.read(&place).await?;
        let (name, measurement) = (claims.name.clone(), installed.measurement);
        if let Some(known) = &known {
            if known.measurement == measurement {
                return Ok(());
            }
            if installed.security_version < known.security_version {
                let name = name.clone();
                self.require_approvals(&Act::DowngradePlugin { name, measurement }).await?;
            }
        }
        let security_version = installed.security_version;
        let code = Code { version: version.to_owned(), measurement, security_version };
        let record = self.issue_identity(&claims.name, code, known.as_ref())?;
        self.view.write(place, record);
        self.record(Event::PluginActivated(PluginActivation {
            name,
            version: version.to_owned(),
            security_version: installed.security_version,
            measurement,
            publishers: Vec::new(),
        }));
        Ok(())
    }

    /// Certificates for the code that runs under a plugin's name: for the keys that the name has,
    /// or for new ones.
    pub(crate) fn issue_identity(
        &mut self,
        name: &str,
        code: Code,
        known: Option<&IdentityRecord>,
    ) -> Result<IdentityRecord, Refusal> {
        let vault = &self.host.vault;
        let broken = |_| Refusal::new(Reason::Unavailable, "The plugin's identity does not open.");
        let (signing, encryption) = match known {
            Some(known) => {
                let signing = vault.open(&signing_binding(name), &known.signing_key)?;
                (
                    SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, signing.expose())
                        .map_err(broken)?,
                    vault.recipient_key(&encryption_binding(name), &known.encryption_key)?,
                )
            }
            None => (
                SigningKey::generate(SignatureAlgorithm::EcdsaP256),
                RecipientKey::generate(Suite::X25519Sha256Aes256Gcm),
            ),
        };
        let signing_key = vault.seal(&signing_binding(name), signing.to_pkcs8().expose());
        let encryption_key = vault.seal(&encryption_binding(name), encryption.to_bytes().expose());
        let Code { version, measurement, security_version } = code;
        let keys = [
            (signing.public_key_info(), LeafUsage::Signing),
            (encryption.public_key_info(), LeafUsage::Encryption),
        ];
        let mut certificates = Vec::with_capacity(2);
        for (key, usage) in keys {
            let leaf = (LeafKind::Plugin, name);
            let issued = self.issue_leaf(leaf, key, usage, Some(&measurement), CERTIFICATE_DAYS)?;
            certificates.push(issued);
        }
        let encryption_certificate = certificates.pop().unwrap_or_default();
        let signing_certificate = certificates.pop().unwrap_or_default();
        Ok(IdentityRecord {
            active_version: version,
            measurement,
            security_version,
            signing_key,
            encryption_key,
            signing_certificate,
            encryption_certificate,
        })
    }
}

/// What a plugin's signing key is bound to in the vault.
pub(crate) fn signing_binding(plugin: &str) -> Binding<'_> {
    Binding { owner: "host", name: plugin, algorithm: "plugin-signing", policy: None }
}

/// What a plugin's encryption key is bound to in the vault.
pub(crate) fn encryption_binding(plugin: &str) -> Binding<'_> {
    Binding { owner: "host", name: plugin, algorithm: "plugin-encryption", policy: None }
}
