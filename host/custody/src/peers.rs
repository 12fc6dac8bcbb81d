//! Other clusters: who they are, and which of their plugins this host trusts.

use mintmark_model::{Reason, Refusal};
use mintmark_pki::Certificate;
use mintmark_store::{Key, Range};

use crate::call::Call;
use crate::disk::peer::{PeerPlugin, PeerRecord};
use crate::tables;
use crate::types::PeerIdentity;

impl Call {
    /// The identity of `plugin` in the cluster called `cluster`: a SPIFFE URI, or `<role>/<name>`.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn peer(&mut self, cluster: &str, plugin: &str) -> Result<PeerIdentity, Refusal> {
        let (uri, record, plugin) = self.peer_plugin(cluster, plugin).await?;
        Ok(PeerIdentity {
            cluster: uri,
            plugin: plugin.name,
            measurement: plugin.measurement,
            hardware_model: record.hardware_model,
        })
    }

    /// The clusters that are known, as SPIFFE URIs, in order.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn peer_clusters(&mut self) -> Result<Vec<String>, Refusal> {
        let found = self.view.peek_range(&Range::all(tables::PEERS, Vec::new())).await?;
        Ok(found.iter().map(|(key, _)| String::from_utf8_lossy(&key.key).into_owned()).collect())
    }

    /// A cluster's record with one of its plugins.
    pub(crate) async fn peer_plugin(
        &mut self,
        cluster: &str,
        plugin: &str,
    ) -> Result<(String, PeerRecord, PeerPlugin), Refusal> {
        let uri = self.peer_uri(cluster);
        let record = self.peer_record(&uri).await?;
        let record = record.ok_or_else(|| Refusal::not_found("cluster; import its identity"))?;
        let found = record.plugins.iter().find(|one| one.name == plugin).cloned();
        let found = found.ok_or_else(|| Refusal::not_found("plugin in that cluster"))?;
        Ok((uri, record, found))
    }

    /// The record of a cluster, by its SPIFFE URI.
    pub(crate) async fn peer_record(&mut self, uri: &str) -> Result<Option<PeerRecord>, Refusal> {
        self.read(&place(uri)).await
    }

    /// Writes the record of a cluster.
    pub(crate) fn write_peer(&mut self, uri: &str, record: PeerRecord) {
        self.view.write(place(uri), record);
    }

    pub(crate) fn peer_uri(&self, cluster: &str) -> String {
        match cluster.starts_with("spiffe://") {
            true => cluster.to_owned(),
            false => {
                let organization = self.host.identity.cluster.organization();
                format!("spiffe://{organization}/{cluster}")
            }
        }
    }
}

fn place(uri: &str) -> Key {
    Key::new(tables::PEERS, uri.as_bytes())
}

/// The public key of the first certificate of a chain that was verified when it was stored.
pub(crate) fn first_key(chain: &[Vec<u8>], now_ms: u64) -> Result<Vec<u8>, Refusal> {
    let first = chain.first().and_then(|der| Certificate::parse(der).ok());
    let certificate = first.ok_or_else(|| Refusal::not_found("certificate of that peer"))?;
    if now_ms >= certificate.validity().not_after_ms() {
        let detail = "The peer's certificate has expired. Have new keys made there, with \
                      `mintmark identity rotate`, and import its identity again.";
        return Err(Refusal::new(Reason::Expired, detail));
    }
    Ok(certificate.public_key_info().to_vec())
}
