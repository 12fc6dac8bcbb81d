//! `init`: makes a node, offline, in two steps.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Config;
use crate::error::Error;
use crate::files::Folder;
use crate::init::{self, Answer};
use crate::output::Page;
use crate::pem;

/// Without `--certificate` the first step, with it the second.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder to write to: the cluster's request, then the admin's certificate and context.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    answer: Option<RootFiles>,
}

/// The root's answer and the first admin.
#[derive(Debug, clap::Args)]
#[group(requires_all = ["root", "certificate", "charter", "admin_csr", "admin_name"])]
pub(crate) struct RootFiles {
    /// The root certificate.
    #[arg(long, value_name = "FILE", required = false)]
    root: PathBuf,
    /// The cluster CA's certificate, as `ca sign-cluster` wrote it.
    #[arg(long, value_name = "FILE", required = false)]
    certificate: PathBuf,
    /// The charter, as `ca sign-cluster` wrote it.
    #[arg(long, value_name = "FILE", required = false)]
    charter: PathBuf,
    /// The first admin's request, as `user key` wrote it.
    #[arg(long, value_name = "FILE", required = false)]
    admin_csr: PathBuf,
    /// The first admin's name.
    #[arg(long, value_name = "NAME", required = false)]
    admin_name: String,
}

/// Carries the command out.
pub(crate) async fn run(arguments: Arguments) -> Result<Page, Error> {
    let config = Config::read(&arguments.config)?;
    match arguments.answer {
        None => prepare(&config, &arguments.out).await,
        Some(answer) => install(&config, &answer, &arguments.out).await,
    }
}

async fn prepare(config: &Config, out: &Path) -> Result<Page, Error> {
    let folder = Folder::create(out)?;
    let request = init::prepare(config).await?;
    let cluster = config.cluster()?;
    let name = format!("{}.csr.pem", cluster.name());
    let csr = folder.write(&name, pem::encode(pem::REQUEST, &request).as_bytes())?;
    let facts = [("cluster", json!(cluster.to_string())), ("csr", json!(csr))];
    let next = "\nCarry the request to the root: `mintmark ca sign-cluster --csr FILE`.\n";
    Ok(Page::facts(&facts).and(next))
}

async fn install(config: &Config, files: &RootFiles, out: &Path) -> Result<Page, Error> {
    let answer =
        Answer { root: &files.root, certificate: &files.certificate, charter: &files.charter };
    let admin = (files.admin_name.as_str(), files.admin_csr.as_path());
    let written = init::install(config, answer, admin, out).await?;
    let facts = [
        ("cluster", json!(config.cluster()?.to_string())),
        ("admin", json!(files.admin_name)),
        ("context", json!(written.last())),
        ("files", json!(written)),
    ];
    let next = "\nRun the node: `mintmark serve --config FILE`. The context expects the admin's \
                key beside it.\n";
    Ok(Page::facts(&facts).and(next))
}
