//! A context: which host a client asks, and as whom. One TOML file, paths relative to itself.

use std::path::{Path, PathBuf};

use mintmark_rpc::client::ClientConfig;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::{files, pem};

/// The content of a context file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `host:port`.
    pub(crate) address: String,
    /// The node's DNS name, as in its certificate.
    pub(crate) server_name: String,
    /// The root certificate, PEM.
    pub(crate) root: PathBuf,
    /// The client's certificate and the cluster CA's, PEM.
    pub(crate) certificate: PathBuf,
    /// The client's private key, PEM.
    pub(crate) key: PathBuf,
}

impl Context {
    /// Reads a context file. Paths in it become paths from where the program runs.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = String::from_utf8(files::read(path)?);
        let text = text.map_err(|_| Error::Usage("the context is not UTF-8".to_owned()))?;
        let parsed: Result<Self, _> = toml::from_str(&text);
        let mut context =
            parsed.map_err(|why| Error::Toml { path: path.to_owned(), why: Box::new(why) })?;
        let base = path.parent().unwrap_or(Path::new(""));
        for file in [&mut context.root, &mut context.certificate, &mut context.key] {
            *file = base.join(&*file);
        }
        Ok(context)
    }

    /// The file's content.
    pub(crate) fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|_| Error::Usage("a path is not UTF-8".to_owned()))
    }

    /// Reads the files that the context names.
    pub(crate) fn load(&self) -> Result<ClientConfig, Error> {
        let key = pem::decode_key(&Zeroizing::new(files::read(&self.key)?))?;
        Ok(ClientConfig {
            address: self.address.clone(),
            server_name: self.server_name.clone(),
            root: pem::decode(pem::CERTIFICATE, &files::read(&self.root)?)?,
            chain: pem::decode_chain(&files::read(&self.certificate)?)?,
            key: Zeroizing::new(key.expose().to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_back_with_paths_from_its_own_folder() {
        let place = tempfile::tempdir().unwrap();
        let context = Context {
            address: "127.0.0.1:7443".to_owned(),
            server_name: "node-1.node.shenzhen.acme".to_owned(),
            root: "root.pem".into(),
            certificate: "anna.pem".into(),
            key: "keys/anna.key.pem".into(),
        };
        let path = place.path().join("anna.context.toml");
        files::write(&path, context.to_toml().unwrap().as_bytes()).unwrap();
        let read = Context::read(&path).unwrap();
        assert_eq!(read.key, place.path().join("keys/anna.key.pem"));
        assert_eq!(read.address, context.address);
        files::write(&path, b"address = \"a\"\nunknown = 1\n").unwrap();
        assert!(Context::read(&path).is_err());
    }
}
