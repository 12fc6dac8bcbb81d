//! Orders that a restored headquarters forgot: written at the site that holds them, and taken back.

use std::path::Path;

use mintmark_exchange::held::HeldOrders;
use mintmark_exchange::order::SignedOrder;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key::ShowOrdersRequest;
use mintmark_rpc::client::plugins::entitlement::AdoptRequest;
use serde_json::json;

use super::held;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::Page;

/// Every grant that the site has, with the directives about it.
pub(super) async fn write(client: &Client, out: &Path) -> Result<Page, Error> {
    let mut all = HeldOrders::default();
    for one in held(client).await? {
        let request = ShowOrdersRequest { entitlement: one.entitlement };
        let shown = client.devices().show_orders(request).await.map_err(Failure::from)?;
        for order in shown.into_inner().orders {
            let order = SignedOrder::decode(&order).map_err(|_| {
                let next = "Run `mintmark verify` at the site.";
                Error::misfit("the site holds an order that cannot be read", next)
            })?;
            all.orders.push(order);
        }
    }
    let path = files::write(out, &all.encode())?;
    Ok(Page::facts(&[("file", json!(path)), ("orders", json!(all.orders.len()))]))
}

/// One order after the other: what was adopted stays so if a later one is refused.
pub(super) async fn adopt(client: &Client, file: &Path) -> Result<Page, Error> {
    let held = HeldOrders::decode(&files::read(file)?).map_err(|why| {
        let next = "Write it anew with `mintmark entitlement orders` at the site.";
        Error::misfit(format!("{} is no file of orders: {why}", file.display()), next)
    })?;
    let (mut grants, mut directives, mut known) = (0_u64, 0_u64, 0_u64);
    for order in &held.orders {
        let request = AdoptRequest { order: order.encode() };
        let adopted = client.entitlements().adopt(request).await.map_err(Failure::from)?;
        let adopted = adopted.into_inner();
        match (adopted.known, adopted.directive) {
            (true, _) => known += 1,
            (false, 0) => grants += 1,
            (false, _) => directives += 1,
        }
    }
    Ok(Page::facts(&[
        ("grants", json!(grants)),
        ("directives", json!(directives)),
        ("known before", json!(known)),
        ("next", json!("audit ingest the site's bundle")),
    ]))
}
