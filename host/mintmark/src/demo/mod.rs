//! The whole story in a minute: real processes, mutual TLS, files that are carried.
//!
//! Every step of a person's is a command of this very program, run as a child process and shown as
//! it could be typed; the testers are tasks here, each with its own connection. What is claimed is
//! checked, and the first claim that does not hold ends the demo with an error.

mod act_audit;
mod act_begin;
mod act_cheat;
mod act_clock;
mod act_order;
mod act_produce;
mod act_refuse;
mod host;
mod inside;
mod line;
mod narration;
mod program;
mod stage;

use std::path::PathBuf;

use serde_json::json;

use self::narration::Story;
use self::stage::Stage;
use crate::cli::Desk;
use crate::error::Error;
use crate::output::Page;

/// Where it happens.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep all files in this folder, which must be empty or new. By default they are removed.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, arguments: Arguments) -> Result<Page, Error> {
    let mut story = Story::new(desk.json);
    let stage = Stage::new(arguments.dir)?;
    story.opening(stage.path());
    tell(&mut story, &stage).await?;
    story.closing();
    Ok(Page::new(json!({ "claims": story.into_claims() }), ""))
}

/// The acts, in the order of the story.
async fn tell(story: &mut Story, stage: &Stage) -> Result<(), Error> {
    let mut cast = act_begin::play(story, stage).await?;
    let order = act_order::play(story, stage).await?;
    act_produce::play(story, stage, &order, &mut cast).await?;
    act_refuse::play(story, stage, &order).await?;
    act_audit::play(story, stage, &order).await?;
    act_cheat::play(story, stage).await?;
    act_clock::play(story, stage, &mut cast).await?;
    act_begin::close(story, stage, cast).await
}
