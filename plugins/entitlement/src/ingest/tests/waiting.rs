//! Bundles that wait for one another, and checks that nobody can finish.

use super::*;

#[test]
fn p3_a_check_that_cannot_be_read_stops_no_other_bundle() {
    for (judged, broken) in [(false, check_blob()), (true, check_blob()), (true, marker_blob())] {
        let memory = headquarters();
        let _site = small_and_large(&memory);
        match judged {
            true => leave_judged("large"),
            false => drop(memory.call(|| step("large")).unwrap()),
        }
        broken.write(b"?").unwrap();
        memory.set_now(TIME_MS + 261_000);
        assert_eq!(ingest(&memory, "small").0.report.verdict, Verdict::Clean);
        assert_eq!(StoredReport::of_file("large"), Ok(None));
        assert_eq!(ingest(&memory, "large").0.report.verdict, Verdict::Clean);
        assert!(is_registered("SN:1") && check_blob().read() == Ok(None));
    }
}

#[test]
fn p3_a_check_that_cannot_be_read_begins_anew() {
    for broken in [check_blob(), marker_blob()] {
        let memory = headquarters();
        let _site = small_and_large(&memory);
        leave_judged("large");
        broken.write(b"?").unwrap();
        assert_eq!(ingest(&memory, "large").0.report.verdict, Verdict::Clean);
    }
}

/// A step of another file's call that a limit of the host ends, as it would any such step.
fn cut_short(memory: &Memory, file: &str) {
    let cut = memory.call(|| step(file).and_then(|_| Err::<(), _>(Status::fault("the limit"))));
    assert_eq!(cut.unwrap_err().reason, "PLUGIN_FAULT");
}

#[test]
fn p3_a_judged_bundle_that_cannot_be_settled_stops_no_other_bundle() {
    let memory = headquarters();
    let _site = small_and_large(&memory);
    leave_judged("large");
    let mut now_ms = TIME_MS + 200_000;
    cut_short(&memory, "small");
    assert!(Marker::load().unwrap().is_some_and(|marker| !marker.retried));
    // After a rest it is tried once more, for as long as others may rest.
    now_ms += REST_MS_MAX + 1;
    memory.set_now(now_ms);
    assert!(matches!(memory.call(|| step("small")), Ok(Step::Going { checked: 0, .. })));
    assert!(Marker::load().unwrap().is_some_and(|marker| marker.retried));
    cut_short(&memory, "small");
    memory.set_now(now_ms + REST_MS_MAX + 1);
    assert_eq!(ingest(&memory, "small").0.report.verdict, Verdict::Clean);
    assert_eq!(StoredReport::of_file("large"), Ok(None));
    assert_eq!(ingest(&memory, "large").0.report.verdict, Verdict::Clean);
}

#[test]
fn a_judged_bundle_that_rested_is_settled_for_the_next_one() {
    let memory = headquarters();
    let _site = small_and_large(&memory);
    leave_judged("large");
    memory.set_now(TIME_MS + 900_000);
    assert!(matches!(memory.call(|| step("small")), Ok(Step::Going { .. })));
    assert!(matches!(memory.call(|| step("small")), Ok(Step::Going { .. })));
    let stored = StoredReport::of_file("large").unwrap().unwrap();
    assert_eq!(stored.report.verdict, Verdict::Clean);
}

#[test]
fn p3_a_check_that_no_call_could_take_up_again_is_not_kept() {
    let memory = headquarters();
    memory.stage("a", Site::new().bundle(&[]));
    let Ok(Begun::New(mut active)) = Active::begin("a") else { panic!("it is no new bundle") };
    let Ok(Next::Stage(stage)) = active.stage.step(&active.bundle, &mut Budget { left: 128 })
    else {
        panic!("it is not read");
    };
    active.stage = match stage {
        Stage::Check(reconciler) => {
            judge(check::check(&active.bundle, *reconciler, &mut Budget { left: BUDGET }).unwrap())
        }
        stage => panic!("{stage:?}"),
    };
    let Stage::Register(judged) = &mut active.stage else { panic!("it is not clean") };
    judged.report.site = "x".repeat(CHECK_BYTES_MAX);
    assert_eq!(active.save(1).unwrap_err().reason, "BUDGET_EXCEEDED");
    assert!(Marker::load().unwrap().is_none());
}

#[test]
fn one_bundle_at_a_time_and_none_blocks_the_others_for_ever() {
    let turn = |file, kind, retried, now_ms| {
        let bundle = Bundle { file: "mine".to_owned(), ..Bundle::default() };
        Marker { bundle, touched_ms: 1_000, retried, kind }.turn(file, now_ms)
    };
    assert_eq!(turn("mine", Kind::Check, false, u64::MAX), Turn::Mine);
    assert_eq!(turn("mine", Kind::Register, true, 0), Turn::Mine);
    assert_eq!(turn("other", Kind::Check, false, 61_000), Turn::Wait);
    assert_eq!(turn("other", Kind::Check, false, 61_001), Turn::Abandon);
    assert_eq!(turn("other", Kind::Register, false, 61_000), Turn::Settle);
    assert_eq!(turn("other", Kind::Register, false, 61_001), Turn::Retry);
    assert_eq!(turn("other", Kind::Register, true, 61_000), Turn::Settle);
    assert_eq!(turn("other", Kind::Drop, true, 61_001), Turn::Abandon);
    assert_eq!(turn("other", Kind::Registering, true, u64::MAX), Turn::Settle);
    // A clock that went back is no reason to abandon.
    assert_eq!(turn("other", Kind::Copy(0), false, 0), Turn::Wait);
}
