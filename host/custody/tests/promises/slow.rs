//! S12: a disk that is slow. Whoever waits for a sync shares it, and nobody is answered before.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Waker};

use futures_executor::block_on;
use futures_util::future::{join, join_all};
use mintmark_custody::{Call, Session};
use mintmark_exchange::row::ROW_DELAY_MS_MAX;
use mintmark_exchange::unit::UnitChange;
use mintmark_sdk_testing::{Device, Hardware, NODE, SimulatedDisk};
use mintmark_store::{Embedded, Identity, Medium};

use crate::bench::{Bench, Line, finish, issue};

/// A disk whose syncs wait while its gate is closed.
#[derive(Clone, Debug)]
struct SlowDisk {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Somebody waits for a sync.
    waits: bool,
    /// The next sync makes a new length durable. The engine lets nobody read meanwhile, so it is
    /// not held: the test reads.
    grows: bool,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.state.lock().unwrap() = State { closed, ..State::default() };
        self.changed.notify_all();
    }

    /// Returns when a sync has begun and does not end.
    fn until_a_sync_waits(&self) {
        let waits = |state: &mut State| !state.waits;
        drop(self.changed.wait_while(self.state.lock().unwrap(), waits).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if std::mem::take(&mut state.grows) {
            return;
        }
        state.waits = state.closed;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.closed).unwrap());
    }
}

impl Medium for SlowDisk {
    fn length(&self) -> io::Result<u64> {
        self.disk.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.gate.state.lock().unwrap().grows = true;
        self.disk.set_length(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.disk.sync()
    }
}

/// A line whose store is on a slow disk.
struct Slow {
    bench: Bench,
    disk: SlowDisk,
    entitlement: String,
}

impl Slow {
    fn new() -> Self {
        let disk = SlowDisk { disk: SimulatedDisk::new(), gate: Arc::default() };
        let Hardware { store_id, platform, .. } = Hardware::memory();
        let sealing = platform.sealing_secret().unwrap();
        let identity = Identity::new(store_id, NODE);
        let store = Embedded::create_on(disk.clone(), &identity, &sealing).unwrap();
        let bench = Bench::on(Hardware { store: Arc::new(store), store_id, platform });
        let entitlement = bench.entitlement(100);
        Self { bench, disk, entitlement }
    }

    fn batches(&self) -> u64 {
        block_on(self.bench.site.custody().status()).unwrap().batches
    }

    /// A call that has issued, and waits for nothing yet.
    async fn issued(&self, subject: &str, device: &Device) -> Call {
        let mut call = self.bench.call().await;
        issue(&mut call, &self.entitlement, subject, device).await.unwrap();
        call
    }
}

#[test]
fn s12_many_calls_share_a_sync_and_none_is_answered_before_it() {
    let slow = Slow::new();
    let devices: Vec<_> = (0..32).map(|_| Device::new()).collect();
    let calls = devices.iter().enumerate();
    let issued = |(number, device)| block_on(slow.issued(&format!("SN:{number}"), device));
    let calls: Vec<Call> = calls.map(issued).collect();
    let before = slow.batches();
    slow.disk.gate.set(true);
    let mut answers = pin!(join_all(calls.into_iter().map(finish)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answers.as_mut().poll(&mut context).is_pending());
    slow.disk.gate.until_a_sync_waits();
    assert!(answers.as_mut().poll(&mut context).is_pending());
    assert!(slow.bench.unit_rows().is_empty(), "a reader sees nothing before the sync either");
    slow.disk.gate.set(false);
    for answer in block_on(answers) {
        answer.unwrap();
    }
    // The first may have gone alone; all others were waiting together.
    assert!(slow.batches() - before <= 2, "{} syncs", slow.batches() - before);
    assert_eq!(slow.bench.counters(&slow.entitlement).issued, 32);
}

#[test]
fn two_who_revoke_each_other_at_once_do_not_both_go() {
    let slow = Slow::new();
    let custody = slow.bench.site.custody();
    // Both decide while neither can see what the other did.
    slow.disk.gate.set(true);
    let revoke = |who: &str, whom: &'static str| {
        let session = slow.bench.site.session_of::<Line>("station", who);
        let session = Session { plugin: None, ..session };
        async move { custody.revoke_user(session, "station", whom).await }
    };
    let mut both = pin!(join(revoke("line-4", "line-5"), revoke("line-5", "line-4")));
    let mut context = Context::from_waker(Waker::noop());
    assert!(both.as_mut().poll(&mut context).is_pending());
    slow.disk.gate.until_a_sync_waits();
    assert!(both.as_mut().poll(&mut context).is_pending());
    slow.disk.gate.set(false);
    let (one, other) = block_on(both);
    assert_eq!([&one, &other].into_iter().filter(|revoked| revoked.is_ok()).count(), 1);
    let gone = ["line-4", "line-5"].into_iter().filter(|name| {
        custody.is_revoked(&slow.bench.site.session_of::<Line>("station", name).principal)
    });
    assert_eq!(gone.count(), 1);
}

#[test]
fn s12_who_asks_again_during_a_sync_gets_the_same_answer_when_it_has_ended() {
    let slow = Slow::new();
    let device = Device::new();
    slow.disk.gate.set(true);
    let provision = || slow.bench.provision(&slow.entitlement, "SN:1", &device).unwrap();
    let (first, again) = std::thread::scope(|scope| {
        let first = scope.spawn(provision);
        slow.disk.gate.until_a_sync_waits();
        let again = scope.spawn(provision);
        assert!(slow.bench.unit_rows().is_empty(), "nothing is there, so nobody has an answer");
        slow.disk.gate.set(false);
        (first.join().unwrap(), again.join().unwrap())
    });
    assert_eq!(first, again);
    let changes: Vec<_> = slow.bench.unit_rows().into_iter().map(|row| row.change).collect();
    assert_eq!(changes, [UnitChange::Issued, UnitChange::Released]);
    assert_eq!(slow.bench.counters(&slow.entitlement).issued, 1);
}

/// Headquarters takes rows that are later than that for a clock that steps back, and nobody can
/// take it back.
#[test]
fn s12_no_row_is_later_than_headquarters_expects_however_long_a_call_takes() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    // A plugin's longest call, one that waited as long for its turn, and what has no deadline.
    for (number, seconds) in [60, 119, 3_600].into_iter().enumerate() {
        let mut slow = block_on(bench.call());
        block_on(slow.note("late")).unwrap();
        bench.world.pass_ms(seconds * 1_000);
        bench.provision(&entitlement, &format!("SN:{number}"), &Device::new()).unwrap();
        block_on(finish(slow)).unwrap();
    }
    let late = bench.rows().into_iter().scan(0, |latest, row| {
        let late = u64::saturating_sub(*latest, row.body.time_ms);
        *latest = row.body.time_ms.max(*latest);
        Some(late)
    });
    // Both happens: a row has the time of its decision while that is near enough.
    let late: Vec<u64> = late.collect();
    assert!(late.iter().any(|late| *late >= 60_000), "{late:?}");
    assert!(late.iter().all(|late| *late <= ROW_DELAY_MS_MAX), "{late:?}");
}
