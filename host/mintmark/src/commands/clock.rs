//! `clock`: site time, what is wrong with it, and what may be said about it.

use clap::Subcommand;
use jiff::Timestamp;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    AcknowledgeClockRequest, ClockState, LowerClockRequest, ShowClockRequest,
};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::error::Error;
use crate::output::{Page, lines, moment};

/// What to do about the clock.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the clocks show, whether the wall clock is believed, and what to do if not.
    Show,
    /// Say that a suspect clock may be as it is: once in a start of the host alone, then with
    /// approvals.
    ///
    /// A clock that is ahead is believed from then on; only `clock lower` takes that back. One that
    /// is behind is let be, and site time goes on from where it stands.
    Acknowledge,
    /// Set site time back, after a wrong clock was acknowledged. Needs approvals; never below the
    /// latest time that headquarters said.
    Lower {
        /// What site time shall be, such as 2026-03-01T12:00:00Z: what is right, or earlier.
        #[arg(long, value_name = "TIME")]
        to: Timestamp,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let mut client = desk.connect().await?.clock();
    let clock = match command {
        Command::Show => {
            let shown = client.show_clock(ShowClockRequest {}).await;
            shown.map_err(Failure::from)?.into_inner().clock
        }
        Command::Acknowledge => {
            let said = client.acknowledge_clock(AcknowledgeClockRequest {}).await;
            said.map_err(Failure::from)?.into_inner().clock
        }
        Command::Lower { to } => {
            let to_ms = u64::try_from(to.as_millisecond())
                .map_err(|_| Error::Usage("--to is before 1970".to_owned()))?;
            let said = client.lower_clock(LowerClockRequest { to_ms }).await;
            said.map_err(Failure::from)?.into_inner().clock
        }
    };
    let clock = clock.unwrap_or_default();
    Ok(Page::new(as_json(&clock), as_text(&clock)))
}

fn as_json(clock: &ClockState) -> Value {
    json!({
        "site_time_ms": clock.site_time_ms,
        "wall_ms": clock.wall_ms,
        "headquarters_ms": clock.headquarters_ms,
        "suspicion": clock.suspicion,
        "off_by_ms": clock.off_by_ms,
        "acknowledged": clock.acknowledged,
    })
}

fn as_text(clock: &ClockState) -> String {
    let headquarters = match clock.headquarters_ms {
        0 => "said nothing yet".to_owned(),
        said => format!("said {} last", moment(said)),
    };
    let acknowledged = if clock.acknowledged { ", acknowledged in this start" } else { "" };
    let state = if clock.suspicion.is_empty() { "believed" } else { "suspect" };
    let facts = lines(&[
        ("site time", moment(clock.site_time_ms)),
        ("wall clock", format!("{}, {state}{acknowledged}", moment(clock.wall_ms))),
        ("headquarters", headquarters),
    ]);
    facts + &advice(clock)
}

/// What is wrong and what to do; nothing where the clock is believed.
pub(super) fn advice(clock: &ClockState) -> String {
    if clock.suspicion.is_empty() {
        return String::new();
    }
    let seconds = clock.off_by_ms.div_ceil(1_000);
    let wrong = match clock.suspicion.as_str() {
        "behind" => format!("The wall clock is {seconds} s behind what it must at least show."),
        _ => format!("The wall clock is {seconds} s ahead of what it can show."),
    };
    let acknowledge = match clock.acknowledged {
        false => "an admin may say `mintmark clock acknowledge` once in this start",
        true => "`mintmark clock acknowledge` needs approvals now",
    };
    let lower = match clock.suspicion.as_str() {
        "behind" => {
            "Was site time set ahead by mistake? `mintmark clock lower --to TIME`, by approvals.\n"
        }
        _ => "",
    };
    format!(
        "{wrong} No unit is reserved meanwhile.\n\
         Set the machine's clock right: that is enough. If it is right, start the host again; if\n\
         that does not help, {acknowledge}.\n\
         {lower}"
    )
}
