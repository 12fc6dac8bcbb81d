//! `entitlement`: permissions to provision. Headquarters creates them, a site imports them.

mod change;
mod order;
mod orders;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use mintmark_model::Reason;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key as site;
use mintmark_rpc::client::plugins::entitlement as headquarters;
use serde_json::{Value, json};

use super::{pool, receipt::known};
use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Page, lines, moment, table, word};
use crate::{files, pem};

/// What to do with entitlements.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Grant devices to a site, and write the file to carry there (headquarters).
    Create {
        /// The order; `entitlement example` shows one.
        order: PathBuf,
        /// The file to write. Keys of a pool are written beside it, with `.keys` at the end of the
        /// name; the site takes them with `pool import`.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show an order with what each line means.
    Example,
    /// The entitlements that headquarters granted, or that a site has.
    List,
    /// One entitlement (headquarters: by order number too).
    Show {
        /// The id of the entitlement, or headquarters' order number.
        name: String,
        /// Write the product CA's certificate, for whoever verifies devices.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Take an entitlement that headquarters sent (site).
    Import {
        /// The file that headquarters wrote.
        file: PathBuf,
    },
    /// Order that nothing more is reserved or released, for ever (headquarters).
    Revoke(change::Target),
    /// Order that units are taken back, as far as the site has not used them (headquarters).
    Reduce {
        #[command(flatten)]
        target: change::Target,
        /// How many at most.
        #[arg(long)]
        units: u64,
    },
    /// Order that the window ends earlier (headquarters).
    Shorten {
        #[command(flatten)]
        target: change::Target,
        /// The new end, such as 2026-03-31T12:00:00Z.
        #[arg(long, value_name = "TIME")]
        until: String,
    },
    /// Order more units, a later end, or both; it needs approvals (headquarters).
    Extend {
        #[command(flatten)]
        target: change::Target,
        /// Units to add.
        #[arg(long, default_value_t = 0)]
        units: u64,
        /// The new end, such as 2026-03-31T12:00:00Z.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Write what headquarters granted and ordered here, as its host signed it: for a headquarters
    /// that was restored from a backup and has forgotten it (site).
    Orders {
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take back what this headquarters granted and ordered after the backup from which it was
    /// restored. It allows nothing new (headquarters).
    Adopt {
        /// The file that `entitlement orders` wrote at the site.
        file: PathBuf,
    },
    /// Close an entitlement for ever, and write the closing statement to carry to headquarters:
    /// what is unused and its keys are destroyed (site).
    Close(change::Target),
    /// Take a site's closing statement (headquarters).
    Closed {
        /// The file that the site wrote.
        file: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    match command {
        Command::Create { order, out } => create(&desk.connect().await?, &order, &out).await,
        Command::Example => Ok(Page::new(Value::String(order::EXAMPLE.into()), order::EXAMPLE)),
        Command::List => list(&desk.connect().await?).await,
        Command::Show { name, ca } => show(&desk.connect().await?, &name, ca.as_deref()).await,
        Command::Import { file } => import(&desk.connect().await?, &file).await,
        Command::Revoke(target) => change::revoke(&desk.connect().await?, target).await,
        Command::Reduce { target, units } => {
            change::reduce(&desk.connect().await?, target, units).await
        }
        Command::Shorten { target, until } => {
            change::shorten(&desk.connect().await?, target, &until).await
        }
        Command::Extend { target, units, until } => {
            change::extend(&desk.connect().await?, target, units, until.as_deref()).await
        }
        Command::Orders { out } => orders::write(&desk.connect().await?, &out).await,
        Command::Adopt { file } => orders::adopt(&desk.connect().await?, &file).await,
        Command::Close(target) => change::close(&desk.connect().await?, target).await,
        Command::Closed { file } => change::closed(&desk.connect().await?, &file).await,
    }
}

async fn create(client: &Client, order: &Path, out: &Path) -> Result<Page, Error> {
    let request = order::read(order)?;
    let pooled = request.product.as_ref().is_some_and(|product| !product.pool.is_empty());
    let created = client.entitlements().create(request).await.map_err(Failure::from)?.into_inner();
    let file = match client.fetch_kept(&created.file_id).await? {
        Some(content) => json!(files::write(out, &content)?),
        None => json!("the site has it"),
    };
    let mut facts = vec![
        ("entitlement", json!(created.entitlement)),
        ("number", json!(created.number)),
        ("file", file),
        ("message", json!(created.sequence)),
        ("grant", json!(hex::encode(created.grant_digest))),
    ];
    if pooled {
        let mut beside = out.as_os_str().to_owned();
        beside.push(".keys");
        let written = pool::export(client, &created.entitlement, Path::new(&beside)).await?;
        facts.push(("keys", json!(written)));
    }
    Ok(Page::facts(&facts))
}

async fn import(client: &Client, file: &Path) -> Result<Page, Error> {
    let file_id = client.send(files::read(file)?).await?;
    let imported = client.devices().import(site::ImportRequest { file_id }).await;
    let imported = match imported.map_err(Failure::from) {
        Ok(imported) => imported.into_inner(),
        Err(failure) if failure.is(Reason::Replayed) => return Ok(known(&failure)),
        Err(failure) => return Err(failure.into()),
    };
    Ok(Page::facts(&[
        ("entitlement", json!(imported.entitlement)),
        ("number", json!(imported.number)),
        ("order", json!(imported.order_number)),
        ("product", json!(imported.product)),
        ("devices", json!(imported.total)),
        ("from", json!(moment(imported.not_before_ms))),
        ("until", json!(moment(imported.not_after_ms))),
    ]))
}

/// A host answers one of the two services, and says `UNIMPLEMENTED` to the other.
async fn list(client: &Client) -> Result<Page, Error> {
    match granted(client).await {
        Ok(granted) => {
            let rows: Vec<_> = granted.iter().map(granted_row).collect();
            let heading = [
                "entitlement",
                "order",
                "site",
                "product",
                "total",
                "confirmed",
                "exposure",
                "audit",
            ];
            let json = granted.iter().map(granted_json).collect();
            Ok(Page::new(Value::Array(json), table(&heading, &rows)))
        }
        Err(failure) if is_other_service(&failure) => {
            let held = held(client).await?;
            let rows: Vec<_> = held.iter().map(held_row).collect();
            let heading =
                ["entitlement", "order", "product", "state", "confirmed", "unused", "total"];
            let json = held.iter().map(held_json).collect();
            Ok(Page::new(Value::Array(json), table(&heading, &rows)))
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn granted(client: &Client) -> Result<Vec<headquarters::EntitlementSummary>, Failure> {
    let mut all = Vec::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let request = headquarters::ListRequest { after: from, limit: 0, site: String::new() };
        let page = client.entitlements().list(request).await?.into_inner();
        all.extend(page.entitlements);
        after = page.next;
    }
    Ok(all)
}

async fn held(client: &Client) -> Result<Vec<site::EntitlementStatus>, Failure> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let request = site::ListEntitlementsRequest { after, limit: 0 };
        let page = client.devices().list_entitlements(request).await?.into_inner();
        all.extend(page.entitlements);
        after = page.next;
        if after.is_empty() {
            return Ok(all);
        }
    }
}

async fn show(client: &Client, name: &str, ca: Option<&Path>) -> Result<Page, Error> {
    use headquarters::show_request::Name;

    let by_id = name.starts_with("ent-");
    let name_of = if by_id { Name::Entitlement } else { Name::OrderNumber };
    let request = headquarters::ShowRequest { name: Some(name_of(name.to_owned())) };
    match client.entitlements().show(request).await.map_err(Failure::from) {
        Ok(shown) => {
            let shown = shown.into_inner();
            write_ca(ca, &shown.product_ca)?;
            let summary = shown.summary.unwrap_or_default();
            Ok(Page::new(granted_json(&summary), facts_of(&granted_json(&summary))))
        }
        Err(failure) if is_other_service(&failure) && by_id => {
            let request = site::StatusRequest { entitlement: name.to_owned() };
            let status =
                client.devices().status(request).await.map_err(Failure::from)?.into_inner();
            write_ca(ca, status.chain.last().map(Vec::as_slice).unwrap_or_default())?;
            Ok(Page::new(held_json(&status), facts_of(&held_json(&status))))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn write_ca(path: Option<&Path>, certificate: &[u8]) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    if certificate.is_empty() {
        let next = "Leave --ca out.";
        return Err(Error::misfit("devices of this product have no certificates", next));
    }
    files::write(path, pem::encode(pem::CERTIFICATE, certificate).as_bytes()).map(drop)
}

/// Whether the host has the other one of the two plugins.
fn is_other_service(failure: &Failure) -> bool {
    failure.reason.is_none() && failure.code == mintmark_rpc::client::Code::Unimplemented
}

fn facts_of(value: &Value) -> String {
    let Value::Object(facts) = value else { return String::new() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let facts: Vec<_> = facts.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    lines(&facts)
}

fn granted_json(one: &headquarters::EntitlementSummary) -> Value {
    json!({
        "entitlement": one.entitlement,
        "number": one.number,
        "order_number": one.order_number,
        "site": one.site,
        "product": one.product,
        "total": one.total,
        "reported": one.reported,
        "confirmed": one.confirmed,
        "in_doubt": one.in_doubt,
        "exposure": one.exposure,
        "audit": word(one.audit().as_str_name(), "AUDIT_STATE_"),
        "audit_due": moment(one.audit_due_ms),
        "until": moment(one.not_after_ms),
        "changes": one.changes,
        "revoked": one.revoked,
        "closed": one.closed,
        "last_bundle": match one.last_bundle_ms { 0 => String::new(), ms => moment(ms) },
        "last_report": one.last_report,
    })
}

fn granted_row(one: &headquarters::EntitlementSummary) -> Vec<String> {
    vec![
        one.entitlement.clone(),
        one.order_number.clone(),
        one.site.clone(),
        one.product.clone(),
        one.total.to_string(),
        one.confirmed.to_string(),
        one.exposure.to_string(),
        word(one.audit().as_str_name(), "AUDIT_STATE_"),
    ]
}

fn held_json(one: &site::EntitlementStatus) -> Value {
    let state = word(one.state().as_str_name(), "ENTITLEMENT_STATE_");
    if one.state() == site::EntitlementState::OtherVersion {
        return json!({ "entitlement": one.entitlement, "state": state });
    }
    let counters = one.counters.unwrap_or_default();
    json!({
        "entitlement": one.entitlement,
        "number": one.number,
        "order_number": one.order_number,
        "exporter": one.exporter,
        "product": one.product,
        "state": state,
        "from": moment(one.not_before_ms),
        "until": moment(one.not_after_ms),
        "credited": counters.credited,
        "unused": counters.unused,
        "reserved": counters.reserved,
        "issued": counters.issued,
        "confirmed": counters.confirmed,
        "failed": counters.failed,
        "scrapped": counters.scrapped,
        "returned": counters.returned,
        "lost": counters.lost,
        "destroyed": counters.destroyed,
        "since_receipt": one.since_receipt,
        "audit_return_units": one.audit_return_units,
        "receipt_due": moment(one.receipt_due_ms),
    })
}

fn held_row(one: &site::EntitlementStatus) -> Vec<String> {
    let counters = one.counters.unwrap_or_default();
    vec![
        one.entitlement.clone(),
        one.order_number.clone(),
        one.product.clone(),
        word(one.state().as_str_name(), "ENTITLEMENT_STATE_"),
        counters.confirmed.to_string(),
        counters.unused.to_string(),
        counters.credited.to_string(),
    ]
}
