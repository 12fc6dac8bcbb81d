//! `approvals`: acts that need several people. What is signed is read here, from the request's own
//! bytes; nothing that a host says about them counts.

mod charter;
mod words;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use mintmark_crypto::sign::SigningKey;
use mintmark_exchange::approval::{ApprovalRequest, ApprovalStatement};
use mintmark_exchange::canonical;
use mintmark_exchange::order::{APPROVAL, SignedOrder, signed_bytes};
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{DecideRequest, ListApprovalsRequest, PendingApproval};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::{Page, moment, short, table};
use crate::pem;

/// What to do with acts that need several people.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The acts that wait.
    List,
    /// What exactly would be done, in words, and the digest that approvers sign.
    Show {
        /// The request's digest, or how it begins: at least 8 digits.
        digest: String,
        /// Also write the request to a file, for `approvals sign` on another machine.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Agree, with the key of the context. Who asked repeats his command when enough have agreed.
    Approve {
        /// The request's digest, or how it begins: at least 8 digits.
        digest: String,
    },
    /// Refuse, with the key of the context. That ends the request.
    Deny {
        /// The request's digest, or how it begins: at least 8 digits.
        digest: String,
    },
    /// Agree to a request in a file; no host is asked. So a restore is approved.
    Sign {
        /// The request, as `restore` or `approvals show --out` wrote it.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The approver's private key; without it, that of the context.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The file to write the signed statement to.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Hand in a statement that `approvals sign` wrote.
    Submit {
        /// The signed statement.
        file: PathBuf,
    },
    /// The list of approvers.
    #[command(subcommand)]
    Charter(charter::Command),
}

/// The longest file that can be a signed statement.
const STATEMENT_BYTES_MAX: usize = 8 << 10;
/// So many digits of a digest tell requests apart.
const DIGITS_MIN: usize = 8;

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    match command {
        Command::List => list(&desk.connect().await?).await,
        Command::Show { digest, out } => {
            let found = find(&desk.connect().await?, &digest).await?;
            let written = out.map(|out| files::write(&out, &found.request.encode())).transpose()?;
            let mut facts = words::facts(&found.request);
            facts.push(("approved by", json!(found.approvers)));
            facts.push(("needed", json!(found.needed)));
            facts.extend(written.map(|path| ("file", json!(path))));
            Ok(Page::facts(&facts))
        }
        Command::Approve { digest } => decide(desk, &digest, true).await,
        Command::Deny { digest } => decide(desk, &digest, false).await,
        Command::Sign { request, key, out } => {
            let key = match key {
                Some(key) => key,
                None => desk.context()?.key,
            };
            sign_file(&request, &key, &out)
        }
        Command::Submit { file } => {
            let statement = files::read(&file)?;
            if statement.len() > STATEMENT_BYTES_MAX {
                return Err(Error::misfit("the file is no statement", NO_STATEMENT));
            }
            submit(&desk.connect().await?, statement, Vec::new()).await
        }
        Command::Charter(command) => charter::run(desk, command).await,
    }
}

const NO_STATEMENT: &str = "Give a file that `mintmark approvals sign` wrote.";

/// A request that waits at a host, read here.
struct Found {
    request: ApprovalRequest,
    approvers: Vec<String>,
    needed: u32,
}

impl Found {
    fn read(pending: PendingApproval) -> Result<Self, Error> {
        let PendingApproval { request, approvers, needed, .. } = pending;
        Ok(Self { request: read_request(&request)?, approvers, needed })
    }
}

fn read_request(bytes: &[u8]) -> Result<ApprovalRequest, Error> {
    ApprovalRequest::decode(bytes).map_err(|why| {
        let next = "Approve nothing that cannot be read; use the program's newest version.";
        Error::misfit(format!("the request is {why}"), next)
    })
}

async fn waiting(client: &Client) -> Result<Vec<Found>, Error> {
    let listed = client.approvals().list_approvals(ListApprovalsRequest {}).await;
    let listed = listed.map_err(Failure::from)?.into_inner().approvals;
    listed.into_iter().map(Found::read).collect()
}

/// The request whose digest, as computed here, begins so.
async fn find(client: &Client, begin: &str) -> Result<Found, Error> {
    let begin = begin.to_ascii_lowercase();
    if begin.len() < DIGITS_MIN {
        return Err(Error::Usage(format!("a digest is named by {DIGITS_MIN} digits or more")));
    }
    let fits = |found: &Found| hex::encode(found.request.digest()).starts_with(&begin);
    let mut fitting = waiting(client).await?.into_iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(Error::Usage("several requests begin so".to_owned())),
        (None, _) => {
            let next = "`mintmark approvals list` shows what waits; what was used, refused or has \
                        expired is gone.";
            Err(Error::misfit("no request with this digest waits", next))
        }
    }
}

async fn list(client: &Client) -> Result<Page, Error> {
    let found = waiting(client).await?;
    let rows: Vec<_> = found.iter().map(row).collect();
    let heading = ["request", "act", "asked by", "approved by", "needed", "until"];
    let json = found.iter().map(as_json).collect();
    Ok(Page::new(Value::Array(json), table(&heading, &rows)))
}

async fn decide(desk: &Desk, digest: &str, approve: bool) -> Result<Page, Error> {
    let key = signing_key(&desk.context()?.key)?;
    let client = desk.connect().await?;
    let found = find(&client, digest).await?;
    let statement = sign(&key, &found.request, approve);
    submit(&client, statement.encode(), words::facts(&found.request)).await
}

async fn submit(
    client: &Client,
    statement: Vec<u8>,
    mut facts: Vec<(&'static str, Value)>,
) -> Result<Page, Error> {
    let decided = client.approvals().decide(DecideRequest { statement }).await;
    let decided = decided.map_err(Failure::from)?.into_inner();
    facts.push(("approver", json!(decided.approver)));
    facts.push(("given", json!(decided.given)));
    facts.push(("needed", json!(decided.needed)));
    Ok(Page::facts(&facts))
}

fn sign_file(request: &Path, key: &Path, out: &Path) -> Result<Page, Error> {
    let request = read_request(&files::read(request)?)?;
    let statement = sign(&signing_key(key)?, &request, true);
    let written = files::write(out, &statement.encode())?;
    let mut facts = words::facts(&request);
    facts.push(("statement", json!(written)));
    Ok(Page::facts(&facts))
}

fn signing_key(path: &Path) -> Result<SigningKey, Error> {
    pem::decode_signing_key(&zeroize::Zeroizing::new(files::read(path)?))
}

/// A person's statement. The list of approvers names keys, so the key goes along, and no
/// certificate.
fn sign(key: &SigningKey, request: &ApprovalRequest, approve: bool) -> SignedOrder {
    let body = canonical::encode(&ApprovalStatement::to(request, approve));
    let signature = key.sign(&signed_bytes(APPROVAL, &body));
    SignedOrder { body, chain: vec![key.public_key_info().to_vec()], signature }
}

fn row(found: &Found) -> Vec<String> {
    let request = &found.request;
    vec![
        short(&request.digest()),
        request.act.name().to_owned(),
        request.requester.clone(),
        found.approvers.join(", "),
        found.needed.to_string(),
        moment(request.expires_at),
    ]
}

fn as_json(found: &Found) -> Value {
    let request = &found.request;
    json!({
        "request": hex::encode(request.digest()),
        "act": request.act.name(),
        "words": words::sentence(&request.act),
        "asked_by": request.requester,
        "approved_by": found.approvers,
        "needed": found.needed,
        "expires_at_ms": request.expires_at,
    })
}
