//! kill -9 in the middle of parallel provisioning, then restart and retry of everything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mintmark_rpc::client::plugins::device_key::DeviceIdentity;
use mintmark_rpc::client::{Code, Failure};
use tokio::sync::Notify;

use crate::program::find;
use crate::station::{Device, Station};
use crate::world::{Host, Order, World};

/// Devices of the story.
const DEVICES: usize = 60;
/// How many answers come before each cut.
const CUTS: [usize; 3] = [7, 19, 33];

type Known = HashMap<String, DeviceIdentity>;

/// Subjects with the identities that they were answered.
type Answers = Vec<(String, DeviceIdentity)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_no_device_is_lost_or_doubled_by_power_cuts() {
    let world = World::new();
    let (headquarters, mut site) = world.pair();
    let order = Order { total: DEVICES as u64, ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    let station = site.user("station", "tester-1", &[]);
    let devices: Arc<Vec<Device>> =
        Arc::new((0..DEVICES).map(|number| Device::new(&format!("device-{number}"))).collect());
    let mut known = Known::new();

    for cut in CUTS {
        let answered = until_cut(&station, &entitlement, &devices, cut).await;
        site.kill();
        let answers = answered.finish().await;
        assert!(answers.len() >= cut, "the cut came after {} answers", answers.len());
        remember(&mut known, answers);
        site.start();
        check_equation(&site, &entitlement, &known);
    }
    let connection = Station::open(&station, &entitlement).await.unwrap();
    for device in devices.iter() {
        let identity = connection.provision(device).await.unwrap();
        connection.confirm(device, &identity).await.unwrap();
        remember(&mut known, vec![(device.subject.clone(), identity)]);
    }
    check_each_has_its_own(&known);
    check_equation(&site, &entitlement, &known);
    let one_more = connection.provision(&Device::new("one-more")).await.unwrap_err();
    assert_eq!(one_more.reason.as_deref(), Some("QUOTA_EXHAUSTED"));

    let (verdict, _) = world.report((&headquarters, &site), "after-cuts");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
}

/// Promise I1 at the site: every credited unit is in exactly one place, and whatever was answered
/// is among what was released.
fn check_equation(site: &Host, entitlement: &str, known: &Known) {
    let shown = site.done(&["entitlement", "show", entitlement]);
    let count = |state: &str| shown[state].as_u64().unwrap();
    let places = [
        "unused",
        "reserved",
        "issued",
        "confirmed",
        "failed",
        "scrapped",
        "returned",
        "lost",
        "destroyed",
    ];
    assert_eq!(count("credited"), DEVICES as u64, "{shown}");
    assert_eq!(count("credited"), places.map(count).iter().sum::<u64>(), "{shown}");
    assert!(count("issued") + count("confirmed") >= known.len() as u64, "{shown}");
}

/// As many units, serial numbers, keys and certificates as devices.
fn check_each_has_its_own(known: &Known) {
    let units: BTreeSet<_> = known.values().map(|identity| identity.unit).collect();
    assert_eq!(units, (0..DEVICES as u64).collect());
    let serials: BTreeSet<_> = known.values().map(|identity| &identity.serial).collect();
    let keys: BTreeSet<_> = known.values().map(|identity| &identity.public_key).collect();
    let certificates: BTreeSet<_> = known.values().map(|identity| &identity.certificate).collect();
    assert_eq!((serials.len(), keys.len(), certificates.len()), (DEVICES, DEVICES, DEVICES));
}

/// An identity never changes once it was answered.
fn remember(known: &mut Known, answers: Answers) {
    for (subject, identity) in answers {
        if let Some(before) = known.insert(subject.clone(), identity.clone()) {
            assert_eq!(before, identity, "{subject} has two identities");
        }
    }
}

/// Testers at work.
struct Testers {
    tasks: Vec<tokio::task::JoinHandle<Answers>>,
}

impl Testers {
    /// What they were answered before the host was gone.
    async fn finish(self) -> Answers {
        let mut answers = Vec::new();
        for task in self.tasks {
            answers.extend(task.await.unwrap());
        }
        answers
    }
}

/// Lets eight testers work until so many answers have come.
async fn until_cut(
    station: &str,
    entitlement: &str,
    devices: &Arc<Vec<Device>>,
    cut: usize,
) -> Testers {
    let (next, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let reached = Arc::new(Notify::new());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let connection = Station::open(station, entitlement).await.unwrap();
        let (devices, next, count) = (Arc::clone(devices), Arc::clone(&next), Arc::clone(&count));
        let reached = Arc::clone(&reached);
        tasks.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            while let Some(device) = devices.get(next.fetch_add(1, Ordering::SeqCst)) {
                match connection.provision(device).await {
                    Ok(identity) => answers.push((device.subject.clone(), identity)),
                    Err(failure) if may_be_cut(&failure) => break,
                    Err(failure) => panic!("{failure:?}"),
                }
                if count.fetch_add(1, Ordering::SeqCst) + 1 == cut {
                    reached.notify_one();
                }
            }
            answers
        }));
    }
    reached.notified().await;
    Testers { tasks }
}

/// What a tester sees of a power cut: no answer at all. A host that answers gives a reason, and any
/// other code is a fault.
fn may_be_cut(failure: &Failure) -> bool {
    let unanswered =
        matches!(failure.code, Code::Unavailable | Code::Unknown | Code::DeadlineExceeded);
    unanswered && failure.reason.is_none()
}
