//! kill -9 at the system calls of a start, a provisioning, an import, an export, a receipt, a
//! rotation and an import of keys at a site, of a load and a grant of given keys at headquarters;
//! and system calls that fail.
//!
//! A host runs in a process of its own, on real files: the embedded store and the emulated
//! platform. Custody and plugins run natively in it, not as the binary that serves. `strace` counts
//! every system call that it makes, and kills it before the n-th of each name, by thread, or before
//! the n-th on one of its files. After each death the host is started again: `mintmark verify`
//! finds it right, what was answered is answered again with the same bytes, and what was not
//! answered happened once or not at all.
//!
//! By default a sample of the points is visited; `MINTMARK_KILL_POINTS=all` visits all.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

mod check;
mod eve;
mod strace;
mod victim;

use std::collections::{BTreeMap, BTreeSet};

use check::check;
use eve::Eve;
use strace::{Injection, Traced};
use victim::Act;

/// So many hosts are killed at least.
const KILLED_MIN: usize = 300;
/// So many points are visited unless all are wanted: some calls are not made in every run.
const SAMPLE: usize = 345;

/// Where a process is killed.
struct Point {
    act: Act,
    injection: Injection,
}

/// Every point of every act: each system call of any thread, and each one on each file.
fn points(eves: &BTreeMap<Act, Eve>) -> Vec<Point> {
    let mut points = Vec::new();
    for (act, eve) in eves {
        let act = *act;
        for on in [None, Some("store"), Some("anchor"), Some("memory")] {
            let folder = eve.copy();
            let counted = Traced::run(folder.path(), act, &Injection::none(on));
            for (call, most) in &counted.calls {
                let at = |when| Point { act, injection: Injection::kill(on, call, when) };
                points.extend((1..=*most).map(at));
            }
        }
    }
    points
}

/// All of them, or a sample.
fn visited(points: Vec<Point>) -> Vec<Point> {
    let all = std::env::var("MINTMARK_KILL_POINTS").is_ok_and(|value| value == "all");
    let (count, wanted) = (points.len(), if all { points.len() } else { SAMPLE });
    // Spread evenly: point n is the first one of the n-th part.
    let begins_part = |index: &usize| index * wanted / count != (index + 1) * wanted / count;
    let chosen = points.into_iter().enumerate().filter(|(index, _)| begins_part(index));
    chosen.map(|(_, point)| point).collect()
}

/// Whether the tests can be run here. Where all points are asked for, or the tool is, they must be.
fn runs() -> bool {
    let required = std::env::var("MINTMARK_REQUIRE_TOOLS").unwrap_or_default();
    let required = required.split(',').any(|name| name == "strace" || name == "all");
    let asked = required || std::env::var_os("MINTMARK_KILL_POINTS").is_some();
    let can = strace::can_trace();
    assert!(can || !asked, "there is no `strace` that may attach itself to processes");
    if !can {
        eprintln!("no `strace` that may attach itself to processes: not run");
    }
    can
}

#[test]
fn s1_whoever_is_killed_at_a_system_call_has_lost_and_doubled_nothing() {
    if !runs() {
        return;
    }
    let eves = Act::ALL.into_iter().map(|act| (act, Eve::of(act))).collect();
    let points = points(&eves);
    let count = points.len();
    let points = visited(points);
    let (mut killed, mut answered) = (0, 0);
    for point in &points {
        let eve = &eves[&point.act];
        let folder = eve.copy();
        let traced = Traced::run(folder.path(), point.act, &point.injection);
        killed += usize::from(traced.was_killed);
        answered += usize::from(traced.answer.is_some());
        check(eve, folder.path(), point, &traced);
    }
    let acts: BTreeSet<_> = points.iter().map(|point| point.act).collect();
    assert_eq!(acts.len(), Act::ALL.len(), "each act is among them");
    println!("{count} points; visited {}, killed {killed}, {answered} had answered", points.len());
    // How often a thread waits for another is not always the same.
    assert!(killed >= KILLED_MIN, "killed only {killed} of {}", points.len());
    assert!(killed * 10 >= points.len() * 9, "killed only {killed} of {}", points.len());
}

#[test]
fn s4_s5_s10_a_sync_or_write_that_fails_ends_the_releases_of_this_start_and_is_named() {
    if !runs() {
        return;
    }
    let eve = Eve::of(Act::Provision);
    let mut failed = 0;
    for (error, reason) in [
        ("EIO", "LEDGER_UNAVAILABLE"),
        ("ENOSPC", "STORAGE_FULL"),
        ("EDQUOT", "STORAGE_FULL"),
        ("EROFS", "READ_ONLY"),
    ] {
        for call in ["fdatasync", "fsync", "pwrite64"] {
            for when in [1, 2, 5] {
                let folder = eve.copy();
                let injection = Injection::error(call, error, when);
                let traced = Traced::run(folder.path(), Act::Provision, &injection);
                assert!(!traced.was_killed);
                let refused = traced.refused.as_deref();
                failed += usize::from(refused.is_some());
                assert!(refused.is_none_or(|named| named == reason), "{injection}: {refused:?}");
                assert!(refused.is_none() || traced.answer.is_none());
                check(&eve, folder.path(), &Point { act: Act::Provision, injection }, &traced);
            }
        }
    }
    println!("{failed} provisionings met a call that failed");
    assert!(failed > 12, "the faults did fire: {failed}");
}
