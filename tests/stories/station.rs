//! A tester program: devices that make their keys, ask for certificates and prove that they hold
//! them.

use std::path::Path;
use std::time::Duration;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_rpc::client::plugins::device_key::device_key_client::DeviceKeyClient;
use mintmark_rpc::client::plugins::device_key::{
    ConfirmRequest, DeviceIdentity, FailRequest, FailureKind, ImportReceiptRequest, ImportRequest,
    IssueRequest, ProvisionRequest, ReserveRequest, ReserveResponse, ScrapRequest, ShowUnitRequest,
    UnitStatus,
};
use mintmark_rpc::client::{ClientConfig, Connection, Failure, files};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::Channel;

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

    /// The device's signature.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message)
    }
}

/// Connects as a context file says.
pub(crate) async fn connect(context: &str) -> Option<Connection> {
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
    Connection::open(config).await.ok()
}

impl Station {
    /// Connects as a context file says.
    pub(crate) async fn open(context: &str, entitlement: &str) -> Option<Self> {
        let connection = connect(context).await?;
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
        let request = self.request(subject, csr);
        let mut client = self.client();
        let answer = tokio::time::timeout(Duration::from_secs(60), client.provision(request));
        let answer = answer.await.map_err(|_| tonic::Status::deadline_exceeded("no answer"));
        Ok(answer.and_then(|answer| answer).map_err(Failure::from)?.into_inner())
    }

    /// Asks for many on one stream; gives the answers, and how the stream ended.
    pub(crate) async fn provision_all(
        &self,
        asked: &[(&str, &[u8])],
    ) -> (Vec<DeviceIdentity>, Result<(), Failure>) {
        let requests: Vec<_> =
            asked.iter().map(|(subject, csr)| self.request(subject, csr)).collect();
        let mut client = self.client();
        let opened = client.provision_stream(tokio_stream::iter(requests)).await;
        let mut answers = Vec::new();
        let mut stream = match opened {
            Ok(opened) => opened.into_inner(),
            Err(status) => return (answers, Err(status.into())),
        };
        loop {
            match stream.message().await {
                Ok(Some(identity)) => answers.push(identity),
                Ok(None) => return (answers, Ok(())),
                Err(status) => return (answers, Err(status.into())),
            }
        }
    }

    /// Takes a unit for the device.
    pub(crate) async fn reserve(&self, device: &Device) -> Result<ReserveResponse, Failure> {
        let (entitlement, subject) = self.names(&device.subject);
        let request = ReserveRequest { entitlement, subject, serial: None };
        Ok(self.client().reserve(request).await?.into_inner())
    }

    /// Makes the identity of a device that has a unit.
    pub(crate) async fn issue(&self, device: &Device) -> Result<DeviceIdentity, Failure> {
        let (entitlement, subject) = self.names(&device.subject);
        let csr = device.csr().to_vec();
        let request = IssueRequest { entitlement, subject, csr, ..IssueRequest::default() };
        Ok(self.client().issue(request).await?.into_inner())
    }

    /// Confirms with the device's proof.
    pub(crate) async fn confirm(
        &self,
        device: &Device,
        identity: &DeviceIdentity,
    ) -> Result<UnitStatus, Failure> {
        self.confirm_with(&device.subject, device.sign(&identity.confirm_message)).await
    }

    /// Confirms with any proof.
    pub(crate) async fn confirm_with(
        &self,
        subject: &str,
        proof: Vec<u8>,
    ) -> Result<UnitStatus, Failure> {
        let (entitlement, subject) = self.names(subject);
        let request = ConfirmRequest { entitlement, subject, proof };
        Ok(self.client().confirm(request).await?.into_inner())
    }

    /// Reports a failure.
    pub(crate) async fn fail(
        &self,
        subject: &str,
        kind: FailureKind,
    ) -> Result<UnitStatus, Failure> {
        let (entitlement, subject) = self.names(subject);
        let detail = "the flash does not verify".to_owned();
        let request = FailRequest { entitlement, subject, kind: kind.into(), detail };
        Ok(self.client().fail(request).await?.into_inner())
    }

    /// Says that a device was destroyed.
    pub(crate) async fn scrap(&self, subject: &str) -> Result<UnitStatus, Failure> {
        let (entitlement, subject) = self.names(subject);
        let request = ScrapRequest { entitlement, subject, reason: "dropped".to_owned() };
        Ok(self.client().scrap(request).await?.into_inner())
    }

    /// The unit of a device.
    pub(crate) async fn unit(&self, subject: &str) -> Result<UnitStatus, Failure> {
        let (entitlement, subject) = self.names(subject);
        Ok(self.client().show_unit(ShowUnitRequest { entitlement, subject }).await?.into_inner())
    }

    /// Gives the site an entitlement's file, as whoever the context is; gives its id.
    pub(crate) async fn import(&self, file: &Path) -> Result<String, Failure> {
        let file_id = self.stage(file).await?;
        Ok(self.client().import(ImportRequest { file_id }).await?.into_inner().entitlement)
    }

    /// Gives the site a receipt's file; gives the verdict.
    pub(crate) async fn import_receipt(&self, file: &Path) -> Result<String, Failure> {
        let file_id = self.stage(file).await?;
        let request = ImportReceiptRequest { file_id };
        Ok(self.client().import_receipt(request).await?.into_inner().verdict)
    }

    async fn stage(&self, file: &Path) -> Result<String, Failure> {
        let content = bytes::Bytes::from(std::fs::read(file).unwrap());
        let digest = sha256(&content);
        files::stage(&self.connection.channel(), &content, &digest).await
    }

    fn client(&self) -> DeviceKeyClient<Channel> {
        DeviceKeyClient::new(self.connection.channel())
    }

    fn names(&self, subject: &str) -> (String, String) {
        (self.entitlement.clone(), subject.to_owned())
    }

    fn request(&self, subject: &str, csr: &[u8]) -> ProvisionRequest {
        let (entitlement, subject) = self.names(subject);
        let csr = csr.to_vec();
        ProvisionRequest { entitlement, subject, csr, ..ProvisionRequest::default() }
    }
}
