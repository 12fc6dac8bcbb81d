//! `device`: what a tester program does, for one device at a time.

mod deliver;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use mintmark_crypto::sign::SignatureAlgorithm;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key as site;
use serde_json::{Value, json};

use self::deliver::{Device, DeviceFiles, Source};
use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files::{self, Folder};
use crate::output::{Page, moment, table, word};
use crate::pem;

/// What to do with a device.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give a device its identity. A repetition gives the same one and costs nothing.
    Provision {
        #[command(flatten)]
        device: Named,
        /// The device's serial number, where the product says that devices bring theirs.
        #[arg(long)]
        serial: Option<String>,
        /// The device's request. Without it a key is made for the device.
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
        /// What key is made for the device.
        #[arg(long, value_enum, default_value_t = DeviceAlgorithm::EcdsaP256)]
        algorithm: DeviceAlgorithm,
        /// The device's key is made by the site and sealed: make a key to seal it to.
        #[arg(long, conflicts_with = "csr")]
        sealed: bool,
        /// The device's key is made by the site and sealed to the station: the key that opens it,
        /// as `user key --sealing` wrote it.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["csr", "sealed"])]
        station_key: Option<PathBuf>,
        /// A certificate field that the product leaves open.
        #[arg(long = "field", value_name = "NAME=VALUE")]
        fields: Vec<String>,
        /// The folder for what the device gets.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Say that the device has its identity and works, with a proof by its key.
    Confirm {
        #[command(flatten)]
        device: Named,
        /// The folder that `device provision` wrote to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        from: PathBuf,
        /// The proof, where the device made it by itself: its signature over the message.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// Give a device a further certificate for its key. A repetition gives the same one.
    Recertify {
        #[command(flatten)]
        device: Named,
        /// Which one: 1 for the first after the one that came with the identity, and so on.
        #[arg(long)]
        ordinal: u16,
        /// A certificate field that the product leaves open.
        #[arg(long = "field", value_name = "NAME=VALUE")]
        fields: Vec<String>,
        /// The folder for the certificate.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Write the list of an entitlement's certificates that count no more, as PEM. Each list has a
    /// higher number than the one before.
    Crl {
        /// The id of the entitlement.
        #[arg(long, value_name = "ID")]
        entitlement: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// The devices of an entitlement.
    List {
        /// The id of the entitlement.
        #[arg(long, value_name = "ID")]
        entitlement: String,
    },
    #[command(flatten)]
    About(About),
}

/// What is said or asked about one device; the answer is how it stands.
#[derive(Debug, Subcommand)]
pub(crate) enum About {
    /// Say that provisioning the device failed.
    Fail {
        #[command(flatten)]
        device: Named,
        /// Whether trying again can help.
        #[arg(long, value_enum)]
        kind: FailureKind,
        /// What happened, for the audit.
        #[arg(long)]
        detail: String,
    },
    /// Say that the device was destroyed.
    Scrap {
        #[command(flatten)]
        device: Named,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
    /// Give back a unit for which nothing was released; the device may have another one.
    Return {
        #[command(flatten)]
        device: Named,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
    /// Let another station go on with the device. It gets what was released; the old one no more.
    HandOver {
        #[command(flatten)]
        device: Named,
        /// The name of the station.
        #[arg(long)]
        station: String,
    },
    /// One device.
    Show {
        /// The device.
        subject: String,
        /// The id of the entitlement; without it, all are looked through.
        #[arg(long, value_name = "ID", default_value = "")]
        entitlement: String,
    },
}

/// Which device.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The device's own unique id.
    subject: String,
    /// The id of the entitlement.
    #[arg(long, value_name = "ID")]
    entitlement: String,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FailureKind {
    /// It can; the unit stays as it is.
    Transient,
    /// It can't; the unit is spent.
    Permanent,
    /// The device lost its key; the unit is spent. A person must say so who did not provision it.
    KeyLost,
}

/// What a device signs with.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DeviceAlgorithm {
    /// ECDSA with P-256.
    EcdsaP256,
    /// ECDSA with P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

impl From<DeviceAlgorithm> for SignatureAlgorithm {
    fn from(algorithm: DeviceAlgorithm) -> Self {
        match algorithm {
            DeviceAlgorithm::EcdsaP256 => Self::EcdsaP256,
            DeviceAlgorithm::EcdsaP384 => Self::EcdsaP384,
            DeviceAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    match command {
        Command::Provision { device, serial, csr, algorithm, sealed, station_key, fields, out } => {
            let files = DeviceFiles::new(Folder::create(&out)?, &device.subject);
            let source = match (&csr, &station_key) {
                (Some(csr), _) => Source::Request(csr),
                (None, Some(key)) => Source::Station(key),
                (None, None) if sealed => Source::Sealed,
                (None, None) => Source::Fresh(algorithm.into()),
            };
            let made = files.key(&source)?;
            let request = site::ProvisionRequest {
                entitlement: device.entitlement,
                subject: device.subject,
                serial,
                csr: made.csr()?,
                fields: fields.iter().map(|field| pair(field)).collect::<Result<_, _>>()?,
            };
            provision(&client, request, &files, &made).await
        }
        Command::Confirm { device, from, proof } => {
            let files = DeviceFiles::new(Folder::open(&from)?, &device.subject);
            let Named { subject, entitlement } = device;
            let proof = files.proof(proof.as_deref())?;
            let request = site::ConfirmRequest { entitlement, subject, proof };
            let confirmed = client.devices().confirm(request).await.map_err(Failure::from)?;
            Ok(page(confirmed.get_ref()))
        }
        Command::Recertify { device, ordinal, fields, out } => {
            let files = DeviceFiles::new(Folder::create(&out)?, &device.subject);
            let request = site::RecertifyRequest {
                entitlement: device.entitlement,
                subject: device.subject,
                ordinal: ordinal.into(),
                fields: fields.iter().map(|field| pair(field)).collect::<Result<_, _>>()?,
            };
            recertify(&client, request, &files).await
        }
        Command::Crl { entitlement, out } => revocation_list(&client, entitlement, &out).await,
        Command::List { entitlement } => list(&client, entitlement).await,
        Command::About(about) => Ok(page(&ask(&client, about).await?)),
    }
}

async fn ask(client: &Client, about: About) -> Result<site::UnitStatus, Error> {
    let mut devices = client.devices();
    let answer = match about {
        About::Fail { device: Named { subject, entitlement }, kind, detail } => {
            let kind = match kind {
                FailureKind::Transient => site::FailureKind::Transient,
                FailureKind::Permanent => site::FailureKind::Permanent,
                FailureKind::KeyLost => site::FailureKind::KeyLost,
            };
            let request = site::FailRequest { entitlement, subject, kind: kind.into(), detail };
            devices.fail(request).await
        }
        About::Scrap { device: Named { subject, entitlement }, reason } => {
            devices.scrap(site::ScrapRequest { entitlement, subject, reason }).await
        }
        About::Return { device: Named { subject, entitlement }, reason } => {
            devices.r#return(site::ReturnRequest { entitlement, subject, reason }).await
        }
        About::HandOver { device: Named { subject, entitlement }, station } => {
            devices.hand_over(site::HandOverRequest { entitlement, subject, station }).await
        }
        About::Show { subject, entitlement } => {
            devices.show_unit(site::ShowUnitRequest { entitlement, subject }).await
        }
    };
    Ok(answer.map_err(Failure::from)?.into_inner())
}

async fn recertify(
    client: &Client,
    request: site::RecertifyRequest,
    files: &DeviceFiles,
) -> Result<Page, Error> {
    let subject = request.subject.clone();
    let answer = client.devices().recertify(request).await.map_err(Failure::from)?.into_inner();
    let written = files.keep_certificate(&answer)?;
    Ok(Page::facts(&[
        ("subject", json!(subject)),
        ("unit", json!(answer.unit)),
        ("serial", json!(answer.serial)),
        ("ordinal", json!(answer.ordinal)),
        ("file", json!(written)),
    ]))
}

async fn revocation_list(client: &Client, entitlement: String, out: &Path) -> Result<Page, Error> {
    let request = site::MakeRevocationListRequest { entitlement };
    let made = client.devices().make_revocation_list(request).await;
    let made = made.map_err(Failure::from)?.into_inner();
    let lists = client.fetch(&made.file_id).await?;
    let lists = pem::documents(&lists).ok_or(Error::Pem(pem::REVOCATION_LIST))?;
    let list: String = lists.iter().map(|der| pem::encode(pem::REVOCATION_LIST, der)).collect();
    Ok(Page::facts(&[
        ("file", json!(files::write(out, list.as_bytes())?)),
        ("number", json!(made.number)),
        ("revoked", json!(made.revoked)),
        ("digest", json!(hex::encode(made.digest))),
    ]))
}

async fn provision(
    client: &Client,
    request: site::ProvisionRequest,
    files: &DeviceFiles,
    device: &Device,
) -> Result<Page, Error> {
    let subject = request.subject.clone();
    let identity = client.devices().provision(request).await.map_err(Failure::from)?.into_inner();
    let written = files.keep(&identity, device)?;
    Ok(Page::facts(&[
        ("subject", json!(subject)),
        ("unit", json!(identity.unit)),
        ("serial", json!(identity.serial)),
        ("files", json!(written)),
    ]))
}

async fn list(client: &Client, entitlement: String) -> Result<Page, Error> {
    let mut units = Vec::new();
    let mut start = Some(0);
    while let Some(from) = start {
        let entitlement = entitlement.clone();
        let request = site::ListUnitsRequest { entitlement, start: from, limit: 0 };
        let listed = client.devices().list_units(request).await.map_err(Failure::from)?;
        let listed = listed.into_inner();
        units.extend(listed.units);
        start = listed.next;
    }
    let rows: Vec<_> = units.iter().map(row).collect();
    let heading = ["unit", "subject", "serial", "state", "attempts", "changed"];
    Ok(Page::new(Value::Array(units.iter().map(as_json).collect()), table(&heading, &rows)))
}

fn pair(argument: &str) -> Result<(String, String), Error> {
    let pair = argument.split_once('=');
    let (name, value) =
        pair.ok_or_else(|| Error::Usage(format!("`{argument}` is not NAME=VALUE")))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn page(unit: &site::UnitStatus) -> Page {
    Page::facts(&[
        ("subject", json!(unit.subject)),
        ("entitlement", json!(unit.entitlement)),
        ("unit", json!(unit.unit)),
        ("serial", json!(unit.serial)),
        ("state", json!(state(unit))),
        ("attempts", json!(unit.attempts)),
        ("key", json!(hex::encode(&unit.key_hash))),
        ("certificate", json!(hex::encode(&unit.certificate_hash))),
        ("certificates", json!(unit.certificates)),
        ("station", json!(unit.station)),
        ("changed", json!(moment(unit.changed_at_ms))),
    ])
}

fn as_json(unit: &site::UnitStatus) -> Value {
    json!({
        "subject": unit.subject,
        "unit": unit.unit,
        "serial": unit.serial,
        "state": state(unit),
        "attempts": unit.attempts,
        "key": hex::encode(&unit.key_hash),
        "certificate": hex::encode(&unit.certificate_hash),
        "certificates": unit.certificates,
        "station": unit.station,
        "reserved_at_ms": unit.reserved_at_ms,
        "changed_at_ms": unit.changed_at_ms,
    })
}

fn row(unit: &site::UnitStatus) -> Vec<String> {
    vec![
        unit.unit.to_string(),
        unit.subject.clone(),
        unit.serial.clone(),
        state(unit),
        unit.attempts.to_string(),
        moment(unit.changed_at_ms),
    ]
}

fn state(unit: &site::UnitStatus) -> String {
    word(unit.state().as_str_name(), "UNIT_STATE_")
}
