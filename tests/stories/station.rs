//! A tester program: devices that make their keys, ask for certificates and prove that they hold
//! them.

use std::path::Path;
use std::time::Duration;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_rpc::client::plugins::device_key::device_key_client::DeviceKeyClient;
use mintmark_rpc::client::plugins::device_key::{ConfirmRequest, DeviceIdentity, ProvisionRequest};
use mintmark_rpc::client::{ClientConfig, Connection, Failure};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A device with a key of its own.
pub(crate) struct Device {
    pub(crate) subject: String,
    key: SigningKey,
    csr: Vec<u8>,
}

/// A station's connection.
#[derive(Clone)]
pub(crate) struct Station {
    connection: Connection,
    entitlement: String,
}

impl Device {
    /// A device that has just made its key.
    pub(crate) fn new(subject: &str) -> Self {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let csr = mintmark_pki::request::csr(&key, subject).unwrap();
        Self { subject: subject.to_owned(), key, csr }
    }

    /// The device's request.
    pub(crate) fn csr(&self) -> &[u8] {
        &self.csr
    }
}

impl Station {
    /// Connects as a context file says.
    pub(crate) async fn open(context: &str, entitlement: &str) -> Option<Self> {
        let context = Path::new(context);
        let text = std::fs::read_to_string(context).unwrap();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split('"').nth(1).unwrap().to_owned()
        };
        let file = |name: &str| context.parent().unwrap().join(value(name));
        let certificates = |name: &str| -> Vec<Vec<u8>> {
            let found = CertificateDer::pem_file_iter(file(name)).unwrap();
            found.map(|one| one.unwrap().to_vec()).collect()
        };
        let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
        let config = ClientConfig {
            address: value("address"),
            server_name: value("server_name"),
            root: certificates("root").remove(0),
            chain: certificates("certificate"),
            key: key.secret_der().to_vec().into(),
        };
        let connection = Connection::open(config).await.ok()?;
        Some(Self { connection, entitlement: entitlement.to_owned() })
    }

    /// Asks once.
    pub(crate) async fn provision(&self, device: &Device) -> Result<DeviceIdentity, Failure> {
        self.provision_with(&device.subject, device.csr()).await
    }

    /// Asks once, for any subject with any request.
    pub(crate) async fn provision_with(
        &self,
        subject: &str,
        csr: &[u8],
    ) -> Result<DeviceIdentity, Failure> {
        let request = ProvisionRequest {
            entitlement: self.entitlement.clone(),
            subject: subject.to_owned(),
            serial: None,
            csr: csr.to_vec(),
            ..ProvisionRequest::default()
        };
        let mut client = DeviceKeyClient::new(self.connection.channel());
        let answer = tokio::time::timeout(Duration::from_secs(60), client.provision(request));
        let answer = answer.await.map_err(|_| tonic::Status::deadline_exceeded("no answer"));
        Ok(answer.and_then(|answer| answer).map_err(Failure::from)?.into_inner())
    }

    /// Confirms with the device's proof.
    pub(crate) async fn confirm(
        &self,
        device: &Device,
        identity: &DeviceIdentity,
    ) -> Result<(), Failure> {
        let request = ConfirmRequest {
            entitlement: self.entitlement.clone(),
            subject: device.subject.clone(),
            proof: device.key.sign(&identity.confirm_message),
        };
        let mut client = DeviceKeyClient::new(self.connection.channel());
        client.confirm(request).await.map_err(Failure::from)?;
        Ok(())
    }
}

/// What tells two identities apart.
pub(crate) fn fingerprint(identity: &DeviceIdentity) -> [u8; 32] {
    sha256(&identity.certificate)
}
