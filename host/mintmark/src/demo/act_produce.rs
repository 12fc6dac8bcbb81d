//! Act 3: a thousand devices, by parallel testers, under the rate, with crashes, a power cut and
//! an audit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::act_begin::Cast;
use super::act_order::{Order, TOTAL};
use super::line::{FAILS, Line, SCRAPPED, Tally, Tester, subject};
use super::narration::Story;
use super::program::{context_of, fact};
use super::stage::Stage;
use crate::context::Context;
use crate::error::Error;
use crate::files::Folder;
use crate::pem;

/// Stations, each with a certificate of its own.
const STATIONS: usize = 8;
/// Testers of a station.
const TESTERS: usize = 2;
/// Devices before the power cut.
const CUT_AFTER: u64 = 100;

/// Plays the act.
pub(super) async fn play(
    story: &mut Story,
    stage: &Stage,
    order: &Order,
    cast: &mut Cast,
) -> Result<(), Error> {
    story.act(3, "1,000 devices, 8 stations, 16 testers at once");
    let contexts = stations(story, stage).await?;
    let line = Arc::new(Line {
        entitlement: order.entitlement.clone(),
        product_ca: order.product_ca.clone(),
        total: TOTAL,
        program: stage.program().clone(),
        next: AtomicU64::new(1),
        finished: AtomicU64::new(0),
        crossings: Mutex::default(),
    });
    let starts = starts(stage).await?;
    let began = Instant::now();
    let tally = run(story, stage, &line, &contexts, cast).await?;
    let seconds = began.elapsed().as_secs_f32();
    show_power_cut(story, stage, &tally, starts).await?;
    scrap(story, stage, order).await?;
    show_rate(story, &tally, began)?;
    show_crossing(story, &line).await?;
    let text = format!("{} testers crashed, asked again, and got the same bytes", tally.retries);
    story.claim(tally.retries == TOTAL / 40, text)?;
    show_counters(story, stage, order, seconds).await?;
    show_certificates(story, stage, order, &tally).await
}

/// Each station makes its own key, and an admin has its certificate issued.
async fn stations(story: &Story, stage: &Stage) -> Result<Vec<Context>, Error> {
    let mut contexts = Vec::with_capacity(STATIONS);
    for number in 1..=STATIONS {
        let name = format!("station-{number}");
        let csr = format!("shenzhen/people/{name}.csr.pem");
        let key = ["user", "key", &name, "--out", "shenzhen/people"];
        let issue = ["user", "issue", "--role", "station", "--name", &name];
        let issue: Vec<&str> =
            issue.into_iter().chain(["--csr", &csr, "--out", "shenzhen/people"]).collect();
        if number == 1 {
            story.command(None, &key);
            story.command(Some("shenzhen/anna"), &issue);
        }
        stage.program().quietly(None, &key).await?;
        stage.program().quietly(Some("shenzhen/anna"), &issue).await?;
        let context = stage.path().join(context_of(&format!("shenzhen/{name}")));
        contexts.push(Context::read(&context)?);
    }
    Ok(contexts)
}

/// Runs the line until every device is made. In the middle the power is cut.
async fn run(
    story: &Story,
    stage: &Stage,
    line: &Arc<Line>,
    contexts: &[Context],
    cast: &mut Cast,
) -> Result<Tally, Error> {
    let mut testers = JoinSet::new();
    for context in contexts {
        for _ in 0..TESTERS {
            let (line, context) = (Arc::clone(line), context.clone());
            testers.spawn(async move { Tester::start(&line, context).await?.run().await });
        }
    }
    let bar = progress(story);
    let mut sum = Tally::default();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut cut = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let finished = line.finished.load(Ordering::Relaxed);
                bar.set_position(finished);
                if finished >= CUT_AFTER && !cut {
                    cut = true;
                    cast.cut_shenzhen(stage).await?;
                }
            }
            ended = testers.join_next() => match ended {
                None => break,
                Some(Ok(tally)) => sum.add(tally?),
                Some(Err(_)) => {
                    return Err(Error::misfit("a tester broke off", "Please report it."));
                }
            },
        }
    }
    bar.finish_and_clear();
    Ok(sum)
}

fn progress(story: &Story) -> ProgressBar {
    if story.is_silent() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(TOTAL);
    if let Ok(style) = ProgressStyle::with_template("  {bar:50} {pos}/{len} devices, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.waits.extend(other.waits);
        self.confirmed += other.confirmed;
        self.retries += other.retries;
        self.unanswered += other.unanswered;
        if self.batch_ca.is_empty() {
            self.batch_ca = other.batch_ca;
        }
    }
}

async fn scrap(story: &Story, stage: &Stage, order: &Order) -> Result<(), Error> {
    let subject = subject(SCRAPPED);
    let arguments =
        ["device", "scrap", &subject, "--entitlement", &order.entitlement, "--reason", "dropped"];
    stage.program().done(story, Some("shenzhen/anna"), &arguments).await.map(drop)
}

/// The host was killed with calls under way. What it had answered stands, what it had not was asked
/// again; the counters say at the end that no unit was lost over it.
async fn show_power_cut(
    story: &mut Story,
    stage: &Stage,
    tally: &Tally,
    starts_before: u64,
) -> Result<(), Error> {
    let text = format!(
        "after {CUT_AFTER} devices shenzhen's host was killed and started again: {} calls had no \
         answer and were repeated",
        tally.unanswered
    );
    let once_more = starts(stage).await? == starts_before + 1;
    story.claim(tally.unanswered > 0 && once_more, text)
}

/// How often shenzhen's host was started.
async fn starts(stage: &Stage) -> Result<u64, Error> {
    let status = stage.program().quietly(Some("shenzhen/anna"), &["status"]).await?;
    Ok(status.get("boot").and_then(Value::as_u64).unwrap_or_default())
}

/// The 401st within ten seconds waits. A machine that is slower than the limit never meets it.
fn show_rate(story: &mut Story, tally: &Tally, began: Instant) -> Result<(), Error> {
    match tally.waits.iter().min_by_key(|(at, _)| *at) {
        Some((at, wait)) => {
            let text = format!(
                "the 401st device in ten seconds waits: RATE_LIMITED after {:.1} s, for {:.1} s",
                at.duration_since(began).as_secs_f32(),
                wait.as_secs_f32(),
            );
            story.claim(*wait <= Duration::from_secs(10), text)
        }
        None => {
            story.says("This machine is slower than 400 devices in ten seconds: none had to wait.");
            Ok(())
        }
    }
}

async fn show_crossing(story: &mut Story, line: &Line) -> Result<(), Error> {
    let crossings = line.crossings.lock().await;
    for crossing in &*crossings {
        crossing.tell(story);
    }
    let clean = crossings.iter().all(|crossing| crossing.verdict == "clean");
    let text = "the 501st device waited for an audit: RECEIPT_OVERDUE until bundle and receipt \
                had crossed";
    story.claim(crossings.len() == 1 && clean, text)
}

async fn show_counters(
    story: &mut Story,
    stage: &Stage,
    order: &Order,
    seconds: f32,
) -> Result<(), Error> {
    let arguments = ["entitlement", "show", &order.entitlement];
    let shown = stage.program().done(story, Some("shenzhen/anna"), &arguments).await?;
    let counters = ["confirmed", "failed", "scrapped", "unused", "credited"];
    let counters = counters.map(|name| fact(&shown, name));
    let text = format!(
        "in {seconds:.1} s: 998 devices confirmed with proof of their keys, one failed ({}), one \
         scrapped ({})",
        subject(FAILS),
        subject(SCRAPPED),
    );
    story.claim(counters == ["998", "1", "1", "0", "1000"], text)
}

async fn show_certificates(
    story: &mut Story,
    stage: &Stage,
    order: &Order,
    tally: &Tally,
) -> Result<(), Error> {
    let mut certificates: Vec<_> = tally.certificates.iter().map(|(_, der)| der).collect();
    certificates.sort_unstable();
    certificates.dedup();
    let text = "rustls-webpki accepts all 1,000 certificates, which are all different";
    story.claim(certificates.len() as u64 == TOTAL, text)?;
    let folder = stage.path().join("devices");
    Folder::create(&folder)?;
    for (subject, certificate) in &tally.certificates {
        let path = folder.join(format!("{subject}.pem"));
        // For openssl's eyes alone, so nothing is synced a thousand times.
        std::fs::write(&path, pem::encode(pem::CERTIFICATE, certificate))
            .map_err(Error::file("write", &path))?;
    }
    stage.write("product.pem", pem::encode(pem::CERTIFICATE, &order.product_ca).as_bytes())?;
    stage.write("batch.pem", pem::encode(pem::CERTIFICATE, &tally.batch_ca).as_bytes())?;
    match openssl(stage.path(), tally).await {
        Some(verified) => {
            let text = "openssl verify accepts them too";
            story.claim(verified == TOTAL, text)
        }
        None => {
            story.says("(openssl is not installed here, so it was not asked.)");
            Ok(())
        }
    }
}

/// How many certificates `openssl verify` accepts; none where there is no openssl.
async fn openssl(place: &Path, tally: &Tally) -> Option<u64> {
    let mut command = Command::new("openssl");
    command.current_dir(place).args([
        "verify",
        "-CAfile",
        "product.pem",
        "-untrusted",
        "batch.pem",
    ]);
    command.args(tally.certificates.iter().map(|(subject, _)| format!("devices/{subject}.pem")));
    let output = command.output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().filter(|line| line.ends_with(": OK")).count() as u64)
}
