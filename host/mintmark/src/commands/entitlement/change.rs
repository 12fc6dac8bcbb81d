//! What becomes of an entitlement later: headquarters' orders, and its end at the site.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use mintmark_model::Reason;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key as site;
use mintmark_rpc::client::plugins::entitlement as headquarters;
use mintmark_rpc::client::plugins::entitlement::change_request::Change;
use serde_json::json;

use super::known;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::Page;

/// Which entitlement, and where the file that is to be carried over goes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The id of the entitlement.
    entitlement: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Nothing more is reserved or released, for ever.
pub(super) async fn revoke(client: &Client, target: Target) -> Result<Page, Error> {
    order(client, target, Change::Revoke(headquarters::Revocation {})).await
}

/// Units are taken back.
pub(super) async fn reduce(client: &Client, target: Target, units: u64) -> Result<Page, Error> {
    order(client, target, Change::ReduceUnits(units)).await
}

/// The window ends earlier.
pub(super) async fn shorten(client: &Client, target: Target, until: &str) -> Result<Page, Error> {
    order(client, target, Change::ShortenToMs(time(until)?)).await
}

/// More units, a later end, or both.
pub(super) async fn extend(
    client: &Client,
    target: Target,
    units: u64,
    until: Option<&str>,
) -> Result<Page, Error> {
    let not_after_ms = until.map(time).transpose()?;
    order(client, target, Change::Extend(headquarters::Extension { units, not_after_ms })).await
}

async fn order(client: &Client, target: Target, change: Change) -> Result<Page, Error> {
    let Target { entitlement, out } = target;
    let request = headquarters::ChangeRequest { entitlement, change: Some(change) };
    let ordered = client.entitlements().change(request).await.map_err(Failure::from)?.into_inner();
    let path = files::write(&out, &client.fetch(&ordered.file_id).await?)?;
    Ok(Page::facts(&[
        ("file", json!(path)),
        ("message", json!(ordered.sequence)),
        ("change", json!(ordered.number)),
        ("directive", json!(hex::encode(ordered.directive_digest))),
    ]))
}

/// Closes an entitlement at its site.
pub(super) async fn close(client: &Client, target: Target) -> Result<Page, Error> {
    let Target { entitlement, out } = target;
    let closed = client.devices().close(site::CloseRequest { entitlement }).await;
    let closed = closed.map_err(Failure::from)?.into_inner();
    let path = files::write(&out, &client.fetch(&closed.file_id).await?)?;
    let counters = closed.counters.unwrap_or_default();
    Ok(Page::facts(&[
        ("file", json!(path)),
        ("digest", json!(hex::encode(closed.digest))),
        ("credited", json!(counters.credited)),
        ("confirmed", json!(counters.confirmed)),
        ("destroyed", json!(counters.destroyed)),
        ("in doubt", json!(closed.in_doubt)),
    ]))
}

/// Takes a closing statement at headquarters.
pub(super) async fn closed(client: &Client, file: &Path) -> Result<Page, Error> {
    let file_id = client.send(files::read(file)?).await?;
    let request = headquarters::ImportClosingRequest { file_id };
    let closed = match client.entitlements().import_closing(request).await.map_err(Failure::from) {
        Ok(closed) => closed.into_inner(),
        Err(failure) if failure.is(Reason::Replayed) => return Ok(known(&failure)),
        Err(failure) => return Err(failure.into()),
    };
    Ok(Page::facts(&[
        ("entitlement", json!(closed.entitlement)),
        ("site", json!(closed.site)),
        ("credited", json!(closed.credited)),
        ("confirmed", json!(closed.confirmed)),
        ("failed", json!(closed.failed)),
        ("scrapped", json!(closed.scrapped)),
        ("returned", json!(closed.returned)),
        ("lost", json!(closed.lost)),
        ("destroyed", json!(closed.destroyed)),
        ("in doubt", json!(closed.in_doubt)),
    ]))
}

fn time(text: &str) -> Result<u64, Error> {
    let read = text.parse::<Timestamp>().ok();
    let ms = read.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    ms.ok_or_else(|| Error::Usage(format!("{text}: a time is written like 2026-03-31T12:00:00Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_zone_and_nothing_else_is() {
        assert_eq!(time("1970-01-01T00:00:07Z").unwrap(), 7_000);
        assert_eq!(time("1970-01-01T02:00:00+02:00").unwrap(), 0);
        for wrong in ["", "2026-03-31", "tomorrow", "1969-12-31T23:59:59Z"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
