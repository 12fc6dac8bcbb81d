//! Act 2: headquarters learns of its sites, and grants devices to them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::narration::Story;
use super::program::fact;
use super::stage::Stage;
use crate::error::Error;

/// What was ordered from shenzhen.
pub(super) struct Order {
    /// The entitlement's id.
    pub(super) entitlement: String,
    /// The product CA's certificate, DER, as headquarters wrote it.
    pub(super) product_ca: Vec<u8>,
}

/// How many devices shenzhen may make.
pub(super) const TOTAL: u64 = 1_000;
/// How many devices hanoi may make.
pub(super) const TOTAL_HANOI: u64 = 20;

/// Plays the act.
pub(super) async fn play(story: &mut Story, stage: &Stage) -> Result<Order, Error> {
    story.act(2, "Headquarters grants 1,000 devices; the files are carried");
    let program = stage.program();
    for site in ["shenzhen", "hanoi"] {
        let (who, file) = (format!("{site}/anna"), format!("{site}.identity"));
        let export = ["identity", "export", "--out", &file];
        let exported = program.done(story, Some(&who), &export).await?;
        let import = ["identity", "import", &file];
        let imported = program.done(story, Some("berlin/anna"), &import).await?;
        let same = fact(&exported, "fingerprint") == fact(&imported, "fingerprint");
        let text = format!("berlin knows {site}; both admins read the same fingerprint");
        story.claim(same && fact(&imported, "changed") == "true", text)?;
    }
    let now = Timestamp::now();
    stage.write("shenzhen.order.toml", order("shenzhen", TOTAL, now).as_bytes())?;
    stage.write("hanoi.order.toml", order("hanoi", TOTAL_HANOI, now).as_bytes())?;
    story.says("The order: 1,000 thermostats, at most 400 in any 10 s, valid for 30 days, and no");
    story.says("more than 500 without an audit in between.");
    let created = create(story, stage, "shenzhen").await?;
    let again = program
        .quietly(Some("berlin/anna"), &create_arguments("shenzhen").each_ref().map(|s| s.as_str()))
        .await?;
    let same = fact(&created, "grant") == fact(&again, "grant");
    story.claim(same, "the same order again is the same entitlement, not another one")?;
    create(story, stage, "hanoi").await?;
    let entitlement = fact(&created, "entitlement");
    let show = ["entitlement", "show", &entitlement, "--ca", "thermostat-2.ca.pem"];
    program.done(story, Some("berlin/anna"), &show).await?;
    let product_ca = stage.read("thermostat-2.ca.pem")?;
    let product_ca = crate::pem::decode(crate::pem::CERTIFICATE, &product_ca)?;
    import(story, stage).await?;
    Ok(Order { entitlement, product_ca })
}

fn create_arguments(site: &str) -> [String; 5] {
    let [order, out] = [format!("{site}.order.toml"), format!("{site}.entitlement")];
    ["entitlement".to_owned(), "create".to_owned(), order, "--out".to_owned(), out]
}

async fn create(story: &Story, stage: &Stage, site: &str) -> Result<Value, Error> {
    let arguments = create_arguments(site);
    let arguments = arguments.each_ref().map(|argument| argument.as_str());
    stage.program().done(story, Some("berlin/anna"), &arguments).await
}

/// The package arrives at shenzhen, after two that should not.
async fn import(story: &mut Story, stage: &Stage) -> Result<(), Error> {
    let program = stage.program();
    let anna = Some("shenzhen/anna");
    let mut changed = stage.read("shenzhen.entitlement")?;
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    stage.write("changed.entitlement", &changed)?;
    let refused = program.refused(story, anna, &["entitlement", "import", "changed.entitlement"]);
    let reason = fact(&refused.await?, "reason");
    let text = "a package with one changed bit is refused: UNTRUSTED_MESSAGE";
    story.claim(reason == "UNTRUSTED_MESSAGE", text)?;
    let refused = program.refused(story, anna, &["entitlement", "import", "hanoi.entitlement"]);
    let reason = fact(&refused.await?, "reason");
    story.claim(reason == "WRONG_SITE", "a package for another site is refused: WRONG_SITE")?;
    let arguments = ["entitlement", "import", "shenzhen.entitlement"];
    let imported = program.done(story, anna, &arguments).await?;
    let devices = fact(&imported, "devices");
    story.claim(devices == TOTAL.to_string(), "shenzhen may make 1,000 devices")?;
    let again = program.done(story, anna, &arguments).await?;
    let text = "the same package again changes nothing, and says so: already imported (REPLAYED)";
    story.claim(fact(&again, "already_imported") == "true", text)
}

fn order(site: &str, total: u64, now: Timestamp) -> String {
    let begin = now - SignedDuration::from_mins(1);
    let end = now + SignedDuration::from_hours(30 * 24);
    format!(
        r#"order_number = "PO-{site}-1"
site = "site/{site}"

[product]
id = "thermostat-2"
name = "Thermostat 2"
origin = "device-born"
algorithm = "ecdsa-p256"
delivery = "none"

[product.assigned_serial]
prefix = "T2-{prefix}-"
digits = 8
start = 1

[product.certificate]
organization = "Acme"
model = "Thermostat 2"

[terms]
total = {total}
not_before = "{begin}"
not_after = "{end}"
rates = [{{ units = 400, per_seconds = 10 }}]
audit_return = {{ units = {audit}, seconds = 604800 }}
scrap_allowance = 5
"#,
        // Serial numbers are unique per product, so each site has its own range.
        prefix = if site == "hanoi" { "H" } else { "S" },
        audit = total.min(500),
    )
}
