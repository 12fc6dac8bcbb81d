//! The suite that every engine passes. A new engine adds a function that runs a case on a fresh
//! store, and one line at the end.

#![expect(clippy::unwrap_used, reason = "tests")]

mod cases;
mod desk;

use cap_std::{ambient_authority, fs::Dir};
use mintmark_crypto::Secret;
use mintmark_store::{Embedded, Identity, Memory, Store};

fn identity() -> Identity {
    Identity::new([7; 16], "node-a")
}

fn on_memory(case: fn(&dyn Store)) {
    case(&Memory::new(&identity()));
}

fn on_embedded(case: fn(&dyn Store)) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
    let secret = Secret::random();
    case(&Embedded::create(&dir, "store", &identity(), &secret).unwrap());
    // Whatever a case did is still there, and whole, after a restart.
    let reopened = Embedded::open(&dir, "store", &identity(), &secret).unwrap();
    futures_executor::block_on(reopened.verify()).unwrap();
}

/// One test per case and engine.
macro_rules! suite {
    ($engine:ident, $run:path: $($case:ident)*) => {
        mod $engine {
            $(
                #[test]
                fn $case() {
                    $run(super::cases::$case);
                }
            )*
        }
    };
}

macro_rules! suites {
    ($($engine:ident = $run:path),*) => {
        $(
            suite! { $engine, $run:
                a_fresh_store_is_empty
                what_was_written_is_read_with_its_version
                a_changed_version_is_a_conflict
                what_must_be_absent_must_be_absent
                a_removed_value_is_absent_and_its_version_is_never_used_again
                transactions_of_a_batch_see_those_before_them
                a_refused_transaction_leaves_no_trace
                a_phantom_is_a_conflict
                a_scan_beyond_its_limit_does_not_conflict
                scans_are_in_order_of_the_keys
                scans_continue_after_a_key
                scans_stay_within_table_and_prefix
                counters_stay_within_their_bounds
                adds_commute_and_do_not_conflict
                adds_of_one_transaction_add_up
                an_add_to_what_is_no_counter_is_out_of_bounds
                a_sum_that_would_not_hold_writes_nothing
                rows_are_chained_and_carry_counters_and_set_hash
                rows_are_read_in_pages
                a_row_that_names_no_add_is_refused
                a_snapshot_does_not_change
                the_position_follows_commits_and_keeps_the_one_before
                the_set_hash_is_that_of_the_live_records
                a_lost_lease_is_fenced
                what_is_too_large_is_refused
                verify_counts_what_is_there
            }
        )*
    };
}

suites! { memory = super::on_memory, embedded = super::on_embedded }
