//! The cases: what a store promises, whatever its engine.

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_store::{
    Add, Key, Outcome, Range, Store, Sum, Transaction, VALUE_BYTES_MAX, Version,
    ledger::{CHAIN_START, RowFields, row_hash},
};

use crate::desk::{Desk, TABLE, add, adding, is_committed, key, remove, row, value, write};

pub(crate) fn a_fresh_store_is_empty(store: &dyn Store) {
    let desk = Desk(store);
    assert_eq!(desk.get("a"), (None, Version::ABSENT));
    assert_eq!(desk.scan(&Range::all(TABLE, "")), Vec::<String>::new());
    assert_eq!(desk.counter("a"), 0);
    let view = desk.snapshot();
    assert!(view.rows("node-a", 0, 1 << 20).is_empty());
    assert_eq!((view.0.position().commit, view.0.previous().commit), (0, 0));
    assert!(view.0.position().heads.is_empty());
}

pub(crate) fn what_was_written_is_read_with_its_version(store: &dyn Store) {
    let desk = Desk(store);
    let first = desk.put("a", "1");
    let second = desk.put("b", "");
    assert_eq!(desk.get("a"), (Some("1".into()), first));
    assert_eq!(desk.get("b"), (Some(String::new()), second));
    let third = desk.put("a", "2");
    assert_eq!(desk.get("a"), (Some("2".into()), third));
    assert!(first < second && second < third);

    let twice = Transaction {
        writes: vec![(key("a"), value("3")), (key("a"), value("4"))],
        ..Transaction::default()
    };
    desk.commit(twice);
    assert_eq!(desk.get("a").0, Some("4".into()));
}

pub(crate) fn a_changed_version_is_a_conflict(store: &dyn Store) {
    let desk = Desk(store);
    let old = desk.put("a", "1");
    let if_unchanged =
        |version| Transaction { reads: vec![(key("a"), version)], ..write("b", "written") };
    assert!(is_committed(&desk.commit(if_unchanged(old))));
    desk.put("a", "2");
    assert_eq!(desk.commit(if_unchanged(old)), Outcome::Conflict);
    // The same value again is another version.
    desk.put("a", "1");
    assert_eq!(desk.commit(if_unchanged(old)), Outcome::Conflict);
}

pub(crate) fn what_must_be_absent_must_be_absent(store: &dyn Store) {
    let desk = Desk(store);
    let insert =
        || Transaction { reads: vec![(key("a"), Version::ABSENT)], ..write("a", "inserted") };
    let outcomes = desk.commit_batch(vec![insert(), insert()]);
    assert!(is_committed(&outcomes[0]));
    assert_eq!(outcomes[1], Outcome::Conflict);
    assert_eq!(desk.commit(insert()), Outcome::Conflict);
}

pub(crate) fn a_removed_value_is_absent_and_its_version_is_never_used_again(store: &dyn Store) {
    let desk = Desk(store);
    let old = desk.put("a", "1");
    assert!(is_committed(&desk.commit(remove("a"))));
    assert_eq!(desk.get("a"), (None, Version::ABSENT));
    assert!(is_committed(&desk.commit(remove("a"))));
    let new = desk.put("a", "1");
    assert!(new > old);
}

pub(crate) fn transactions_of_a_batch_see_those_before_them(store: &dyn Store) {
    let desk = Desk(store);
    let version = desk.put("a", "0");
    let step = |read: Version, text: &str| Transaction {
        reads: vec![(key("a"), read)],
        ..write("a", text)
    };
    let next = Version(version.0 + 1);
    let outcomes = desk.commit_batch(vec![step(version, "1"), step(next, "2"), step(next, "3")]);
    assert!(is_committed(&outcomes[0]) && is_committed(&outcomes[1]));
    assert_eq!(outcomes[2], Outcome::Conflict);
    assert_eq!(desk.get("a"), (Some("2".into()), Version(version.0 + 2)));
}

pub(crate) fn a_refused_transaction_leaves_no_trace(store: &dyn Store) {
    let desk = Desk(store);
    desk.put("a", "1");
    let before = desk.position();
    let full = || Transaction {
        writes: vec![(key("a"), value("2")), (key("b"), value("2"))],
        adds: vec![add("n", 1, 10), add("m", 1, 0)],
        rows: vec![row("row", vec![0])],
        ..Transaction::default()
    };
    let conflicting = || Transaction {
        reads: vec![(key("a"), Version::ABSENT)],
        adds: Vec::new(),
        rows: vec![row("row", vec![])],
        ..full()
    };
    let outcomes = desk.commit_batch(vec![full(), conflicting()]);
    assert_eq!(outcomes, [Outcome::OutOfBounds { add: 1 }, Outcome::Conflict]);
    assert_eq!(desk.position(), before);

    let outcomes = desk.commit_batch(vec![full(), write("c", "3"), conflicting()]);
    assert!(is_committed(&outcomes[1]));
    assert_eq!(desk.get("a").0, Some("1".into()));
    assert_eq!(desk.get("b").0, None);
    assert_eq!((desk.counter("n"), desk.counter("m")), (0, 0));
    assert_eq!(desk.position().commit, before.commit + 1);
    assert!(desk.position().heads.is_empty());
}

pub(crate) fn a_phantom_is_a_conflict(store: &dyn Store) {
    let desk = Desk(store);
    desk.put("p1", "1");
    desk.put("p3", "3");
    let range = Range::all(TABLE, "p");
    let attempt = |change: Option<Transaction>| {
        let seen = desk.snapshot().seen(&range);
        if let Some(change) = change {
            desk.commit(change);
        }
        desk.commit(Transaction { scans: vec![seen], ..write("result", "counted") })
    };
    assert!(is_committed(&attempt(None)));
    assert_eq!(attempt(Some(write("p2", "new"))), Outcome::Conflict);
    assert_eq!(attempt(Some(write("p1", "changed"))), Outcome::Conflict);
    assert_eq!(attempt(Some(remove("p3"))), Outcome::Conflict);
    assert!(is_committed(&attempt(Some(write("q", "elsewhere")))));
}

pub(crate) fn a_scan_beyond_its_limit_does_not_conflict(store: &dyn Store) {
    let desk = Desk(store);
    for key in ["p1", "p2", "p4"] {
        desk.put(key, "");
    }
    let seen = desk.snapshot().seen(&Range::all(TABLE, "p").limit(2));
    desk.put("p3", "");
    let first = Transaction { scans: vec![seen.clone()], ..write("x", "") };
    assert!(is_committed(&desk.commit(first)));
    desk.put("p11", "");
    let second = Transaction { scans: vec![seen], ..write("x", "") };
    assert_eq!(desk.commit(second), Outcome::Conflict);
}

pub(crate) fn scans_are_in_order_of_the_keys(store: &dyn Store) {
    let desk = Desk(store);
    for key in ["b", "a", "ab", "c", "aa"] {
        desk.put(key, "");
    }
    let all = Range::all(TABLE, "");
    assert_eq!(desk.scan(&all), ["a", "aa", "ab", "b", "c"]);
    assert_eq!(desk.scan(&all.clone().limit(2)), ["a", "aa"]);
    assert_eq!(desk.scan(&all.clone().limit(0)), Vec::<String>::new());
    let reversed = all.reversed();
    assert_eq!(desk.scan(&reversed), ["c", "b", "ab", "aa", "a"]);
    assert_eq!(desk.scan(&reversed.limit(2)), ["c", "b"]);
}

pub(crate) fn scans_continue_after_a_key(store: &dyn Store) {
    let desk = Desk(store);
    for key in ["pa", "pb", "pd", "q"] {
        desk.put(key, "");
    }
    let range = Range::all(TABLE, "p");
    let after = |key: &str| desk.scan(&range.clone().after(key));
    let before = |key: &str| desk.scan(&range.clone().reversed().after(key));
    assert_eq!(after("pa"), ["pb", "pd"]);
    assert_eq!(after("pc"), ["pd"]);
    assert_eq!(after("a"), ["pa", "pb", "pd"]);
    assert_eq!(after("pd"), Vec::<String>::new());
    assert_eq!(after("z"), Vec::<String>::new());
    assert_eq!(before("pd"), ["pb", "pa"]);
    assert_eq!(before("pc"), ["pb", "pa"]);
    assert_eq!(before("z"), ["pd", "pb", "pa"]);
    assert_eq!(before("pa"), Vec::<String>::new());
    assert_eq!(before("a"), Vec::<String>::new());
}

pub(crate) fn scans_stay_within_table_and_prefix(store: &dyn Store) {
    let desk = Desk(store);
    let keys = [
        Key::new(0, [0xff]),
        Key::new(1, []),
        Key::new(1, [0xff]),
        Key::new(1, [0xff, 0xff]),
        Key::new(2, []),
        Key::new(254, [1]),
    ];
    desk.commit(Transaction {
        writes: keys.iter().map(|key| (key.clone(), value(""))).collect(),
        ..Transaction::default()
    });
    let scan = |table, prefix: &[u8]| {
        let found = desk.snapshot().scan(&Range::all(table, prefix));
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(scan(1, &[]), keys[1..4]);
    assert_eq!(scan(1, &[0xff]), keys[2..4]);
    assert_eq!(scan(0, &[]), keys[..1]);
    assert_eq!(scan(254, &[]), keys[5..]);
    assert_eq!(scan(255, &[0xff]), []);
}

pub(crate) fn counters_stay_within_their_bounds(store: &dyn Store) {
    let desk = Desk(store);
    let refused = Outcome::OutOfBounds { add: 0 };
    assert_eq!(desk.commit(adding(vec![add("n", -1, 10)])), refused);
    assert_eq!(desk.commit(adding(vec![add("n", 11, 10)])), refused);
    assert!(is_committed(&desk.commit(adding(vec![add("n", 10, 10)]))));
    assert_eq!(desk.commit(adding(vec![add("n", 1, 10)])), refused);
    assert_eq!(desk.counter("n"), 10);
    let at_least = |delta, min| Add { min, ..add("n", delta, u64::MAX) };
    assert_eq!(desk.commit(adding(vec![at_least(-6, 5)])), refused);
    assert!(is_committed(&desk.commit(adding(vec![at_least(-5, 5)]))));
    assert_eq!(desk.counter("n"), 5);

    let largest = Transaction {
        writes: vec![(key("n"), Some(SecretBytes::new(vec![0xff; 8])))],
        ..Transaction::default()
    };
    desk.commit(largest);
    assert_eq!(desk.commit(adding(vec![add("n", 1, u64::MAX)])), refused);
    assert_eq!(desk.counter("n"), u64::MAX);
}

pub(crate) fn adds_commute_and_do_not_conflict(store: &dyn Store) {
    let desk = Desk(store);
    let batch = (0..20).map(|_| adding(vec![add("n", 1, 15)])).collect();
    let outcomes = desk.commit_batch(batch);
    assert!(outcomes[..15].iter().all(is_committed));
    let refused = Outcome::OutOfBounds { add: 0 };
    assert!(outcomes[15..].iter().all(|outcome| *outcome == refused));
    assert_eq!(desk.counter("n"), 15);
    // Whoever did read the counter conflicts.
    let (_, version) = desk.get_version("n");
    desk.commit(adding(vec![add("n", -1, 15)]));
    let reader = Transaction { reads: vec![(key("n"), version)], ..Transaction::default() };
    assert_eq!(desk.commit(reader), Outcome::Conflict);
}

pub(crate) fn adds_of_one_transaction_add_up(store: &dyn Store) {
    let desk = Desk(store);
    let moved = Transaction {
        writes: vec![(key("n"), Some(SecretBytes::new(5_u64.to_be_bytes().into())))],
        adds: vec![add("n", 3, 10), add("n", -8, 10), add("n", 2, 10)],
        rows: vec![row("moved", vec![0, 2])],
        ..Transaction::default()
    };
    assert!(is_committed(&desk.commit(moved)));
    assert_eq!(desk.counter("n"), 2);
    let rows = desk.snapshot().rows("node-a", 0, 1 << 20);
    let fields = RowFields::decode(&rows[0].encoded).unwrap();
    assert_eq!(fields.counters, [2, 2]);
    let beyond = adding(vec![add("n", 8, 10), add("n", 1, 10), add("n", -9, 10)]);
    assert_eq!(desk.commit(beyond), Outcome::OutOfBounds { add: 1 });
}

pub(crate) fn an_add_to_what_is_no_counter_is_out_of_bounds(store: &dyn Store) {
    let desk = Desk(store);
    desk.put("text", "a value of another length");
    let outcome = desk.commit(adding(vec![add("text", 1, 10)]));
    assert_eq!(outcome, Outcome::OutOfBounds { add: 0 });
}

pub(crate) fn a_sum_that_would_not_hold_writes_nothing(store: &dyn Store) {
    let desk = Desk(store);
    let summed = |adds, whole, parts| Transaction {
        sums: vec![Sum { whole, parts }],
        rows: vec![row("counted", vec![0])],
        ..adding(adds)
    };
    let fresh = || vec![add("all", 5, 10), add("one", 3, 10), add("two", 2, 10)];
    let unbalanced = |whole| Outcome::Unbalanced { whole };
    assert_eq!(desk.commit(summed(fresh(), 0, 1)), unbalanced(0));
    assert_eq!(desk.commit(summed(fresh(), 0, 3)), unbalanced(0), "there are two parts");
    assert_eq!(desk.commit(summed(fresh(), 7, 0)), unbalanced(7), "there is no such add");
    assert!(desk.snapshot().rows("node-a", 0, 1 << 20).is_empty());
    assert!(is_committed(&desk.commit(summed(fresh(), 0, 2))));
    // The move itself balances; what is in the store does not any more.
    desk.commit(adding(vec![add("two", 1, 10)]));
    let moved = || vec![add("all", 0, 10), add("one", -1, 10), add("two", 1, 10)];
    assert_eq!(desk.commit(summed(moved(), 0, 2)), unbalanced(0));
    assert_eq!((desk.counter("all"), desk.counter("one"), desk.counter("two")), (5, 3, 3));
}

pub(crate) fn rows_are_chained_and_carry_counters_and_set_hash(store: &dyn Store) {
    let desk = Desk(store);
    let draw = |body: &str| Transaction {
        adds: vec![add("unused", 1, 100), add("issued", 2, 100)],
        rows: vec![row(body, vec![1, 0]), row("note", vec![])],
        ..write(body, "")
    };
    let outcomes = desk.commit_batch(vec![draw("first"), write("x", ""), draw("second")]);
    let sequences = |outcome: &Outcome| match outcome {
        Outcome::Committed { rows, .. } => rows.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(sequences(&outcomes[0]), [1, 2]);
    assert_eq!(sequences(&outcomes[1]), [0; 0]);
    assert_eq!(sequences(&outcomes[2]), [3, 4]);

    let rows = desk.snapshot().rows("node-a", 0, 1 << 20);
    let mut previous = CHAIN_START;
    let mut counters = Vec::new();
    for (row, sequence) in rows.iter().zip(1..) {
        let fields = RowFields::decode(&row.encoded).unwrap();
        assert_eq!((fields.sequence, fields.previous), (sequence, previous));
        assert_eq!(row.sequence, sequence);
        assert_eq!(row.hash, row_hash(&previous, &row.encoded));
        previous = row.hash;
        counters.push(fields.counters);
    }
    assert_eq!(counters, [vec![2, 1], vec![], vec![4, 2], vec![]]);

    let position = desk.position();
    let head = position.head("node-a").unwrap();
    assert_eq!((head.sequence, head.hash), (4, previous));
    let last = RowFields::decode(&rows[3].encoded).unwrap();
    assert_eq!(last.set_hash, position.set_hash);
    let first = RowFields::decode(&rows[0].encoded).unwrap();
    assert_ne!(first.set_hash, position.set_hash);
}

pub(crate) fn rows_are_read_in_pages(store: &dyn Store) {
    let desk = Desk(store);
    for _ in 0..10 {
        desk.commit(Transaction {
            rows: vec![row("0123456789", vec![])],
            ..Transaction::default()
        });
    }
    let view = desk.snapshot();
    let sequences = |node, after, bytes| {
        let rows = view.rows(node, after, bytes);
        rows.into_iter().map(|row| row.sequence).collect::<Vec<_>>()
    };
    let row_bytes = view.rows("node-a", 0, 0)[0].encoded.len();
    assert_eq!(sequences("node-a", 0, 1 << 20), (1..=10).collect::<Vec<_>>());
    assert_eq!(sequences("node-a", 4, 3 * row_bytes), [5, 6, 7]);
    assert_eq!(sequences("node-a", 4, 3 * row_bytes - 1), [5, 6]);
    assert_eq!(sequences("node-a", 4, 0), [5]);
    assert_eq!(sequences("node-a", 10, 1 << 20), [0; 0]);
    assert_eq!(sequences("node-a", u64::MAX, 1 << 20), [0; 0]);
    assert_eq!(sequences("node-b", 0, 1 << 20), [0; 0]);
}

pub(crate) fn a_row_that_names_no_add_is_refused(store: &dyn Store) {
    let desk = Desk(store);
    let transaction =
        Transaction { rows: vec![row("row", vec![1])], ..adding(vec![add("n", 1, 1)]) };
    assert_eq!(desk.commit(transaction), Outcome::OutOfBounds { add: 1 });
    assert_eq!(desk.counter("n"), 0);
}

pub(crate) fn a_snapshot_does_not_change(store: &dyn Store) {
    let desk = Desk(store);
    desk.put("a", "1");
    let before = desk.snapshot();
    desk.commit(Transaction { rows: vec![row("row", vec![])], ..write("a", "2") });
    desk.commit(remove("a"));
    assert!(before.0.is_stable());
    assert_eq!(before.get("a").0, Some("1".into()));
    assert_eq!(before.scan(&Range::all(TABLE, "")).len(), 1);
    assert!(before.rows("node-a", 0, 1 << 20).is_empty());
    assert_eq!(before.0.position().commit, 1);
    assert_eq!(desk.get("a").0, None);
}

pub(crate) fn the_position_follows_commits_and_keeps_the_one_before(store: &dyn Store) {
    let desk = Desk(store);
    let mut before = desk.position();
    for size in [1, 3, 2] {
        let batch = (0..size).map(|_| write("a", "x")).collect();
        desk.commit_batch(batch);
        let view = desk.snapshot();
        assert_eq!(view.0.position().commit, before.commit + size);
        assert_eq!(*view.0.previous(), before.mark());
        before = view.0.position().clone();
    }
    // A batch of which nothing is committed does not count as one.
    let conflicting =
        Transaction { reads: vec![(key("a"), Version::ABSENT)], ..Transaction::default() };
    let previous = *desk.snapshot().0.previous();
    assert_eq!(desk.commit(conflicting), Outcome::Conflict);
    assert_eq!(*desk.snapshot().0.previous(), previous);
    assert_eq!(desk.position(), before);
}

pub(crate) fn the_set_hash_is_that_of_the_live_records(store: &dyn Store) {
    let desk = Desk(store);
    let empty = desk.position().set_hash;
    assert_eq!(empty, [0; 32]);
    desk.put("a", "1");
    let one = desk.position().set_hash;
    desk.commit(adding(vec![add("n", 1, 10)]));
    let two = desk.position().set_hash;
    assert!(one != empty && two != one);
    desk.commit(remove("n"));
    assert_eq!(desk.position().set_hash, one);
    desk.put("a", "1");
    assert_ne!(desk.position().set_hash, one);
    desk.commit(remove("a"));
    assert_eq!(desk.position().set_hash, empty);
}

pub(crate) fn a_lost_lease_is_fenced(store: &dyn Store) {
    let desk = Desk(store);
    let under = |lease| Transaction { lease: Some(lease), ..write("a", "leased") };
    let raise = || adding(vec![Add { key: Key::lease(9), delta: 1, min: 0, max: u64::MAX }]);
    assert!(is_committed(&desk.commit(under((9, 0)))));
    let outcomes = desk.commit_batch(vec![raise(), under((9, 0)), under((9, 1))]);
    assert_eq!(outcomes[1], Outcome::LeaseLost);
    assert!(is_committed(&outcomes[2]));
    assert_eq!(desk.commit(under((9, 2))), Outcome::LeaseLost);
    assert!(is_committed(&desk.commit(under((8, 0)))));
}

pub(crate) fn what_is_too_large_is_refused(store: &dyn Store) {
    let desk = Desk(store);
    let large_value = Transaction {
        writes: vec![(key("a"), Some(SecretBytes::new(vec![0; VALUE_BYTES_MAX + 1])))],
        ..Transaction::default()
    };
    let large_key = write(&"k".repeat(1025), "");
    let many_counters =
        Transaction { rows: vec![row("row", vec![0; 256])], ..adding(vec![add("n", 1, 1)]) };
    let large_row = Transaction {
        rows: vec![row(&"r".repeat(1024 * 1024 + 1), vec![])],
        ..Transaction::default()
    };
    let batch = vec![large_value, large_key, many_counters, large_row];
    assert_eq!(desk.commit_batch(batch), vec![Outcome::TooLarge; 4]);
    assert_eq!(desk.position().commit, 0);
}

pub(crate) fn verify_counts_what_is_there(store: &dyn Store) {
    let desk = Desk(store);
    desk.put("a", "1");
    desk.commit(Transaction {
        adds: vec![add("n", 1, 1)],
        rows: vec![row("row", vec![0]), row("row", vec![])],
        ..write("b", "2")
    });
    desk.commit(remove("a"));
    let verified = block_on(store.verify()).unwrap();
    assert_eq!((verified.records, verified.rows), (2, 2));
    assert_eq!(verified.position, desk.position());
}

impl Desk<'_> {
    /// The version of a counter, whose value is no text.
    fn get_version(&self, name: &str) -> (u64, Version) {
        let view = self.snapshot();
        let found = block_on(view.0.get(&[key(name)])).unwrap().remove(0);
        (found.counter().unwrap(), found.version)
    }
}
