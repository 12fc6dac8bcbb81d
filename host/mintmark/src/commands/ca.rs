//! `ca`: the organisation's root, offline.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use mintmark_crypto::sign::SignatureAlgorithm;
use mintmark_pki::{TrustKind, fingerprint};
use serde_json::json;

use crate::authority::{self, Authority, CharterTerms, ROOT, ROOT_KEY};
use crate::error::Error;
use crate::files::{self, Folder};
use crate::output::Page;
use crate::pem;

/// What the root does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a root: its key and its certificate. Keep the folder offline.
    Init {
        /// The organisation: 1 to 63 of a-z, 0-9 and -.
        #[arg(long)]
        organization: String,
        /// Whether what it certifies is sold. Hosts show it everywhere, and never mix the two.
        #[arg(long, value_enum, default_value_t = Kind::Trial)]
        kind: Kind,
        /// The key's algorithm.
        #[arg(long, value_enum, default_value_t = Algorithm::EcdsaP256)]
        algorithm: Algorithm,
        /// The folder to write to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Sign a cluster's request: gives its CA certificate and its charter.
    SignCluster {
        /// The root's folder.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The cluster's request, as `mintmark init` wrote it.
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// Somebody who approves, with a request or certificate of his key.
        #[arg(long = "approver", value_name = "NAME=FILE", required = true)]
        approvers: Vec<String>,
        /// The smallest number of approvers that a decision may ever need.
        #[arg(long, default_value_t = 1)]
        floor: u32,
        /// A plugin of headquarters that a site trusts from the start; by default the entitlement
        /// plugin that this program carries.
        #[arg(long = "trust-plugin", value_name = "NAME=MEASUREMENT|FILE")]
        trusted: Vec<String>,
        /// The folder to write to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

/// Whether what the root certifies is sold.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// Devices are sold.
    Production,
    /// Everything is for tests.
    Trial,
}

/// What the root signs with.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Algorithm {
    /// ECDSA with P-256.
    EcdsaP256,
    /// ECDSA with P-384.
    EcdsaP384,
}

/// Carries the command out.
pub(crate) fn run(command: Command) -> Result<Page, Error> {
    match command {
        Command::Init { organization, kind, algorithm, out } => {
            let folder = Folder::create(&out)?;
            let (kind, algorithm) = (kind.into(), algorithm.into());
            let root = Authority::create(&folder, &organization, kind, algorithm)?;
            Ok(Page::facts(&[
                ("organization", json!(organization)),
                ("kind", json!(kind.name())),
                ("root", json!(folder.path(ROOT))),
                ("key", json!(folder.path(ROOT_KEY))),
                ("fingerprint", json!(fingerprint(root.certificate()))),
            ]))
        }
        Command::SignCluster { ca, csr, approvers, floor, trusted, out } => {
            let root = Authority::open(&ca)?;
            let csr = pem::decode(pem::REQUEST, &files::read(&csr)?)?;
            let approvers = approvers.iter().map(|argument| authority::approver(argument));
            let trusted = trusted.iter().map(|argument| authority::trusted_plugin(argument));
            let terms = CharterTerms {
                approvers: approvers.collect::<Result<_, _>>()?,
                floor,
                trusted: trusted.collect::<Result<_, _>>()?,
            };
            sign(&root, &csr, terms, &Folder::create(&out)?)
        }
    }
}

fn sign(root: &Authority, csr: &[u8], terms: CharterTerms, folder: &Folder) -> Result<Page, Error> {
    let signed = root.sign_cluster(csr, terms)?;
    let name = signed.cluster.name();
    let certificate = pem::encode(pem::CERTIFICATE, &signed.certificate);
    let certificate = folder.write(&format!("{name}.ca.pem"), certificate.as_bytes())?;
    let charter = folder.write(&format!("{name}.charter"), &signed.charter)?;
    let root = pem::encode(pem::CERTIFICATE, root.certificate());
    let root = folder.write(ROOT, root.as_bytes())?;
    Ok(Page::facts(&[
        ("cluster", json!(signed.cluster.to_string())),
        ("certificate", json!(certificate)),
        ("charter", json!(charter)),
        ("root", json!(root)),
        ("fingerprint", json!(fingerprint(&signed.certificate))),
    ]))
}

impl From<Kind> for TrustKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Production => Self::Production,
            Kind::Trial => Self::Trial,
        }
    }
}

impl From<Algorithm> for SignatureAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EcdsaP256 => Self::EcdsaP256,
            Algorithm::EcdsaP384 => Self::EcdsaP384,
        }
    }
}
