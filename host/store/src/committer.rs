//! The committer: one thread that turns what waits into batches, so that many calls share a sync.
//!
//! The order is fixed: the store's commit is durable, then the hook has anchored the new position,
//! then the waiting calls get their answers and may release what they made. A failure on the way
//! leaves in doubt what is durable, so the committer is poisoned: every call, then and later, is
//! told `Unavailable` until the host is started again and has looked.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use futures_channel::oneshot;
use futures_executor::block_on;
use thiserror::Error;

use crate::{Error as StoreError, Outcome, Position, Store, Transaction};

/// At most so many transactions share a sync.
pub const BATCH_TRANSACTIONS_MAX: usize = 256;
/// No transaction joins a batch that has this many bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What has to be durable outside the store before anything is released.
pub trait AfterCommit: Send {
    /// Called on the committer's thread after each batch that committed anything: makes `position`
    /// and the digests that the batch's transactions want remembered durable, in time order.
    fn advance(&mut self, position: &Position, remembered: &[[u8; 32]]) -> Result<(), NotAnchored>;
}

/// The position could not be made durable outside the store; the committer is poisoned by it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the position was not anchored")]
pub struct NotAnchored(pub Poison);

/// What ended all commits until the host is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// The disk was full.
    Full,
    /// The disk takes no writes.
    ReadOnly,
    /// Any other failure, and a store that is only read.
    Failed,
}

impl From<StoreError> for Poison {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::ReadOnly => Self::ReadOnly,
            _ => Self::Failed,
        }
    }
}

/// A hook that anchors nothing: for tests, and for stores without a platform.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unanchored;

impl AfterCommit for Unanchored {
    fn advance(&mut self, _: &Position, _: &[[u8; 32]]) -> Result<(), NotAnchored> {
        Ok(())
    }
}

/// A transaction that is durable and anchored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The transaction's number.
    pub commit: u64,
    /// The sequences of its rows, in order.
    pub rows: Vec<u64>,
}

/// Why a transaction was not committed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// Something that was read has changed; nothing was written. Run the call again.
    #[error("something that was read has changed")]
    Conflict,
    /// A counter would have left its bounds; nothing was written.
    #[error("the counter of add {add} would leave its bounds")]
    OutOfBounds {
        /// The index of the add.
        add: usize,
    },
    /// The sum over the counter of add `whole` would not hold; nothing was written.
    #[error("the counters of add {whole} do not add up")]
    Unbalanced {
        /// The index of the add to the whole.
        whole: usize,
    },
    /// The lease has another epoch; nothing was written.
    #[error("the lease has another epoch")]
    LeaseLost,
    /// The transaction is larger than the store allows; nothing was written.
    #[error("the transaction is too large")]
    TooLarge,
    /// The store failed, now or earlier. Whether this transaction is durable shows after a restart.
    #[error("the store is unavailable")]
    Unavailable,
}

/// A handle on the committer's thread. The last one that is dropped waits for the thread's end.
#[derive(Clone)]
pub struct Committer(Arc<Handle>);

struct Handle {
    /// `None` while the last handle is dropped, and where nothing is to be committed.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<Status>,
}

#[derive(Default)]
struct Status {
    /// The first failure.
    poison: OnceLock<Poison>,
    batches: AtomicU64,
    /// The number of the last transaction that is anchored, as far as this committer saw it.
    anchored: AtomicU64,
}

impl Status {
    /// Ends all commits; what failed first stays the cause.
    fn poison(&self, why: Poison) {
        let _first = self.poison.set(why);
    }
}

enum Job {
    Commit { transaction: Transaction, answer: oneshot::Sender<Result<Committed, CommitError>> },
    Settle { answer: oneshot::Sender<Result<(), CommitError>> },
}

impl Committer {
    /// Starts the thread. There must be one committer per opened store.
    ///
    /// Answers `Unavailable` to everything if the system gives no thread.
    pub fn start(store: Arc<dyn Store>, hook: Box<dyn AfterCommit>) -> Self {
        let (queue, jobs) = mpsc::channel();
        let status = Arc::new(Status::default());
        let worker = Worker { store, hook, status: Arc::clone(&status) };
        let thread = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || worker.run(&jobs))
            .ok();
        if thread.is_none() {
            status.poison(Poison::Failed);
        }
        Self(Arc::new(Handle { queue: Some(queue), thread, status }))
    }

    /// A committer that commits nothing, for a store that is only read.
    pub fn closed() -> Self {
        let status = Status::default();
        status.poison(Poison::Failed);
        Self(Arc::new(Handle { queue: None, thread: None, status: Arc::new(status) }))
    }

    /// Hands `transaction` over and waits until it is durable and anchored.
    ///
    /// It is queued at once, before the future is first polled; dropping the future gives up the
    /// answer, not the commit.
    pub fn commit(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send + use<> {
        let (answer, wait) = oneshot::channel();
        let job = Job::Commit { transaction, answer };
        if let Some(queue) = &self.0.queue {
            // A queue without a thread drops the job, which answers it below.
            drop(queue.send(job));
        }
        async { wait.await.unwrap_or(Err(CommitError::Unavailable)) }
    }

    /// Waits until all that any reader can see by now is anchored, and says whether it is.
    ///
    /// A batch can be read as soon as the store has it, and is anchored a moment later. Who answers
    /// from what he read, and commits nothing himself, asks this first.
    pub fn settled(&self) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let (answer, wait) = oneshot::channel();
        if let Some(queue) = &self.0.queue {
            drop(queue.send(Job::Settle { answer }));
        }
        async { wait.await.unwrap_or(Err(CommitError::Unavailable)) }
    }

    /// Whether all up to the transaction `commit` is known to be anchored: who read no more need
    /// not wait until it is [settled](Self::settled).
    pub fn has_anchored(&self, commit: u64) -> bool {
        commit <= self.0.status.anchored.load(Ordering::Acquire)
    }

    /// Whether a failure has ended all commits until the host is started again.
    pub fn is_poisoned(&self) -> bool {
        self.poison().is_some()
    }

    /// What ended all commits; `None` while the committer works.
    pub fn poison(&self) -> Option<Poison> {
        self.0.status.poison.get().copied()
    }

    /// How many batches have been committed: the number of syncs that callers have shared.
    pub fn batches(&self) -> u64 {
        self.0.status.batches.load(Ordering::Acquire)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the thread has been told to all who waited.
            drop(thread.join());
        }
    }
}

struct Worker {
    store: Arc<dyn Store>,
    hook: Box<dyn AfterCommit>,
    status: Arc<Status>,
}

impl Worker {
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let status = Arc::clone(&self.status);
        let _poison_if_it_panics = PoisonOnPanic(&status);
        while let Ok(first) = jobs.recv() {
            let Gathered { batch, answers, settling } = Gathered::of(first, jobs);
            if !batch.is_empty() {
                let results = self.commit(batch, answers.len());
                for (answer, result) in answers.into_iter().zip(results) {
                    // Whoever waited may have given up; the commit stands.
                    drop(answer.send(result));
                }
            }
            let poisoned = status.poison.get().is_some();
            for answer in settling {
                let settled = if poisoned { Err(CommitError::Unavailable) } else { Ok(()) };
                let _given_up = answer.send(settled);
            }
        }
    }

    fn commit(
        &mut self,
        mut batch: Vec<Transaction>,
        count: usize,
    ) -> Vec<Result<Committed, CommitError>> {
        let remember: Vec<_> =
            batch.iter_mut().map(|transaction| std::mem::take(&mut transaction.remember)).collect();
        match self.commit_and_anchor(batch, remember) {
            Ok(outcomes) if outcomes.len() == count => {
                outcomes.into_iter().map(answer_of).collect()
            }
            failed => {
                self.status.poison(failed.err().unwrap_or(Poison::Failed));
                vec![Err(CommitError::Unavailable); count]
            }
        }
    }

    /// The error when anything failed: then nothing may be released.
    fn commit_and_anchor(
        &mut self,
        batch: Vec<Transaction>,
        remember: Vec<Vec<[u8; 32]>>,
    ) -> Result<Vec<Outcome>, Poison> {
        if let Some(poison) = self.status.poison.get() {
            return Err(*poison);
        }
        let outcomes = block_on(self.store.commit(batch))?;
        let committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
        if outcomes.iter().any(committed) {
            let remembered: Vec<[u8; 32]> = outcomes
                .iter()
                .zip(remember)
                .filter(|(outcome, _)| committed(outcome))
                .flat_map(|(_, digests)| digests)
                .collect();
            let snapshot = block_on(self.store.snapshot())?;
            let advanced = self.hook.advance(snapshot.position(), &remembered);
            advanced.map_err(|NotAnchored(poison)| poison)?;
            self.status.anchored.store(snapshot.position().commit, Ordering::Release);
            self.status.batches.fetch_add(1, Ordering::AcqRel);
        }
        Ok(outcomes)
    }
}

struct PoisonOnPanic<'a>(&'a Status);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(Poison::Failed);
        }
    }
}

/// What is done next: transactions that share a sync, and who waits for no commit of his own.
#[derive(Default)]
struct Gathered {
    batch: Vec<Transaction>,
    answers: Vec<oneshot::Sender<Result<Committed, CommitError>>>,
    settling: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

impl Gathered {
    /// The first job and what waits behind it, up to the limits of a batch.
    fn of(first: Job, jobs: &mpsc::Receiver<Job>) -> Self {
        let mut gathered = Self::default();
        let mut bytes = gathered.add(first);
        while gathered.batch.len() + gathered.settling.len() < BATCH_TRANSACTIONS_MAX
            && bytes < BATCH_BYTES_MAX
        {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += gathered.add(job);
        }
        gathered
    }

    /// Adds a job; gives the bytes that it adds to the batch.
    fn add(&mut self, job: Job) -> usize {
        match job {
            Job::Commit { transaction, answer } => {
                let bytes = transaction.weight_bytes();
                self.batch.push(transaction);
                self.answers.push(answer);
                bytes
            }
            Job::Settle { answer } => {
                self.settling.push(answer);
                0
            }
        }
    }
}

fn answer_of(outcome: Outcome) -> Result<Committed, CommitError> {
    match outcome {
        Outcome::Committed { commit, rows } => Ok(Committed { commit, rows }),
        Outcome::Conflict => Err(CommitError::Conflict),
        Outcome::OutOfBounds { add } => Err(CommitError::OutOfBounds { add }),
        Outcome::Unbalanced { whole } => Err(CommitError::Unbalanced { whole }),
        Outcome::LeaseLost => Err(CommitError::LeaseLost),
        Outcome::TooLarge => Err(CommitError::TooLarge),
    }
}
