//! `user`: people and stations make their own keys; an admin has their certificates issued.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{IssueUserRequest, RevokeUserRequest};
use serde_json::json;

use crate::cli::Desk;
use crate::error::Error;
use crate::files::{self, Folder};
use crate::init::UserFiles;
use crate::output::Page;
use crate::{keys, pem};

/// What to do for people and stations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key of one's own and the request for its certificate. No host is asked.
    Key {
        /// The name of the person or station.
        name: String,
        /// Also make a key to which device keys are sealed.
        #[arg(long)]
        sealing: bool,
        /// The folder to write to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Have a certificate issued for a request.
    Issue {
        /// What the person or station is.
        #[arg(long, value_enum)]
        role: UserRole,
        /// Its name.
        #[arg(long)]
        name: String,
        /// The request, as `user key` wrote it.
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// The request for the key to which device keys are sealed.
        #[arg(long, value_name = "FILE")]
        sealing_csr: Option<PathBuf>,
        /// An entitlement to which a station is bound; without any, it may use all.
        #[arg(long = "entitlement", value_name = "ID")]
        entitlements: Vec<String>,
        /// The folder to write certificates and a context to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Revoke somebody's certificates: no call is taken any more, and the name is nobody's again.
    Revoke {
        /// What the person or program is.
        #[arg(long, value_enum)]
        role: UserRole,
        /// The name.
        #[arg(long)]
        name: String,
    },
}

/// What somebody is in a cluster.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum UserRole {
    /// Administers the cluster.
    Admin,
    /// Reads reports, verifies.
    Auditor,
    /// Works on the line.
    Operator,
    /// A tester program.
    Station,
    /// Signs plugins.
    Publisher,
}

impl UserRole {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Station => "station",
            Self::Publisher => "publisher",
        }
    }
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    match command {
        Command::Key { name, sealing, out } => make(&name, sealing, &Folder::create(&out)?),
        Command::Issue { role, name, csr, sealing_csr, entitlements, out } => {
            let request = |path: &Path| pem::decode(pem::REQUEST, &files::read(path)?);
            let request = IssueUserRequest {
                role: role.name().to_owned(),
                name,
                csr: request(&csr)?,
                sealing_csr: sealing_csr.as_deref().map(request).transpose()?,
                entitlements,
            };
            issue(desk, request, &Folder::create(&out)?).await
        }
        Command::Revoke { role, name } => {
            let request = RevokeUserRequest { role: role.name().to_owned(), name: name.clone() };
            let client = desk.connect().await?;
            client.users().revoke_user(request).await.map_err(Failure::from)?;
            Ok(Page::facts(&[("name", json!(name)), ("role", json!(role.name()))]))
        }
    }
}

fn make(name: &str, sealing: bool, folder: &Folder) -> Result<Page, Error> {
    let csr = keys::make_key(folder, name)?;
    let csr =
        folder.write(&format!("{name}.csr.pem"), pem::encode(pem::REQUEST, &csr).as_bytes())?;
    let mut facts = vec![
        ("name", json!(name)),
        ("key", json!(folder.path(&format!("{name}.key.pem")))),
        ("csr", json!(csr)),
    ];
    if sealing {
        let csr = keys::make_sealing_key(folder, name)?;
        let csr = pem::encode(pem::REQUEST, &csr);
        let csr = folder.write(&format!("{name}.sealing.csr.pem"), csr.as_bytes())?;
        facts.push(("sealing key", json!(folder.path(&format!("{name}.sealing.key.pem")))));
        facts.push(("sealing csr", json!(csr)));
    }
    Ok(Page::facts(&facts))
}

async fn issue(desk: &Desk, request: IssueUserRequest, folder: &Folder) -> Result<Page, Error> {
    let context = desk.context()?;
    let client = desk.connect().await?;
    let (role, name) = (request.role.clone(), request.name.clone());
    let issued = client.users().issue_user(request).await.map_err(Failure::from)?.into_inner();
    let root = pem::decode(pem::CERTIFICATE, &files::read(&context.root)?)?;
    let identity = UserFiles {
        name: &name,
        chain: &issued.chain,
        sealing: issued.sealing_certificate.as_deref(),
        root: &root,
        address: &context.address,
        server_name: &context.server_name,
    };
    let written = identity.write(folder)?;
    Ok(Page::facts(&[
        ("name", json!(name)),
        ("role", json!(role)),
        ("context", json!(written.last())),
        ("files", json!(written)),
    ]))
}
