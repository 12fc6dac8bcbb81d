//! What the committer promises to those who wait on it, and to those who stopped waiting.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use futures_executor::block_on;
use futures_util::future::join_all;
use mintmark_store::{
    Add, AfterCommit, CommitError, Committer, Error, Identity, Key, Later, Memory, NewRow,
    NotAnchored, Outcome, Poison, Position, Snapshot, Store, Transaction, Unanchored, Verified,
    Version,
};

/// A store that counts its commits, waits at a gate before each, and fails when it is told to.
struct Observed {
    inner: Memory,
    commits: AtomicU64,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
    fails: fn(u64) -> bool,
}

impl Observed {
    fn new() -> Self {
        Self {
            inner: Memory::new(&Identity::new([1; 16], "node")),
            commits: AtomicU64::new(0),
            gate: Mutex::new(None),
            fails: |_| false,
        }
    }
}

impl Store for Observed {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        if let Some(gate) = &*self.gate.lock().unwrap() {
            // The gate opens once per message, and stays open when its keeper is gone.
            let _open = gate.recv();
        }
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if (self.fails)(number) {
            return Box::pin(async { Err(Error::Unavailable) });
        }
        self.inner.commit(batch)
    }

    fn verify(&self) -> Later<'_, Verified> {
        self.inner.verify()
    }
}

fn counting(max: u64) -> Transaction {
    Transaction {
        adds: vec![Add { key: Key::new(1, "n"), delta: 1, min: 0, max }],
        rows: vec![NewRow { body: b"counted".to_vec(), counters: vec![0] }],
        ..Transaction::default()
    }
}

fn count(store: &dyn Store) -> u64 {
    let snapshot = block_on(store.snapshot()).unwrap();
    let found = block_on(snapshot.get(&[Key::new(1, "n")])).unwrap();
    found[0].counter().unwrap()
}

#[test]
fn many_concurrent_commits_share_few_syncs_and_one_counter() {
    let (open, gate) = mpsc::channel();
    let store = Arc::new(Observed { gate: Mutex::new(Some(gate)), ..Observed::new() });
    let committer = Committer::start(store.clone(), Box::new(Unanchored));
    let waiting: Vec<_> = (0..1_000).map(|_| committer.commit(counting(900))).collect();
    drop(open);
    let answers = block_on(join_all(waiting));

    let refused = Err(CommitError::OutOfBounds { add: 0 });
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (900, 100));
    assert!(bad.iter().all(|answer| *answer == refused));
    let mut rows: Vec<u64> = good.into_iter().flat_map(|a| a.unwrap().rows).collect();
    rows.sort_unstable();
    assert_eq!(rows, (1..=900).collect::<Vec<_>>());

    assert_eq!(count(&*store), 900);
    // The first may have been taken alone; 256 at a time after that.
    assert!(store.commits.load(Ordering::SeqCst) <= 6);
    assert!(committer.batches() <= 6);
    assert!(!committer.is_poisoned());
}

#[test]
fn each_answer_is_that_of_its_own_transaction() {
    let store = Arc::new(Observed::new());
    let committer = Committer::start(store, Box::new(Unanchored));
    let insert = || Transaction {
        reads: vec![(Key::new(2, "once"), Version::ABSENT)],
        writes: vec![(Key::new(2, "once"), Some(b"x".to_vec().into()))],
        ..Transaction::default()
    };
    let lease_lost = Transaction { lease: Some((1, 1)), ..Transaction::default() };
    let too_large =
        Transaction { writes: vec![(Key::new(2, [0; 2_000]), None)], ..Transaction::default() };
    let waiting = [insert(), insert(), lease_lost, too_large, counting(0)]
        .map(|transaction| committer.commit(transaction));
    let answers = block_on(join_all(waiting));
    assert_eq!(answers[0].as_ref().unwrap().commit, 1);
    assert_eq!(
        answers[1..],
        [
            Err(CommitError::Conflict),
            Err(CommitError::LeaseLost),
            Err(CommitError::TooLarge),
            Err(CommitError::OutOfBounds { add: 0 }),
        ]
    );
}

#[test]
fn a_commit_that_nobody_waits_for_any_more_is_committed() {
    let (open, gate) = mpsc::channel();
    let store = Arc::new(Observed { gate: Mutex::new(Some(gate)), ..Observed::new() });
    let committer = Committer::start(store.clone(), Box::new(Unanchored));
    drop(committer.commit(counting(10)));
    drop(committer.commit(counting(10)));
    drop(open);
    // The end of the last handle waits for what is queued.
    drop(committer);
    assert_eq!(count(&*store), 2);
}

/// What a hook was given, in order.
type Journal = Arc<Mutex<Vec<(Position, Vec<[u8; 32]>)>>>;

struct Journaling {
    journal: Journal,
    fails: bool,
}

impl AfterCommit for Journaling {
    fn advance(&mut self, position: &Position, digests: &[[u8; 32]]) -> Result<(), NotAnchored> {
        let mut journal = self.journal.lock().unwrap();
        journal.push((position.clone(), digests.to_vec()));
        if self.fails { Err(NotAnchored(Poison::Failed)) } else { Ok(()) }
    }
}

#[test]
fn the_hook_sees_each_batch_before_its_callers_and_only_what_was_committed() {
    let store = Arc::new(Observed::new());
    let journal = Journal::default();
    let hook = Journaling { journal: Arc::clone(&journal), fails: false };
    let committer = Committer::start(store, Box::new(hook));
    let remembering = |max, digest| Transaction { remember: vec![[digest; 32]], ..counting(max) };
    let answer = block_on(committer.commit(remembering(10, 1))).unwrap();
    {
        let journal = journal.lock().unwrap();
        let (position, digests) = journal.last().unwrap();
        assert_eq!(position.commit, answer.commit);
        assert_eq!(*digests, [[1; 32]]);
    }
    let refused = block_on(committer.commit(remembering(0, 2)));
    assert_eq!(refused, Err(CommitError::OutOfBounds { add: 0 }));
    assert_eq!(journal.lock().unwrap().len(), 1, "nothing was committed");
}

#[test]
fn s5_after_a_failed_commit_nothing_is_ever_tried_again() {
    let store = Arc::new(Observed { fails: |number| number == 2, ..Observed::new() });
    let committer = Committer::start(store.clone(), Box::new(Unanchored));
    assert!(block_on(committer.commit(counting(10))).is_ok());
    for _ in 0..3 {
        let answer = block_on(committer.commit(counting(10)));
        assert_eq!(answer, Err(CommitError::Unavailable));
        assert!(committer.is_poisoned());
    }
    assert_eq!(store.commits.load(Ordering::SeqCst), 2);
}

#[test]
fn nothing_is_answered_that_was_not_anchored() {
    let store = Arc::new(Observed::new());
    let hook = Journaling { journal: Journal::default(), fails: true };
    let committer = Committer::start(store.clone(), Box::new(hook));
    for _ in 0..2 {
        let answer = block_on(committer.commit(counting(10)));
        assert_eq!(answer, Err(CommitError::Unavailable));
    }
    assert!(committer.is_poisoned());
    assert_eq!(store.commits.load(Ordering::SeqCst), 1);
}

struct Panicking;

impl AfterCommit for Panicking {
    fn advance(&mut self, _: &Position, _: &[[u8; 32]]) -> Result<(), NotAnchored> {
        panic!("the hook panics, as the test wants");
    }
}

#[test]
fn a_panic_of_the_hook_is_told_to_those_who_wait() {
    let committer = Committer::start(Arc::new(Observed::new()), Box::new(Panicking));
    for _ in 0..2 {
        let answer = block_on(committer.commit(counting(10)));
        assert_eq!(answer, Err(CommitError::Unavailable));
    }
}

#[test]
fn a_handle_can_be_dropped_on_the_committers_own_thread() {
    struct Holding(Arc<Mutex<Option<Committer>>>);
    impl AfterCommit for Holding {
        fn advance(&mut self, _: &Position, _: &[[u8; 32]]) -> Result<(), NotAnchored> {
            drop(self.0.lock().unwrap().take());
            Ok(())
        }
    }
    let held = Arc::new(Mutex::new(None));
    let committer =
        Committer::start(Arc::new(Observed::new()), Box::new(Holding(Arc::clone(&held))));
    let waiting = {
        let mut held = held.lock().unwrap();
        let waiting = committer.commit(counting(10));
        *held = Some(committer);
        waiting
    };
    assert!(block_on(waiting).is_ok());
}

/// A hook that fails once it is told to.
struct Failing(Arc<AtomicU64>);

impl AfterCommit for Failing {
    fn advance(&mut self, _: &Position, _: &[[u8; 32]]) -> Result<(), NotAnchored> {
        if self.0.load(Ordering::SeqCst) == 0 { Ok(()) } else { Err(NotAnchored(Poison::Failed)) }
    }
}

#[test]
fn i2_what_can_be_read_and_is_not_anchored_is_never_settled() {
    let store = Arc::new(Observed::new());
    let fails = Arc::new(AtomicU64::new(0));
    let committer = Committer::start(store.clone(), Box::new(Failing(Arc::clone(&fails))));
    assert_eq!(block_on(committer.settled()), Ok(()));
    block_on(committer.commit(counting(10))).unwrap();
    assert_eq!(block_on(committer.settled()), Ok(()));
    assert!(committer.has_anchored(1) && !committer.has_anchored(2));
    let batches = committer.batches();
    fails.store(1, Ordering::SeqCst);
    let committed = committer.commit(counting(10));
    let settled = committer.settled();
    assert_eq!(block_on(committed), Err(CommitError::Unavailable));
    // The second count is there for whoever reads, and nobody may answer from it.
    assert_eq!(count(&*store), 2);
    assert_eq!(block_on(settled), Err(CommitError::Unavailable));
    assert_eq!(block_on(committer.settled()), Err(CommitError::Unavailable));
    assert_eq!(committer.batches(), batches);
    assert!(!committer.has_anchored(2));
    assert_eq!(block_on(Committer::closed().settled()), Err(CommitError::Unavailable));
}
