//! An honest ledger of a million rows, reconciled: how long it takes, and how much memory.
//!
//! The ledger is written into a file first; then a process of its own reads it, so that its peak is
//! that of the reconciliation alone. It is measured with a register that forgets what an honest
//! ledger does not ask for again, which shows the library's own memory (headquarters has the
//! register in its store), and with the register in memory, as the offline verifier has it.

#![expect(dead_code, reason = "the site is that of the tests, and has more than is used here")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and stops")]

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

// The site's module names them as the library does.
use mintmark_exchange::*;

#[path = "../src/reconcile/tests/site.rs"]
mod site;

use canonical::{Digest, encode};
use checkpoint::Checkpoint;
use reconcile::{
    Holder, Index, MemoryRegister, Orders, PageRef, Reconciler, Register, SiteState, Unavailable,
    UnitRecord, UnitRef, Verdict, World,
};
use site::{Hashes, SHENZHEN, START_MS, Site};

const ROWS: u64 = 1_000_000;
/// What one step reads.
const STEP_BYTES: usize = 256 << 10;
/// What the register that forgets remembers, of each kind.
const RECENT_MAX: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, act, folder, register] = &arguments[..]
        && act == "reconcile"
    {
        return reconcile_as(Path::new(folder), register);
    }
    let folder = std::env::temp_dir().join(format!("mintmark-reconcile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    write(&folder);
    for register in ["that forgets", "in memory"] {
        let program = std::env::current_exe().unwrap();
        let arguments = ["reconcile", folder.to_str().unwrap(), register];
        let status = Command::new(program).args(arguments).status().unwrap();
        assert!(status.success());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn granted() -> grant::Grant {
    let mut grant = site::grant(1, SHENZHEN);
    (grant.terms.total, grant.terms.audit_return.units) = (ROWS, ROWS);
    grant.terms.not_after = START_MS + 365 * 86_400_000;
    grant
}

/// Writes the rows, and the frame that comes before them.
fn write(folder: &Path) {
    let grant = granted();
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    let mut rows = BufWriter::new(File::create(folder.join("rows")).unwrap());
    let mut tree = merkle::Tree::new();
    while tree.len() < ROWS {
        let last = site.head();
        for row in std::mem::take(&mut site.rows) {
            tree.push(&row::Row::link(&row).unwrap().2);
            let mut frame = Vec::new();
            bundle::push_frame(&mut frame, &row).unwrap();
            rows.write_all(&frame).unwrap();
        }
        site.before = last;
        if tree.len() < ROWS {
            site.produce(&grant, 100);
        }
    }
    rows.write_all(&[0; 4]).unwrap();
    rows.flush().unwrap();
    let written = Checkpoint {
        from: checkpoint::Position::default(),
        to: site.before,
        rows: tree.len(),
        merkle_root: tree.root(),
        ..site.checkpoint(site.before.sequence)
    };
    let signed = site::sign_order(order::CHECKPOINT, SHENZHEN, &written);
    let head = bundle::BundleHead { version: bundle::VERSION, checkpoints: vec![signed] };
    let mut frame = Vec::new();
    bundle::push_frame(&mut frame, &encode(&head)).unwrap();
    std::fs::write(folder.join("head"), frame).unwrap();
}

fn reconcile_as(folder: &Path, register: &str) {
    match register {
        "in memory" => run(folder, register, &mut MemoryRegister::new()),
        _ => run(folder, register, &mut Recent::default()),
    }
}

fn run(folder: &Path, name: &str, register: &mut dyn Register) {
    let head = std::fs::read(folder.join("head")).unwrap();
    let mut rows = File::open(folder.join("rows")).unwrap();
    let bytes = head.len() as u64 + rows.metadata().unwrap().len();
    let grant = granted();
    let mut orders = Orders::default();
    orders.grants.insert(grant.entitlement.clone(), grant);
    let began = Instant::now();
    let mut reconciler = Reconciler::new(SHENZHEN, [0; 32], START_MS, SiteState::default());
    let mut step = vec![0; STEP_BYTES];
    let mut encoded_max = 0;
    while let Some(offset) = reconciler.wanted() {
        let read = match head.get(offset as usize..) {
            Some(rest) if !rest.is_empty() => {
                step[..rest.len()].copy_from_slice(rest);
                rest.len()
            }
            _ => {
                rows.seek(SeekFrom::Start(offset - head.len() as u64)).unwrap();
                rows.read(&mut step).unwrap()
            }
        };
        let mut world = World { orders: &orders, register: &mut *register, verify: &Hashes };
        reconciler.feed(&step[..read], &mut world).unwrap();
        encoded_max = encoded_max.max(encode(&reconciler).len());
    }
    let outcome = reconciler.finish().unwrap();
    assert_eq!(outcome.report.verdict, Verdict::Clean, "{:?}", outcome.report.findings);
    println!(
        "{} rows, {} devices, {} MiB, register {name}: {:.1} s, peak {} MiB; between two steps at \
         most {} KiB",
        outcome.report.rows,
        outcome.report.entitlements[0].devices,
        bytes >> 20,
        began.elapsed().as_secs_f64(),
        peak_kib() >> 10,
        encoded_max >> 10,
    );
}

/// The most memory that the process had, as Linux counts it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// A register that remembers what came last.
#[derive(Default)]
struct Recent {
    units: Last<UnitRef, UnitRecord>,
    holders: Last<Vec<u8>, Holder>,
    pages: Last<Vec<u8>, Vec<Digest>>,
}

struct Last<K, V> {
    found: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Last<K, V> {
    fn default() -> Self {
        Self { found: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Last<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.found.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
    }
}

impl Register for Recent {
    fn unit(&mut self, unit: &UnitRef) -> Result<Option<UnitRecord>, Unavailable> {
        Ok(self.units.found.get(unit).cloned())
    }

    fn put_unit(&mut self, unit: &UnitRef, record: &UnitRecord) -> Result<(), Unavailable> {
        self.units.put(unit.clone(), record.clone());
        Ok(())
    }

    fn holder(&mut self, index: &Index<'_>) -> Result<Option<Holder>, Unavailable> {
        Ok(self.holders.found.get(&index.key()).cloned())
    }

    fn hold(&mut self, index: &Index<'_>, holder: &Holder) -> Result<(), Unavailable> {
        self.holders.put(index.key(), holder.clone());
        Ok(())
    }

    fn page(&mut self, page: &PageRef<'_>) -> Result<Option<Vec<Digest>>, Unavailable> {
        Ok(self.pages.found.get(&page.key()).cloned())
    }

    fn put_page(&mut self, page: &PageRef<'_>, hashes: &[Digest]) -> Result<(), Unavailable> {
        self.pages.put(page.key(), hashes.to_vec());
        Ok(())
    }
}
