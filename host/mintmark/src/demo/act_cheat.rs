//! Act 6: a site that leaves a row out of its bundle.

use serde_json::Value;

use super::act_audit::cross;
use super::narration::Story;
use super::program::{Ended, fact};
use super::stage::Stage;
use crate::error::Error;

/// Devices that hanoi makes.
pub(super) const DEVICES: u64 = 5;

/// Plays the act.
pub(super) async fn play(story: &mut Story, stage: &Stage) -> Result<(), Error> {
    story.act(6, "A site that cheats");
    let program = stage.program();
    let admin = Some("hanoi/anna");
    let imported = program.done(story, admin, &["entitlement", "import", "hanoi.entitlement"]);
    let entitlement = fact(&imported.await?, "entitlement");
    story.says("hanoi makes five devices, and its plugin keeps one row to itself.");
    for number in 1..=DEVICES {
        let subject = format!("hanoi-{number:05}");
        let device = [subject.as_str(), "--entitlement", &entitlement];
        let provision = ["device", "provision", "--out", "hanoi-devices"];
        let confirm = ["device", "confirm", "--from", "hanoi-devices"];
        for command in [provision, confirm] {
            let arguments: Vec<&str> = command.into_iter().chain(device).collect();
            program.quietly(admin, &arguments).await?;
        }
    }
    let crossing = cross(program, "hanoi", 1).await?;
    crossing.tell(story);
    let found = crossing.findings.iter().find(|finding| fact(finding, "severity") == "breach");
    let row = found.and_then(|finding| finding.get("row")).and_then(Value::as_u64);
    let kind = found.map(|finding| fact(finding, "kind")).unwrap_or_default();
    let named = row.map(|row| row.to_string()).unwrap_or_default();
    let text = format!("headquarters' verdict: breach, {kind} at row {named}; there is no receipt");
    let breach = crossing.verdict == "breach" && row.is_some() && !crossing.receipted;
    story.claim(breach, text)?;
    let export = ["report", "export", &crossing.report, "--opened", "opened"];
    program.quietly(Some("berlin/anna"), &export).await?;
    let file = format!("opened/{}.opened", crossing.report);
    let verify = ["audit", "verify", &file, "--root", "root/root.pem"];
    let verified = match program.ended(None, &verify).await? {
        Ended::Refused(answer) => answer,
        Ended::Done(_) => Value::Null,
    };
    let bundle = verified.get(0).cloned().unwrap_or_default();
    let findings = bundle.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let same = findings.iter().any(|finding| finding.get("row").and_then(Value::as_u64) == row);
    let text = format!("the check repeated offline finds the same row {named}, and exits with 1");
    story.claim(fact(&bundle, "verdict") == "breach" && same, text)
}
