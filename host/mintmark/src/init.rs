//! How a node begins, offline: store and request first, then the root's answer.

use std::path::{Path, PathBuf};

use mintmark_custody::{RootAnswer, genesis};
use mintmark_pki::LeafKind;

use crate::assemble::Keep;
use crate::authority::ROOT;
use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::files::{self, Folder};
use crate::pem;

/// The first step: store, platform and cluster key; gives the cluster's request. A repetition
/// gives the same request.
pub(crate) async fn prepare(config: &Config) -> Result<Vec<u8>, Error> {
    let cluster = config.cluster()?;
    let keep = Keep::prepare(config)?;
    match genesis::request(&*keep.store).await {
        Ok((known, request)) if known == cluster.to_string() => Ok(request),
        Ok((known, _)) => {
            let what = format!("the store is {known}'s, not {cluster}'s");
            Err(Error::misfit(what, "Name another data_dir, or the cluster as it was."))
        }
        Err(genesis::OpenError::NotInitialised) => {
            let (store, platform) = (&keep.store, &*keep.platform);
            let request =
                genesis::prepare(store, &keep.store_id, platform, &cluster, config.node());
            Ok(request.await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The files of the root's answer.
pub(crate) struct Answer<'a> {
    /// The root certificate, PEM.
    pub(crate) root: &'a Path,
    /// The cluster CA's certificate, PEM.
    pub(crate) certificate: &'a Path,
    /// The charter.
    pub(crate) charter: &'a Path,
}

/// The second step: installs the root's answer, and issues the first admin's certificate for the
/// request in `csr`. Gives the files that the admin gets in `out`, the context last.
pub(crate) async fn install(
    config: &Config,
    answer: Answer<'_>,
    (name, csr): (&str, &Path),
    out: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let answer = RootAnswer {
        root: pem::decode(pem::CERTIFICATE, &files::read(answer.root)?)?,
        certificate: pem::decode(pem::CERTIFICATE, &files::read(answer.certificate)?)?,
        charter: files::read(answer.charter)?,
    };
    let csr = pem::decode(pem::REQUEST, &files::read(csr)?)?;
    // Opened before anything is done that cannot be done twice.
    let folder = Folder::create(out)?;
    let parts = Keep::open(config)?.parts(config);
    let (custody, issued) = genesis::install(parts, answer, (name, &csr)).await?;
    let cluster = config.cluster()?;
    let node = cluster.leaf(LeafKind::Node, config.node());
    let node = node.map_err(|_| Error::Usage("the node's name is not one".to_owned()))?;
    let identity = UserFiles {
        name,
        chain: &issued.chain,
        sealing: None,
        root: &custody.trust_root(),
        address: config.listen(),
        server_name: &node.dns_name(),
    };
    identity.write(&folder)
}

/// What a person or station gets, besides the key that is its own.
pub(crate) struct UserFiles<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its certificate and the cluster CA's, DER.
    pub(crate) chain: &'a [Vec<u8>],
    /// Its certificate for HPKE, DER.
    pub(crate) sealing: Option<&'a [u8]>,
    /// The root certificate, DER.
    pub(crate) root: &'a [u8],
    /// The host's address.
    pub(crate) address: &'a str,
    /// The host's DNS name.
    pub(crate) server_name: &'a str,
}

impl UserFiles<'_> {
    /// Writes the files, the context last. The key is expected beside them, as
    /// `mintmark user key` writes it.
    pub(crate) fn write(&self, folder: &Folder) -> Result<Vec<PathBuf>, Error> {
        let name = self.name;
        let certificate = format!("{name}.pem");
        let mut written =
            vec![folder.write(&certificate, pem::encode_chain(self.chain).as_bytes())?];
        if let Some(sealing) = self.sealing {
            let text = pem::encode(pem::CERTIFICATE, sealing);
            written.push(folder.write(&format!("{name}.sealing.pem"), text.as_bytes())?);
        }
        let root = pem::encode(pem::CERTIFICATE, self.root);
        written.push(folder.write(ROOT, root.as_bytes())?);
        let context = Context {
            address: self.address.to_owned(),
            server_name: self.server_name.to_owned(),
            root: ROOT.into(),
            certificate: certificate.into(),
            key: format!("{name}.key.pem").into(),
        };
        let context = context.to_toml()?;
        written.push(folder.write(&format!("{name}.context.toml"), context.as_bytes())?);
        Ok(written)
    }
}
