//! Taint and reruns: whatever a limited key released is counted, once.

use futures_executor::block_on;
use mintmark_custody::{CALL_MS_MAX, Call, Carry, CommitFailure};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::Device;
use mintmark_sdk_testing::sdk::keys::{Algorithm, Key, KeyPolicy, Operations};
use mintmark_sdk_testing::sdk::{self, Status, allotments::Allotment, certificates::Csr};

use crate::bench::{Bench, Line, draw, finish, import_receipt, issue};

/// Makes `call` lose against another one that changes the record that it read.
async fn overtake(bench: &Bench, call: &mut Call) {
    let key = [b"lot".to_vec()];
    call.records_get(&key).await.unwrap();
    let mut other = bench.call_as("line-5", None).await;
    other.records_put(vec![(key[0].clone(), b"1".to_vec())]).await.unwrap();
    finish(other).await.unwrap();
    // A call that writes nothing of its own has nothing to lose.
    call.records_put(vec![(b"own".to_vec(), b"1".to_vec())]).await.unwrap();
}

async fn conflicts(call: Call) -> Carry {
    match call.commit().await {
        Err(CommitFailure::Conflict(carry)) => carry,
        Ok(()) => panic!("the call was overtaken"),
        Err(CommitFailure::Refused(refusal)) => panic!("{refusal}"),
    }
}

fn changes(bench: &Bench) -> Vec<(u64, UnitChange)> {
    bench.unit_rows().into_iter().map(|row| (row.unit, row.change)).collect()
}

#[test]
fn a_failed_call_that_used_a_limited_key_is_issued_and_its_retry_gets_the_stored_bytes() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let made = block_on(async {
        let mut call = bench.call().await;
        let (_, artefact) = issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        assert!(call.is_tainted());
        assert!(call.abort(Reason::PluginFault).await.tainted);
        artefact
    });
    assert_eq!(bench.counters(&entitlement).issued, 1);
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), made);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn a_tainted_call_brings_no_word_of_the_plugin_out() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let release = |subject: &str| -> Result<Vec<u8>, Status> {
        let unit = Allotment::open(&entitlement)?.draw(subject, None)?;
        let artefact = unit.certify_csr(&Csr::read(&device.csr())?, &[])?;
        Ok(artefact.certificate.unwrap())
    };
    let refused = bench.site.run::<Line, ()>("station", "line-4", || {
        let certificate = release("SN:1")?;
        Err(Status::invalid("INVALID_ARGUMENT", format!("{certificate:?}")))
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, "PLUGIN_FAULT");
    assert!(refused.message.len() < 80 && refused.metadata.is_empty(), "{refused:?}");
    let again = bench.site.run::<Line, ()>("station", "line-4", || {
        let certificate = release("SN:1")?;
        Err(Status::invalid("INVALID_ARGUMENT", format!("{certificate:?}")))
    });
    assert_eq!(again.unwrap_err().reason, "PLUGIN_FAULT", "a second release is a release too");
    let untainted = bench.site.run::<Line, ()>("station", "line-4", || {
        Err(sdk::Status::invalid("INVALID_ARGUMENT", "the plugin's own words"))
    });
    assert_eq!(untainted.unwrap_err().message, "the plugin's own words");
}

#[test]
fn i2_a_signature_that_no_row_accounts_for_is_not_carried_out_in_a_refusal() {
    let bench = Bench::new();
    let refused = bench.site.run::<Line, ()>("station", "line-4", || {
        let policy = KeyPolicy::new(Operations::SIGN);
        let key = Key::generate("label-1", Algorithm::ED25519, &policy)?;
        let signature = key.sign(b"a label")?;
        Err(Status::invalid("INVALID_ARGUMENT", format!("{signature:?}")))
    });
    assert_eq!(refused.unwrap_err().reason, "PLUGIN_FAULT");
}

#[test]
fn what_came_after_the_release_is_dropped_with_the_call() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = mintmark_exchange::grant::ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        call.records_put(vec![(b"own".to_vec(), b"1".to_vec())]).await.unwrap();
        let (unit, _) = issue(&mut call, &entitlement, "SN:1", &Device::new()).await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        draw(&mut call, &entitlement, "SN:2").await.unwrap();
        call.note("a note of the plugin's").await.unwrap();
        assert!(call.abort(Reason::PluginFault).await.tainted);
        let mut call = bench.call().await;
        assert_eq!(call.records_get(&[b"own".to_vec()]).await.unwrap(), [None]);
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.confirmed, counters.unused), (1, 0, 9));
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
}

#[test]
fn a_reserved_unit_that_a_failed_call_issued_is_issued() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, &entitlement, "SN:1").await.unwrap();
        finish(call).await.unwrap();
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &Device::new()).await.unwrap();
        assert!(call.abort(Reason::BudgetExceeded).await.tainted);
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.reserved, counters.issued), (0, 1));
    assert_eq!(changes(&bench), [(0, UnitChange::Reserved), (0, UnitChange::Issued)]);
}

#[test]
fn i1_a_rerun_goes_on_with_the_unit_and_signs_nothing_twice() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let first = block_on(async {
        let mut call = bench.call().await;
        let (_, first) = issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        overtake(&bench, &mut call).await;
        let carry = conflicts(call).await;
        let mut rerun = bench.call_as("line-4", Some(carry)).await;
        assert!(rerun.is_tainted(), "what the first run released is still to be counted");
        let (_, second) = issue(&mut rerun, &entitlement, "SN:1", &device).await.unwrap();
        assert_eq!(first, second, "a second signature would be another one");
        finish(rerun).await.unwrap();
        first
    });
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), first);
    assert_eq!(changes(&bench), [(0, UnitChange::Issued), (0, UnitChange::Released)]);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn i1_what_a_first_run_released_is_counted_whatever_the_rerun_does() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    // The rerun goes another way and succeeds; in a second turn it fails.
    for (turn, subject) in ["SN:1", "SN:2"].into_iter().enumerate() {
        let device = if turn == 0 { &device } else { &Device::new() };
        block_on(async {
            let mut call = bench.call().await;
            issue(&mut call, &entitlement, subject, device).await.unwrap();
            overtake(&bench, &mut call).await;
            let carry = conflicts(call).await;
            let mut rerun = bench.call_as("line-4", Some(carry)).await;
            if turn == 0 {
                rerun.records_put(vec![(b"way".to_vec(), b"other".to_vec())]).await.unwrap();
                finish(rerun).await.unwrap();
            } else {
                assert!(rerun.abort(Reason::Conflict).await.tainted);
            }
        });
        assert_eq!(bench.counters(&entitlement).issued, turn as u64 + 1);
    }
    assert_eq!(changes(&bench), [(0, UnitChange::Issued), (1, UnitChange::Issued)]);
}

#[test]
fn while_a_call_is_rerun_nobody_else_gets_its_subject() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let (mine, theirs) = block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        overtake(&bench, &mut call).await;
        let carry = conflicts(call).await;
        let other = async {
            let mut call = bench.call().await;
            let (_, artefact) = issue(&mut call, &entitlement, "SN:1", &device).await?;
            finish(call).await?;
            Ok::<_, Refusal>(artefact)
        };
        let rerun = async {
            let mut call = bench.call_as("line-4", Some(carry)).await;
            let (_, artefact) = issue(&mut call, &entitlement, "SN:1", &device).await?;
            finish(call).await?;
            Ok::<_, Refusal>(artefact)
        };
        // The other one asks first, and waits.
        let (theirs, mine) = futures_util::future::join(other, rerun).await;
        (mine.unwrap(), theirs.unwrap())
    });
    assert_eq!(mine, theirs);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn i2_a_call_that_can_not_be_committed_leaves_a_row_for_what_it_released() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.scrap_allowance = 1;
    let entitlement = bench.entitlement_of(&order);
    let devices = [Device::new(), Device::new(), Device::new()];
    for (subject, device) in ["SN:1", "SN:2"].into_iter().zip(&devices) {
        bench.provision(&entitlement, subject, device).unwrap();
    }
    let call = block_on(async {
        let session = bench.site.session_of::<Line>("operator", "mei");
        let mut call = bench.site.custody().begin(session, None).await.unwrap();
        issue(&mut call, &entitlement, "SN:3", &devices[2]).await.unwrap();
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        let unit = call.find_unit(&allotment, "SN:1").await.unwrap();
        call.scrap(&unit, "two at once, where one is allowed").await.unwrap();
        call
    });
    let other = (entitlement.as_str(), "SN:2");
    let scrapped = bench.with_unit(("operator", "mei"), other, async |call, unit| {
        call.scrap(unit, "the other one").await
    });
    scrapped.unwrap();
    let refused = block_on(finish(call)).unwrap_err();
    assert_eq!(refused.reason, Reason::PluginFault);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.scrapped), (2, 1));
    let issued = changes(&bench).into_iter().filter(|(_, change)| *change == UnitChange::Issued);
    assert_eq!(issued.count(), 3, "every unit that was issued has its row");
}

#[test]
fn a_call_that_saw_what_is_no_longer_so_is_rerun_before_it_decides() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    block_on(async {
        let mut call = bench.call().await;
        overtake(&bench, &mut call).await;
        let refused = issue(&mut call, &entitlement, "SN:1", &device).await.err().unwrap();
        assert_eq!(refused.reason, Reason::Conflict);
        assert!(call.must_rerun() && !call.is_tainted());
        let mut rerun = bench.call_as("line-4", Some(call.into_carry())).await;
        issue(&mut rerun, &entitlement, "SN:1", &device).await.unwrap();
        finish(rerun).await.unwrap();
    });
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
}

#[test]
fn i1_a_rerun_can_not_give_the_serial_of_its_first_run_to_another_device() {
    use mintmark_exchange::serial::{CheckDigit, SerialRule};
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    let prefix = "T".to_owned();
    order.product.serial =
        SerialRule::Given { prefix, digits: 3, from: 100, to: 199, check: CheckDigit::None };
    let entitlement = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        let csr = call.read_csr(&Device::new().csr()).unwrap();
        let unit = call.draw(&allotment, "SN:1", Some("T150")).await.unwrap();
        call.certify_csr(&unit, &csr, &[]).await.unwrap();
        overtake(&bench, &mut call).await;
        let carry = conflicts(call).await;
        let mut rerun = bench.call_as("line-4", Some(carry)).await;
        let allotment = rerun.open_allotment(&entitlement).await.unwrap();
        let refused = rerun.draw(&allotment, "SN:2", Some("T150")).await.err().unwrap();
        assert_eq!(refused.reason, Reason::DuplicateSubject);
        rerun.abort(refused.reason).await;
    });
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
}

#[test]
fn i4_a_rerun_gives_the_key_of_its_first_run_to_no_other_unit() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        overtake(&bench, &mut call).await;
        let mut rerun = bench.call_as("line-4", Some(conflicts(call).await)).await;
        let refused = issue(&mut rerun, &entitlement, "SN:2", &device).await.err().unwrap();
        assert_eq!(refused.reason, Reason::DuplicateKey);
        rerun.abort(refused.reason).await;
    });
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
}

#[test]
fn r15_a_rerun_states_no_end_while_a_unit_of_its_first_run_is_to_be_written() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &Device::new()).await.unwrap();
        overtake(&bench, &mut call).await;
        let mut rerun = bench.call_as("line-4", Some(conflicts(call).await)).await;
        let refused = rerun.export_closing(&entitlement).await.unwrap_err();
        assert_eq!(refused.reason, Reason::WrongState);
        rerun.abort(refused.reason).await;
    });
    assert_eq!(bench.counters(&entitlement).unused, 9);
}

#[test]
fn s12_a_call_whose_first_run_is_long_ago_does_not_begin_again() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &Device::new()).await.unwrap();
        overtake(&bench, &mut call).await;
        assert!(call.may_rerun());
        let carry = conflicts(call).await;
        // It waits for its turn.
        bench.world.pass_ms(CALL_MS_MAX + 1);
        let rerun = bench.call_as("line-4", Some(carry)).await;
        assert!(!rerun.may_rerun() && bench.call().await.may_rerun());
        assert!(rerun.abort(Reason::Conflict).await.tainted);
    });
    assert_eq!(changes(&bench), [(0, UnitChange::Issued)]);
}
