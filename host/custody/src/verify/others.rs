//! The records besides units: each can be read, keys open under their policies, content has its
//! digest.

use mintmark_crypto::digest::Sha256;
use mintmark_model::KeyState;
use mintmark_store::Range;
use serde::{Serialize, de::DeserializeOwned};

use super::{Check, Pages, VerifyError, parts, read, text, wrong};
use crate::disk::host::{FileRecord, UserRecord};
use crate::disk::key::KeyRecord;
use crate::disk::peer::*;
use crate::disk::plugin::{IdentityRecord, PluginRecord};
use crate::messages::host_binding;
use crate::pools;
use crate::rotation::Retired;
use crate::tables;
use crate::vault::Binding;

impl Check<'_> {
    /// Everything but allotments and units.
    pub(super) async fn others(&self) -> Result<(), VerifyError> {
        self.own_keys().await?;
        self.retired().await?;
        self.keys().await?;
        self.plugins().await?;
        self.files().await?;
        self.taken_keys().await?;
        self.all::<IdentityRecord>(tables::IDENTITIES, "the plugin").await?;
        self.all::<MessageRecord>(tables::MESSAGES, "the message").await?;
        self.all::<PeerRecord>(tables::PEERS, "the cluster").await?;
        self.all::<StreamRecord>(tables::STREAMS, "the stream").await?;
        self.all::<OutboxRecord>(tables::OUTBOX, "the message to").await?;
        self.all::<UserRecord>(tables::USERS, "the user").await?;
        self.all::<ExportRecord>(tables::EXPORTS, "the export of").await?;
        self.all::<HeldRecord>(tables::HELD, "the head of").await
    }

    /// The platform remembers every chunk of given keys.
    async fn taken_keys(&self) -> Result<(), VerifyError> {
        for id in pools::taken_digests(&self.view).await? {
            if self.platform.is_some_and(|platform| !platform.remembers(&id)) {
                return Err(wrong("given keys", "the platform does not remember them"));
            }
        }
        Ok(())
    }

    /// Every record of a table can be read.
    async fn all<T>(&self, table: u8, what: &str) -> Result<(), VerifyError>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut pages = Pages::of(table, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let _record: T = read(&value, format!("{what} {}", text(&key.key)))?;
            }
        }
        Ok(())
    }

    /// The host's own keys open.
    async fn own_keys(&self) -> Result<(), VerifyError> {
        let host = self.host().await?;
        let mut keys = vec![("cluster", host.cluster_key)];
        if let Some(installed) = host.installed {
            keys.push(("custody", installed.custody_key));
            keys.push(("transfer", installed.transfer_key));
        }
        for (name, sealed) in keys {
            let opened = self.vault.open(&host_binding(name), &sealed);
            opened.map_err(|_| wrong(format!("the host's {name} key"), "it does not open"))?;
        }
        Ok(())
    }

    /// Every retired key that is not destroyed opens.
    async fn retired(&self) -> Result<(), VerifyError> {
        let mut pages = Pages::of(tables::RETIRED, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (place, value) in page {
                let name = format!("the retired key of {}", parts(&place).0);
                let retired = Retired::at(&place, read(&value, &name)?);
                let retired = retired.ok_or_else(|| wrong(&name, "nobody has such keys"))?;
                if !retired.record.sealed.is_empty() {
                    let opened = self.vault.open(&retired.holder.binding(), &retired.record.sealed);
                    opened.map_err(|_| wrong(name, "it does not open"))?;
                }
            }
        }
        Ok(())
    }

    /// Every key that is not destroyed opens under the policy beside it.
    async fn keys(&self) -> Result<(), VerifyError> {
        let mut pages = Pages::of(tables::KEYS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let (owner, key) = parts(&key);
                let key = text(key);
                let name = format!("the key {key} of {owner}");
                let record: KeyRecord = read(&value, &name)?;
                if record.policy.policy().is_none() || record.algorithm().is_none() {
                    return Err(wrong(name, "it says what this program does not know"));
                }
                if record.state() == KeyState::Destroyed {
                    continue;
                }
                let binding = Binding {
                    owner: &owner,
                    name: &key,
                    algorithm: &record.algorithm,
                    policy: Some(&record.policy),
                };
                let opened = self.vault.open(&binding, &record.sealed);
                opened.map_err(|_| wrong(name, "it does not open under its policy"))?;
            }
        }
        Ok(())
    }

    /// Every version of a plugin has its component.
    async fn plugins(&self) -> Result<(), VerifyError> {
        let mut pages = Pages::of(tables::PLUGINS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let (plugin, version) = parts(&key);
                let name = format!("the plugin {plugin} {}", text(version));
                let record: PluginRecord = read(&value, &name)?;
                let id = hex::encode(record.measurement);
                let digest = self.content(tables::COMPONENTS, &id, record.parts).await?;
                if digest != Some(record.measurement) {
                    return Err(wrong(name, "its component is not the one that was installed"));
                }
            }
        }
        Ok(())
    }

    /// Every complete file has the content that its digest names; no part is left over.
    async fn files(&self) -> Result<(), VerifyError> {
        let mut pages = Pages::of(tables::FILES, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let id = text(&key.key);
                let name = format!("the file {id}");
                let record: FileRecord = read(&value, &name)?;
                let Some(digest) = record.digest else { continue };
                if self.content(tables::FILE_PARTS, &id, record.parts).await? != Some(digest) {
                    return Err(wrong(name, "its content is not the one that was staged"));
                }
            }
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            // One part of each file: parts are long.
            let range = Range::all(tables::FILE_PARTS, Vec::new()).limit(1);
            let range = match after.take() {
                Some(after) => range.after(after),
                None => range,
            };
            let found = self.view.peek_range(&range).await?;
            let Some((key, _)) = found.first() else { return Ok(()) };
            let (id, _) = parts(key);
            let place = mintmark_store::Key::new(tables::FILES, id.as_bytes());
            let name = format!("a part of the file {id}");
            if self.find::<FileRecord>(&place, &name).await?.is_none() {
                return Err(wrong(name, "there is no such file"));
            }
            after = Some(tables::part(tables::FILE_PARTS, &id, u32::MAX).key);
        }
    }

    /// The digest of content that is kept in parts; none where one is missing.
    async fn content(
        &self,
        table: u8,
        id: &str,
        parts: u32,
    ) -> Result<Option<[u8; 32]>, VerifyError> {
        let mut hash = Sha256::new();
        for part in 0..parts {
            let place = tables::part(table, id, part);
            let (value, _) = self.view.peek_versioned(&place).await?;
            let Some(value) = value else { return Ok(None) };
            hash.update(value.expose());
        }
        Ok(Some(hash.finish()))
    }
}
