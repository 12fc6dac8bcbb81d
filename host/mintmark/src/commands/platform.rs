//! `platform`: the secret of a node's platform, for the day on which the hardware is lost.

use std::path::{Path, PathBuf};

use mintmark_pki::VerifiedCsr;
use mintmark_platform::emulated::EmulatedPlatform;
use serde_json::json;

use crate::config::Config;
use crate::error::Error;
use crate::files::{self, Folder};
use crate::output::Page;
use crate::pem;

/// What about the platform. All of it is offline, on the machine of the node.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Seal the platform's secret to a recovery key that is kept offline; the node is stopped.
    Escrow {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The recovery key's request, as `user key NAME --sealing` wrote it.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// The file to write; one that is there is not replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a platform on other hardware with the secret of one that is lost, to restore a backup.
    Recover {
        /// The configuration of the node, on the new hardware.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The file that `escrow` wrote.
        #[arg(long, value_name = "FILE")]
        escrow: PathBuf,
        /// The recovery key, as `user key NAME --sealing` wrote it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Carries the command out.
pub(crate) fn run(command: &Command) -> Result<Page, Error> {
    match command {
        Command::Escrow { config, to, out } => escrow(config, to, out),
        Command::Recover { config, escrow, key } => recover(config, escrow, key),
    }
}

fn escrow(config: &Path, to: &Path, out: &Path) -> Result<Page, Error> {
    let config = Config::read(config)?;
    let csr = VerifiedCsr::check(&pem::decode(pem::REQUEST, &files::read(to)?)?)
        .map_err(|_| Error::Usage(format!("{} is no certificate request", to.display())))?;
    let platform = EmulatedPlatform::open(&Folder::open(config.platform_dir())?.into_dir())?;
    let escrow = platform.escrow(csr.public_key_info())?;
    let (folder, name) = Folder::split(out)?;
    let written = folder.write_secret(&name, &escrow)?;
    let next = "\nKeep it apart from the recovery key, and from the backups.\n";
    Ok(Page::facts(&[("escrow", json!(written))]).and(next))
}

fn recover(config: &Path, escrow: &Path, key: &Path) -> Result<Page, Error> {
    let config = Config::read(config)?;
    let key = pem::decode_recipient(&files::read(key)?)?;
    let escrow = files::read(escrow)?;
    let folder = Folder::create(config.platform_dir())?.into_dir();
    EmulatedPlatform::recover(&folder, &escrow, &key)?;
    let next = "\nRestore the newest backup: `mintmark restore FILE --config FILE`.\n";
    Ok(Page::facts(&[("platform", json!(config.platform_dir()))]).and(next))
}
