//! What a restored host remembers, and what it does not do because it cannot know.

use mintmark_custody::pools::PoolState;
use mintmark_custody::{Artefact, RevocationFile};
use mintmark_exchange::proposal::EntitlementBody;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::{Status, transfers};
use mintmark_sdk_testing::{Office, TestHost};

use crate::bench::{Bench, Line, finish, import, import_receipt};
use crate::pools::{Authority, admin, begin, load, order, pools, send};
use crate::restores::Scene;

/// The order in an entitlement's file; the message is taken off the stream, the order is not.
pub(crate) fn carried(site: &TestHost, file: &[u8]) -> Vec<u8> {
    let file = site.stage(file);
    let order = site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Entitlement, &file)?;
        Ok(EntitlementBody::decode(&message.read_all(1 << 22)?).unwrap().order)
    });
    order.unwrap()
}

/// Shows an order to the host, as a plugin can at any time.
pub(crate) fn show(site: &TestHost, order: &[u8]) -> Result<String, Status> {
    site.run::<Line, _>("operator", "mei", || Ok(transfers::import_grant(order)?.entitlement))
}

#[test]
fn r1_on_hardware_that_forgot_nothing_is_imported_that_may_have_been_imported_before() {
    let scene = Scene::new();
    let later = scene.bench.granted(&scene.bench.order("po-2", 10));
    // After the backup: neither the store nor the new hardware knows it.
    import(&scene.bench.site, &later).unwrap();
    let bench = scene.restored_elsewhere();
    let later = carried(&bench.site, &later);
    let refused = show(&bench.site, &later).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER");
    assert!(refused.message.contains("does not know what it imported"), "{refused}");

    // Headquarters has seen the restored ledger: what it grants from then on is new.
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let refused = show(&bench.site, &later).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER", "it is as old as before");
    bench.world.pass_ms(1_000);
    import(&bench.site, &bench.granted(&bench.order("po-3", 10))).unwrap();
}

#[test]
fn a_further_certificate_that_may_exist_already_is_not_made_after_a_restore() {
    let scene = Scene::new();
    let entitlement = scene.entitlement.clone();
    let further = |bench: &Bench| -> Result<Artefact, Refusal> {
        let unit = (entitlement.as_str(), "SN:confirmed");
        let who = ("station", "line-4");
        bench.with_unit(who, unit, async |call, unit| call.recertify(unit, 1, &[]).await)
    };
    further(&scene.bench).unwrap();
    let refused = further(&scene.restored()).unwrap_err();
    assert_eq!(refused.reason, Reason::WrongState);
    assert!(refused.detail.contains("may exist already"), "{refused}");
}

/// A list that lacks what an earlier one names would take its revocation back.
#[test]
fn no_revocation_list_is_made_of_what_a_restore_may_have_forgotten() {
    let scene = Scene::new();
    let entitlement = scene.entitlement.clone();
    let list = |bench: &Bench| -> Result<RevocationFile, Refusal> {
        let unit = (entitlement.as_str(), "SN:confirmed");
        bench.with_unit(("operator", "mei"), unit, async |call, _| {
            let allotment = call.open_allotment(&entitlement).await?;
            call.revocation_list(&allotment).await
        })
    };
    assert_eq!(list(&scene.bench).unwrap().number, 1, "after the backup, which knows of none");
    let refused = list(&scene.restored()).unwrap_err();
    assert_eq!(refused.reason, Reason::WrongState);
    assert!(refused.detail.contains("may have forgotten"), "{refused}");
}

#[test]
fn a_load_that_was_under_way_at_the_backup_is_a_suspect_pool_after_it() {
    let bench = Bench::new();
    let authority = Authority::new(mintmark_exchange::pool::CHUNK_KEYS + 5);
    let announced = authority.announced("licences");
    begin(&bench.hq, &announced).unwrap();
    send(&bench.hq, "licences", 0, authority.chunks()[0]).unwrap();
    futures_executor::block_on(async {
        let mut call = bench.hq.custody().begin(admin(&bench.hq), None).await.unwrap();
        call.write_off_exports().await.unwrap();
        finish(call).await.unwrap();
    });
    // It may have been finished since, and its keys handed out.
    let found = pools(&bench.hq);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].state, PoolState::Suspect);
    assert_eq!(found[0].left, mintmark_exchange::pool::CHUNK_KEYS as u64);
    load(&bench.hq, "licences", &authority).unwrap();
    assert_eq!(pools(&bench.hq)[0].state, PoolState::Suspect, "nothing is added to it");
    assert_eq!(pools(&bench.hq)[0].left, found[0].left);
    let site = bench.site.uri();
    let granted = Office::grant(&bench.hq, &site, "device-key", &order(&bench, "po-1", 5));
    assert_eq!(granted.unwrap_err().reason, "WRONG_STATE");
}

#[test]
fn i2_a_store_that_was_set_back_hands_no_file_out() {
    let scene = Scene::new();
    let file = scene.bench.site.stage(b"a bundle, say");
    let older = scene.disk.copy();
    scene.bench.site.stage(b"one thing more");
    let Scene { bench: Bench { site, .. }, disk, .. } = scene;
    let stopped = site.stop();
    disk.set_back(&older);
    let site = stopped.start_on(disk.open()).unwrap();
    assert_eq!(site.fetch(&file).unwrap_err().reason, "ROLLBACK_SUSPECTED");
}
