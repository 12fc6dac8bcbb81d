//! kill -9 in the middle of parallel provisioning, then restart and retry of everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mintmark_rpc::client::Failure;
use tokio::sync::Notify;

use crate::program::find;
use crate::station::{Device, Station, fingerprint};
use crate::world::{Order, World};

/// Devices of the story.
const DEVICES: usize = 60;
/// How many answers come before each cut.
const CUTS: [usize; 3] = [7, 19, 33];

type Known = HashMap<String, [u8; 32]>;

/// Subjects with the identities that they were answered.
type Answers = Vec<(String, [u8; 32])>;

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
    }
    let connection = Station::open(&station, &entitlement).await.unwrap();
    for device in devices.iter() {
        let identity = connection.provision(device).await.unwrap();
        remember(&mut known, vec![(device.subject.clone(), fingerprint(&identity))]);
        connection.confirm(device, &identity).await.unwrap();
    }
    let mut identities: Vec<_> = known.values().collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), DEVICES, "each device has an identity of its own");
    let one_more = connection.provision(&Device::new("one-more")).await.unwrap_err();
    assert_eq!(one_more.reason.as_deref(), Some("QUOTA_EXHAUSTED"));

    let (verdict, _) = world.report((&headquarters, &site), "after-cuts");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
}

/// An identity never changes once it was answered.
fn remember(known: &mut Known, answers: Answers) {
    for (subject, identity) in answers {
        let before = known.insert(subject.clone(), identity);
        assert!(before.is_none_or(|before| before == identity), "{subject} has two identities");
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
                    Ok(identity) => answers.push((device.subject.clone(), fingerprint(&identity))),
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

/// What a tester sees of a power cut: no answer, and no reason of the protocol's.
fn may_be_cut(failure: &Failure) -> bool {
    failure.reason.is_none()
}
