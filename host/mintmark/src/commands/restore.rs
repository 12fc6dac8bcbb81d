//! `restore`: a backup becomes the node's store, by a ceremony of several people.

use std::path::{Path, PathBuf};

use mintmark_custody::restoring::Loss;
use serde_json::{Value, json};

use crate::config::Config;
use crate::error::Error;
use crate::files;
use crate::output::{Page, table};
use crate::restoring::{self, Prepared};

/// Which backup, of which node, and how far to go.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
1. `mintmark restore FILE --config C --verify` rehearses: all of the backup is read and checked, \
and nothing of the node is touched.
2. `mintmark restore FILE --config C --request-out R` says what would be written off, and writes \
the request. The node is stopped.
3. Each approver signs the request where his key is: `mintmark approvals sign`.
4. `mintmark restore FILE --config C --request R --approval A --approval B` carries it out.

Units that may have been used after the backup are written off; headquarters credits what is left \
by a new entitlement. On other hardware, `mintmark platform recover` comes first.")]
pub(crate) struct Arguments {
    /// The backup, as `mintmark backup` wrote it.
    file: PathBuf,
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only rehearse it; the node may run.
    #[arg(long, conflicts_with_all = ["request_out", "request"])]
    verify: bool,
    /// Write the request that has to be approved.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    request_out: Option<PathBuf>,
    /// The request that was approved.
    #[arg(long, value_name = "FILE", requires = "approvals")]
    request: Option<PathBuf>,
    /// A signed approval of the request.
    #[arg(long = "approval", value_name = "FILE", requires = "request")]
    approvals: Vec<PathBuf>,
}

/// Carries the command out.
pub(crate) async fn run(arguments: Arguments) -> Result<Page, Error> {
    let config = Config::read(&arguments.config)?;
    match (&arguments.request_out, &arguments.request) {
        _ if arguments.verify => rehearse(&config, &arguments.file).await,
        (Some(out), _) => request(&config, &arguments.file, out).await,
        (None, Some(request)) => {
            carry_out(&config, &arguments.file, request, &arguments.approvals).await
        }
        (None, None) => {
            let text = "say --verify, --request-out FILE, or --request FILE with --approval FILE";
            Err(Error::Usage(text.to_owned()))
        }
    }
}

async fn rehearse(config: &Config, backup: &Path) -> Result<Page, Error> {
    let rehearsed = restoring::rehearse(config, backup).await?;
    let mut facts = super::verify::facts(&rehearsed.verified).to_vec();
    // A backup is older than what the platform remembers: that is what the ceremony is for.
    facts.push(("anchor", json!(super::verify::NOT_COMPARED)));
    Ok(Page::facts(&facts).and("\nThe backup can be restored; nothing was changed.\n"))
}

async fn request(config: &Config, backup: &Path, out: &Path) -> Result<Page, Error> {
    let prepared = Prepared::new(config, backup).await?;
    let ceremony = &prepared.ceremony;
    let written = files::write(out, &ceremony.request())?;
    let page = losses(
        Page::facts(&[
            ("request", json!(written)),
            ("epoch", json!(ceremony.epoch())),
            ("approvals", json!(ceremony.needed())),
        ]),
        &ceremony.losses(),
    );
    prepared.give_up()?;
    Ok(page.and("\nNothing was changed. Have the request signed: `mintmark approvals sign`.\n"))
}

async fn carry_out(
    config: &Config,
    backup: &Path,
    request: &Path,
    approvals: &[PathBuf],
) -> Result<Page, Error> {
    let request = files::read(request)?;
    let statements: Result<Vec<_>, _> = approvals.iter().map(|path| files::read(path)).collect();
    let statements = statements?;
    let prepared = Prepared::new(config, backup).await?;
    let lost = prepared.ceremony.losses();
    let (restored, replaced) = prepared.carry_out(&request, &statements).await?;
    let before = replaced.map(|name| restoring::place(config, &name));
    let facts = [("epoch", json!(restored.epoch())), ("store before", json!(before))];
    let page = losses(Page::facts(&facts), &lost);
    Ok(page.and("\nRun the node, and carry its next bundle to headquarters.\n"))
}

/// What the restore writes off, for each entitlement.
fn losses(page: Page, lost: &[Loss]) -> Page {
    let rows: Vec<_> = lost
        .iter()
        .map(|loss| {
            vec![loss.entitlement.clone(), loss.unused.to_string(), loss.in_doubt.to_string()]
        })
        .collect();
    let text = match rows.is_empty() {
        true => "\nNothing is written off.\n".to_owned(),
        false => {
            format!("\nWritten off\n{}", table(&["entitlement", "unused", "in doubt"], &rows))
        }
    };
    let values = lost.iter().map(|loss| {
        json!({
            "entitlement": loss.entitlement,
            "unused": loss.unused,
            "in_doubt": loss.in_doubt,
        })
    });
    page.with("written_off", Value::from_iter(values), &text)
}
