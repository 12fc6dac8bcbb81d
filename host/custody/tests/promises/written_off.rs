//! Given keys that nobody gets any more: the entitlement is closed, or headquarters was restored.

use futures_executor::block_on;
use mintmark_custody::pools::PoolState;
use mintmark_exchange::pool::{CHUNK_KEYS, KeyFile};
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_sdk_testing::Office;
use mintmark_sdk_testing::sdk::{certificates, keys, transfers};

use crate::bench::{Bench, finish, import, rows};
use crate::closings::{close, report};
use crate::directives::{extend, import_directive};
use crate::pools::{Authority, admin, destroy, granted, load, order, pools, provision, show, take};

#[test]
fn closing_destroys_the_keys_that_are_left_and_none_comes_afterwards() {
    let total = CHUNK_KEYS + 5;
    let (bench, _, entitlement, file) = granted(total, total);
    let parsed = KeyFile::parse(&file).unwrap();
    let chunks = parsed.chunks().unwrap();
    show(&bench.site, parsed.head()).unwrap();
    take(&bench.site, &entitlement, 0, chunks[0]).unwrap();
    // There is no key for one more unit.
    let more = extend(&bench, &entitlement, 1, None);
    assert_eq!(import_directive(&bench.site, &more).unwrap_err().reason, "TERMS_INVALID");
    report(&bench);
    close(&bench.site, &entitlement).unwrap();
    let late = take(&bench.site, &entitlement, 1, chunks[1]).unwrap_err();
    assert_eq!(late.reason, Reason::Closed);
    assert_eq!(provision(&bench, &entitlement, "SN:1").unwrap_err().reason, Reason::Closed);
    let destroyed = bench.rows().into_iter().any(|row| {
        let whole = total as u64;
        matches!(row.body.event, Event::KeySetDestroyed { size, .. } if size == whole)
    });
    assert!(destroyed, "without the secret over them, no key opens any more");
}

#[test]
fn a_restored_headquarters_hands_nothing_out_a_second_time() {
    let bench = Bench::new();
    load(&bench.hq, "licences", &Authority::new(20)).unwrap();
    let site = bench.site.uri();
    bench
        .hq
        .run::<Office, _>("admin", "ada", || {
            let recipients =
                keys::Recipients::site("device-key", &*site, keys::Operations::CERTIFY);
            certificates::create_batch_key("batch-kept", &recipients)?;
            Ok(())
        })
        .unwrap();
    bench.entitlement_of(&order(&bench, "po-1", 5));
    block_on(async {
        let mut call = bench.hq.custody().begin(admin(&bench.hq), None).await.unwrap();
        call.write_off_exports().await.unwrap();
        finish(call).await.unwrap();
    });
    assert_eq!(pools(&bench.hq)[0].state, PoolState::Suspect);
    let again = Office::grant(&bench.hq, &site, "device-key", &order(&bench, "po-2", 5));
    assert_eq!(again.unwrap_err().reason, "WRONG_STATE");
    // A batch key that was made before the backup may be at a site already.
    let kept = bench.hq.run::<Office, _>("admin", "ada", || {
        let ca = keys::Key::open("product-thermostat-2")?;
        let batch = keys::Key::open("batch-kept")?;
        Ok(transfers::export_grant(&transfers::Proposal {
            cluster: &site,
            plugin: "device-key",
            proposal: &bench.order("po-3", 5).encode(),
            product_ca: Some(&ca),
            batch_key: Some(&batch),
            key_set: None,
        })?)
    });
    assert_eq!(kept.unwrap_err().reason, "WRONG_STATE");
    // Orders that need neither go on, under numbers that no earlier grant can have.
    let file = bench.granted(&bench.order("po-4", 5));
    let entitlement = import(&bench.site, &file).unwrap();
    let numbers = rows(&bench.site).into_iter().filter_map(|row| match row.body.event {
        Event::GrantImported { number, .. } => Some(number),
        _ => None,
    });
    let numbers: Vec<_> = numbers.collect();
    assert!(numbers[1] > numbers[0] + (1 << 20), "{numbers:?}, {entitlement}");
    assert_eq!(destroy(&bench.hq, "licences").unwrap(), 15);
}
