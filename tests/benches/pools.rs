//! A million given keys: loaded at headquarters, taken off their pool by one grant, imported by a
//! site. Real processes, real stores; how many keys can be given as the first argument.
//!
//! Prints seconds and, for both hosts, the size of the store and the most memory that was resident.

#![expect(dead_code, reason = "the stories' modules are shared, and have more than is used here")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and stops")]

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[path = "../stories/program.rs"]
mod program;
#[path = "../stories/world.rs"]
mod world;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use world::{Host, Order, World, text};

/// How many keys where nobody says otherwise.
const KEYS: u64 = 1_000_000;

fn main() {
    program::become_program();
    let keys = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(KEYS);
    let world = World::new();
    let (headquarters, site) = world.pair();
    let file = timed("keys made", || authority(&world.path("keys.pem"), keys));
    println!("{:>24} {:>10.1} MiB", "their file", mib(&file));
    timed("loaded", || headquarters.done(&["pool", "load", text(&file), "--name", "licences"]));
    let order = Order {
        origin: "pool",
        pool: "licences",
        delivery: "sealed-to-device",
        total: keys,
        audit_units: keys,
        ..Order::default()
    };
    let (_, message) = timed("granted", || world.create(&headquarters, &order));
    let key_file = format!("{}.keys", text(&message));
    println!("{:>24} {:>10.1} MiB", "key file", mib(Path::new(&key_file)));
    site.done(&["entitlement", "import", text(&message)]);
    timed("imported", || site.done(&["pool", "import", &key_file]));
    for (host, kib) in [&headquarters, &site].into_iter().zip(resident_kib()) {
        let store = format!("{} store", host.name);
        println!("{store:>24} {:>10.1} MiB", stored(host));
        let memory = format!("{} memory at most", host.name);
        println!("{memory:>24} {:>10.1} MiB", kib / 1024.0);
    }
}

/// The most memory that each process held which this one started, in the order of their starts, as
/// Linux says it.
fn resident_kib() -> Vec<f64> {
    let number = |status: &str, name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if number(&status, "PPid:") == Some(f64::from(std::process::id())) {
            found.push((process, number(&status, "VmHWM:").unwrap_or_default()));
        }
    }
    found.sort_by_key(|(process, _)| *process);
    found.into_iter().map(|(_, kib)| kib).collect()
}

fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    println!("{what:>24} {:>10.1} s", began.elapsed().as_secs_f64());
    done
}

fn authority(path: &Path, keys: u64) -> PathBuf {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    for _ in 0..keys {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256).to_pkcs8();
        let ending = pem_rfc7468::LineEnding::LF;
        let text = pem_rfc7468::encode_string("PRIVATE KEY", ending, key.expose()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    path.to_owned()
}

fn mib(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64 / f64::from(1 << 20)
}

fn stored(host: &Host) -> f64 {
    let files = std::fs::read_dir(host.at("data")).unwrap();
    files.map(|file| mib(&file.unwrap().path())).sum()
}
