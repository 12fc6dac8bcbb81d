//! Act 7: a clock that is moved back.

use std::time::Duration;

use super::act_begin::Cast;
use super::act_cheat::DEVICES;
use super::host::Host;
use super::inside::Inside;
use super::narration::Story;
use super::program::fact;
use super::stage::Stage;
use crate::error::Error;

/// How far the clock is moved: the whole window of the entitlement.
const BEHIND_DAYS: u64 = 30;
const DAY_MS: u64 = 86_400_000;
/// Tries to start the host, and how long to wait between them.
const STARTS_MAX: u32 = 40;
const START_WAIT: Duration = Duration::from_millis(100);

/// Plays the act. Hanoi's host is another process before it and after it.
pub(super) async fn play(story: &mut Story, stage: &Stage, cast: &mut Cast) -> Result<(), Error> {
    story.act(7, "A clock that is moved back");
    story.says(
        "Somebody at hanoi sets the machine's clock back by 30 days, so that the entitlement",
    );
    story.says(
        "ends later. (This machine's clock is not the demo's to set: hanoi's host runs inside",
    );
    story.says("of the demo now, on its own store, with a wall clock that the demo sets.)");
    if let Some(host) = cast.take("hanoi") {
        host.stop().await;
    }
    let inside = Inside::start(stage, "hanoi").await?;
    let moved = move_back(story, stage, &inside).await;
    inside.stop().await?;
    cast.join(start_again(stage).await?);
    moved
}

/// Hanoi's host as a process again, as soon as the last of the one inside has let go of the store.
async fn start_again(stage: &Stage) -> Result<Host, Error> {
    for _ in 0..STARTS_MAX {
        if let Ok(host) = Host::start(stage, "hanoi").await {
            return Ok(host);
        }
        tokio::time::sleep(START_WAIT).await;
    }
    Host::start(stage, "hanoi").await
}

async fn move_back(story: &mut Story, stage: &Stage, inside: &Inside) -> Result<(), Error> {
    let (program, admin) = (stage.program(), Some("hanoi/anna"));
    let listed = program.quietly(admin, &["entitlement", "list"]).await?;
    let entitlement = listed.get(0).map(|one| fact(one, "entitlement")).unwrap_or_default();
    let subject = format!("hanoi-{:05}", DEVICES + 1);
    let provision =
        ["device", "provision", &subject, "--entitlement", &entitlement, "--out", "hanoi-devices"];
    let before = program.quietly(admin, &["clock", "show"]).await?;
    inside.set_behind_ms(BEHIND_DAYS * DAY_MS);
    let refused = program.refused(story, admin, &provision).await?;
    let reason = fact(&refused, "reason");
    story.claim(reason == "CLOCK_SUSPECT", "the next device is refused: CLOCK_SUSPECT")?;
    let shown = program.done(story, admin, &["clock", "show"]).await?;
    let number = |answer, name| fact(answer, name).parse::<u64>().unwrap_or(0);
    let days = (number(&shown, "off_by_ms") + DAY_MS / 2) / DAY_MS;
    let stands = number(&shown, "site_time_ms") >= number(&before, "site_time_ms");
    let behind = fact(&shown, "suspicion") == "behind" && days == BEHIND_DAYS;
    let text = format!("the wall clock is {days} days behind; site time does not go back with it");
    story.claim(behind && stands, text)?;
    inside.set_behind_ms(0);
    story.says("The clock is set right again.");
    program.done(story, admin, &provision).await?;
    let shown = program.quietly(admin, &["clock", "show"]).await?;
    let text = "that is enough: the device is made, and headquarters will see what was tried";
    story.claim(fact(&shown, "suspicion").is_empty(), text)
}
