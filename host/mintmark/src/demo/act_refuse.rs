//! Act 4: not one more.

use super::act_order::Order;
use super::line::subject;
use super::narration::Story;
use super::program::fact;
use super::stage::Stage;
use crate::error::Error;

/// Plays the act.
pub(super) async fn play(story: &mut Story, stage: &Stage, order: &Order) -> Result<(), Error> {
    story.act(4, "Not one more");
    let program = stage.program();
    let station = Some("shenzhen/station-1");
    let (one_more, entitlement) = (subject(1_001), order.entitlement.as_str());
    let provision =
        ["device", "provision", &one_more, "--entitlement", entitlement, "--out", "devices"];
    let refused = program.refused(story, station, &provision).await?;
    let reason = fact(&refused, "reason");
    story.claim(reason == "QUOTA_EXHAUSTED", "the 1,001st device is refused: QUOTA_EXHAUSTED")?;
    let first = subject(1);
    let other_key =
        ["device", "provision", &first, "--entitlement", entitlement, "--out", "other-key"];
    let refused = program.refused(story, station, &other_key).await?;
    let reason = fact(&refused, "reason");
    let refused_for = matches!(reason.as_str(), "KEY_MISMATCH" | "WRONG_STATE");
    let text = format!("{first} with another key is refused: {reason}");
    story.claim(refused_for, text)?;
    let scrap =
        ["device", "scrap", &first, "--entitlement", entitlement, "--reason", "no such right"];
    let refused = program.refused(story, station, &scrap).await?;
    let reason = fact(&refused, "reason");
    let text = "a tester program may not scrap devices: PERMISSION_DENIED";
    story.claim(reason == "PERMISSION_DENIED", text)
}
