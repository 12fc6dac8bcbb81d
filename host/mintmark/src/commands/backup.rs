//! `backup`: a running store as one sealed file.

use std::path::PathBuf;

use mintmark_crypto::digest::Sha256;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::BackupRequest;
use serde_json::json;

use crate::cli::Desk;
use crate::error::Error;
use crate::files::Folder;
use crate::output::Page;

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Only the secret of this host's platform opens the backup: keep a copy of \
                        that as well, `mintmark platform escrow` makes one.")]
pub(crate) struct Arguments {
    /// The file to write; one that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, arguments: Arguments) -> Result<Page, Error> {
    let (folder, name) = Folder::split(&arguments.out)?;
    let mut file = folder.draft_of(&name)?;
    let mut backups = desk.connect().await?.backups();
    let parts = backups.backup(BackupRequest {}).await.map_err(Failure::from)?;
    let mut parts = parts.into_inner();
    let (mut digest, mut length, mut commit) = (Sha256::new(), 0_u64, 0);
    while let Some(part) = parts.message().await.map_err(Failure::from)? {
        file.append(&part.data)?;
        digest.update(&part.data);
        length += part.data.len() as u64;
        commit = part.commit;
    }
    let path = file.finish()?;
    Ok(Page::facts(&[
        ("backup", json!(path)),
        ("bytes", json!(length)),
        ("commit", json!(commit)),
        ("digest", json!(hex::encode(digest.finish()))),
    ])
    .and("\nRehearse it: `mintmark restore FILE --verify --config FILE`.\n"))
}
