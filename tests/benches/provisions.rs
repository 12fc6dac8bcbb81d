//! Provisions per second at a site, with one client and with many: real processes, mutual TLS, a
//! real store.
//!
//! Every provision is a device's certificate, durable in the store and anchored before the answer.
//! Only the ratio of two figures of one run says something about the program; the rest is the
//! machine.

#![expect(dead_code, reason = "the stories' modules are shared, and have more than is used here")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[path = "../stories/program.rs"]
mod program;
#[path = "../stories/station.rs"]
mod station;
#[path = "../stories/world.rs"]
mod world;

use station::{Device, Station};
use world::{Order, World};

/// Clients, and how many devices they provision together.
const RUNS: [(usize, usize); 4] = [(1, 300), (8, 2_000), (32, 4_000), (1, 300)];

fn main() {
    program::become_program();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let order = Order { total: 100_000, audit_units: 100_000, ..Order::default() };
    let order = Order { rates: "unlimited_rate = true", ..order };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    let context = site.user("station", "tester-1", &[]);
    println!("{:>8} {:>8} {:>12} {:>16}", "clients", "devices", "per second", "ms per device");
    for (run, (clients, count)) in RUNS.into_iter().enumerate() {
        let devices = (0..count).map(|number| Device::new(&format!("run-{run}-{number}")));
        let devices: Arc<Vec<Device>> = Arc::new(devices.collect());
        let began = Instant::now();
        provision(&context, &entitlement, clients, &devices).await;
        let seconds = began.elapsed().as_secs_f64();
        let rate = count as f64 / seconds;
        let latency = seconds * 1_000.0 * clients as f64 / count as f64;
        println!("{clients:>8} {count:>8} {rate:>12.0} {latency:>16.2}");
    }
}

/// Lets so many clients provision and confirm all devices.
async fn provision(context: &str, entitlement: &str, clients: usize, devices: &Arc<Vec<Device>>) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::with_capacity(clients);
    for _ in 0..clients {
        let station = Station::open(context, entitlement).await.unwrap();
        let (devices, next) = (Arc::clone(devices), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            while let Some(device) = devices.get(next.fetch_add(1, Ordering::SeqCst)) {
                station.provision(device).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
