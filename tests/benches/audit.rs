//! `mintmark audit verify` on a million honest rows with real signatures: how long it takes, and
//! how much memory the whole process has.
//!
//! The opened bundle is written first; then a process of its own is the program, so that its peak
//! is that of the verification alone. Each device has a key of its own and has proved it.

#![expect(dead_code, reason = "the site is that of the library's tests, and has more")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and stops")]

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_pki::{ClusterPath, ClusterRole, LeafKind, LeafUsage, TrustKind, Validity, issue};

// The site's module names them as the library does.
use mintmark_exchange::*;

#[path = "../../sdk/exchange/src/reconcile/tests/site.rs"]
mod site;

use canonical::{encode, sha256};
use checkpoint::{Checkpoint, Position};
use grant::Grant;
use opened::OpenedHead;
use order::{CHECKPOINT, GRANT, SignedOrder};
use row::Event;
use site::{SHENZHEN, START_MS, Site};
use unit::{UnitChange, UnitState};

const ROWS: u64 = 1_000_000;
const DAY_MS: u64 = 86_400_000;
/// Devices between two looks at how many rows there are.
const DEVICES_AT_ONCE: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, act, file, root] = &arguments[..]
        && act == "verify"
    {
        return verify(file, root);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-million.opened");
    let root = folder.path().join("root.pem");
    write(&file, &root);
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program).arg("verify").args([&file, &root]).status().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Is the program, and says what it took.
fn verify(file: &str, root: &str) -> ExitCode {
    let began = Instant::now();
    let arguments = ["mintmark", "audit", "verify", file, "--root", root];
    let code = mintmark::run(arguments.map(Into::into));
    println!(
        "{} MiB verified by the whole process: {:.1} s, peak {} MiB",
        std::fs::metadata(file).unwrap().len() >> 20,
        began.elapsed().as_secs_f64(),
        peak_kib() >> 10,
    );
    code
}

/// The most memory that the process had, as Linux counts it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Who signs for a cluster.
struct Custody {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
}

impl Custody {
    fn new(root: (&SigningKey, &[u8]), role: ClusterRole, name: &str) -> Self {
        let cluster = ClusterPath::new("acme", role, name).unwrap();
        let ca = p256();
        let csr = issue::cluster_csr(&ca, &cluster).unwrap();
        let certificate = issue::sign_cluster(root.0, root.1, &csr, &cluster, days(3_000)).unwrap();
        let key = p256();
        let id = cluster.leaf(LeafKind::Custody, "n1").unwrap();
        let info = key.public_key_info();
        let leaf = issue::leaf(&ca, &certificate, &id, info, LeafUsage::Signing, None, days(90));
        Self { key, chain: vec![leaf.unwrap(), certificate] }
    }

    fn sign<T: serde::Serialize>(&self, label: &str, body: &T) -> SignedOrder {
        let body = encode(body);
        let signature = self.key.sign(&order::signed_bytes(label, &body));
        SignedOrder { body, chain: self.chain.clone(), signature }
    }
}

fn p256() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

fn days(days: u32) -> Validity {
    Validity::days(START_MS - DAY_MS, days).unwrap()
}

/// Writes an opened bundle, and the root's certificate.
fn write(file: &Path, root: &Path) {
    let key = p256();
    let certificate = issue::root_ca(&key, "acme", TrustKind::Production, days(7_000)).unwrap();
    let text = pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, &certificate);
    std::fs::write(root, text.unwrap()).unwrap();
    let root = (&key, &certificate[..]);
    let headquarters = Custody::new(root, ClusterRole::Headquarters, "berlin");
    let shenzhen = Custody::new(root, ClusterRole::Site, "shenzhen");

    let mut grant = site::grant(1, SHENZHEN);
    (grant.terms.total, grant.terms.audit_return.units) = (ROWS, ROWS);
    grant.terms.not_after = START_MS + 365 * DAY_MS;
    let mut rows = tempfile::tempfile().unwrap();
    let written = write_rows(&mut rows, &grant);
    let opened = OpenedHead {
        site: SHENZHEN.to_owned(),
        bundle: [1; 32],
        made_at: written.made_at,
        grants: vec![headquarters.sign(GRANT, &grant)],
        directives: Vec::new(),
        closings: Vec::new(),
        lost_heads: Vec::new(),
        restored: false,
    };
    let checkpoints = vec![shenzhen.sign(CHECKPOINT, &written)];
    let head = bundle::BundleHead { version: bundle::VERSION, checkpoints };
    let mut bytes = opened.encode().unwrap();
    bundle::push_frame(&mut bytes, &encode(&head)).unwrap();
    let mut file = File::create(file).unwrap();
    file.write_all(&bytes).unwrap();
    rows.rewind().unwrap();
    std::io::copy(&mut rows, &mut file).unwrap();
}

/// Writes the rows of a site that makes devices until there are enough; gives what it signs.
fn write_rows(file: &mut File, grant: &Grant) -> Checkpoint {
    let mut site = Site::new(SHENZHEN);
    site.import(grant);
    let mut out = BufWriter::new(file);
    let mut tree = merkle::Tree::new();
    while tree.len() < ROWS {
        let last = site.head();
        for row in std::mem::take(&mut site.rows) {
            tree.push(&row::Row::link(&row).unwrap().2);
            let mut frame = Vec::new();
            bundle::push_frame(&mut frame, &row).unwrap();
            out.write_all(&frame).unwrap();
        }
        site.before = last;
        if tree.len() < ROWS {
            (0..DEVICES_AT_ONCE).for_each(|_| produce(&mut site, grant));
        }
    }
    let mut end = Vec::new();
    bundle::push_frame(&mut end, &[]).unwrap();
    out.write_all(&end).unwrap();
    out.flush().unwrap();
    Checkpoint {
        from: Position::default(),
        to: site.before,
        rows: tree.len(),
        merkle_root: tree.root(),
        ..site.checkpoint(site.before.sequence)
    }
}

/// A device that is reserved, issued and confirmed, with a key that is its own.
fn produce(site: &mut Site, grant: &Grant) {
    site.now_ms += 2_500;
    let drawn = site.drawn.entry(grant.entitlement.clone()).or_default();
    let unit = *drawn;
    *drawn += 1;
    let (subject, key) = (format!("device-{unit}"), p256());
    let entitlement = Some(grant.entitlement.as_str());
    let reserved = (UnitChange::Reserved, None);
    let issued = (UnitChange::Issued, Some(UnitState::Reserved));
    let confirmed = (UnitChange::Confirmed, Some(UnitState::Issued));
    for calls in [&[reserved, issued][..], &[confirmed]] {
        let mut events = Vec::new();
        for (to, from) in calls {
            let event = site.change(grant, unit, &subject, *to, *from);
            events.push((with_key(event, &key), entitlement));
        }
        site.call(events);
    }
}

fn with_key(event: Event, key: &SigningKey) -> Event {
    let mut unit = match event {
        Event::Unit(unit) => unit,
        other => return other,
    };
    let info = key.public_key_info();
    unit.key_hash = unit.key_hash.map(|_| sha256(info));
    if let (Some(certificate), Some(proof)) = (unit.certificate_hash, &mut unit.proof) {
        let message =
            proof::confirm_bytes(&unit.entitlement, unit.unit, &certificate, &proof.nonce);
        proof.signature = key.sign(&message);
        proof.public_key = info.to_vec();
    }
    Event::Unit(unit)
}
