//! Act 5: the bundle is carried to headquarters, the verdict is clean, the receipt goes back.

use serde_json::Value;

use super::act_order::Order;
use super::line::{FAILS, subject};
use super::narration::Story;
use super::program::{Program, fact};
use super::stage::Stage;
use crate::error::Error;

/// A bundle that went to headquarters, and what came of it.
pub(super) struct Crossing {
    commands: Vec<(String, Vec<String>)>,
    /// The verdict's word.
    pub(super) verdict: String,
    /// The report's id.
    pub(super) report: String,
    /// What was found.
    pub(super) findings: Vec<Value>,
    /// Whether a receipt went back.
    pub(super) receipted: bool,
}

impl Crossing {
    /// Shows the commands.
    pub(super) fn tell(&self, story: &Story) {
        for (who, arguments) in &self.commands {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            story.command(Some(who), &arguments);
        }
    }

    async fn step(
        &mut self,
        program: &Program,
        who: String,
        arguments: &[&str],
    ) -> Result<Value, Error> {
        let answer = program.quietly(Some(&who), arguments).await;
        self.commands.push((who, arguments.iter().map(|text| (*text).to_owned()).collect()));
        answer
    }
}

/// Carries a bundle from a site to headquarters, and the receipt back if there is one.
pub(super) async fn cross(program: &Program, site: &str, number: usize) -> Result<Crossing, Error> {
    let mut crossing = Crossing {
        commands: Vec::new(),
        verdict: String::new(),
        report: String::new(),
        findings: Vec::new(),
        receipted: false,
    };
    let (admin, headquarters) = (format!("{site}/anna"), "berlin/anna".to_owned());
    let (bundle, receipt) = (format!("{site}-{number}.bundle"), format!("{site}-{number}.receipt"));
    crossing.step(program, admin.clone(), &["audit", "export", "--out", &bundle]).await?;
    let ingest = ["audit", "ingest", &bundle, "--receipt", &receipt];
    let ingested = crossing.step(program, headquarters, &ingest).await?;
    crossing.verdict = fact(&ingested, "verdict");
    crossing.report = fact(&ingested, "report");
    crossing.findings =
        ingested.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    if ingested.get("receipt").is_some() {
        crossing.step(program, admin, &["receipt", "import", &receipt]).await?;
        crossing.receipted = true;
    }
    Ok(crossing)
}

/// Plays the act.
pub(super) async fn play(story: &mut Story, stage: &Stage, order: &Order) -> Result<(), Error> {
    story.act(5, "The audit");
    let program = stage.program();
    let crossing = cross(program, "shenzhen", 2).await?;
    crossing.tell(story);
    let text = "headquarters' verdict: clean; its receipt is back at shenzhen";
    story.claim(crossing.verdict == "clean" && crossing.receipted, text)?;
    show_report(story, stage, order, &crossing.report).await?;
    show_register(story, program).await?;
    show_offline(story, program).await
}

async fn show_report(
    story: &mut Story,
    stage: &Stage,
    order: &Order,
    report: &str,
) -> Result<(), Error> {
    let arguments = ["report", "show", report, "--html", "report.html"];
    let shown = stage.program().done(story, Some("berlin/anna"), &arguments).await?;
    let html = stage.read("report.html")?;
    let plots = html.windows(4).filter(|word| word == b"<svg").count();
    story.claim(plots == 2, "the report is one HTML file with plots of production and states")?;
    let entitlements = shown.get("entitlements").and_then(Value::as_array);
    let ours = entitlements
        .and_then(|all| all.iter().find(|one| fact(one, "entitlement") == order.entitlement));
    let number = |name: &str| {
        let number = ours.and_then(|one| one.get(name));
        number.and_then(Value::as_u64).unwrap_or(u64::MAX)
    };
    let states = [
        "unused",
        "reserved",
        "issued",
        "confirmed",
        "failed",
        "scrapped",
        "returned",
        "lost",
        "destroyed",
    ];
    let sum = states.iter().fold(0_u64, |sum, name| sum.saturating_add(number(name)));
    let seen = [number("confirmed"), number("failed"), number("scrapped")];
    let text = "every credited unit is in exactly one state: 1,000 = 998 confirmed + 1 failed + 1 \
                scrapped";
    story.claim(sum == number("credited") && sum == 1_000 && seen == [998, 1, 1], text)
}

async fn show_register(story: &mut Story, program: &Program) -> Result<(), Error> {
    for (number, expected) in [(1, "confirmed"), (FAILS, "failed")] {
        let subject = subject(number);
        let arguments = ["audit", "find", &subject];
        let found = program.done(story, Some("berlin/anna"), &arguments).await?;
        let states: Vec<String> = found
            .as_array()
            .map(|devices| devices.iter().map(|device| fact(device, "state")).collect())
            .unwrap_or_default();
        let text = format!("the device register knows {subject}: {expected}");
        story.claim(states == [expected], text)?;
    }
    Ok(())
}

/// The check once more, by this program alone: it trusts the root and nobody else.
async fn show_offline(story: &mut Story, program: &Program) -> Result<(), Error> {
    let reports = program.quietly(Some("berlin/anna"), &["report", "list"]).await?;
    let reports: Vec<String> = reports
        .as_array()
        .map(|reports| reports.iter().map(|report| fact(report, "report")).collect())
        .unwrap_or_default();
    let mut files = Vec::with_capacity(reports.len());
    for report in &reports {
        let arguments = ["report", "export", report, "--opened", "opened"];
        program.quietly(Some("berlin/anna"), &arguments).await?;
        files.push(format!("opened/{report}.opened"));
    }
    let mut arguments = vec!["audit", "verify"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(["--root", "root/root.pem"]);
    let verified = program.quietly(None, &arguments).await?;
    story.command(None, &["audit", "verify", "opened/*.opened", "--root", "root/root.pem"]);
    let clean = verified.as_array().is_some_and(|bundles| {
        bundles.len() == 2 && bundles.iter().all(|bundle| fact(bundle, "verdict") == "clean")
    });
    let text = "the check repeated offline, from the root certificate alone: clean";
    story.claim(clean, text)
}
