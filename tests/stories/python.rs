//! A client in another language, written from the .proto file alone.

use std::path::Path;
use std::process::Command;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::tools;
use crate::world::{Order, World, text};

fn has(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_python_client_provisions_a_device_and_verifies_its_chain() {
    if !has("python3", &["-c", "import grpc, grpc_tools, cryptography"]) {
        tools::is_missing(tools::GRPCIO);
        return;
    }
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let context = site.user("station", "tester-1", &[]);
    let json = world.path("context.json");
    std::fs::write(&json, as_json(&context)).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(here.join("python/provision.py"))
        .arg(here.join("../plugins/device-key/proto"))
        .args([text(&json), &entitlement, "python-1", text(&world.path(""))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");

    // Headquarters itself says which product CA it is.
    let product_ca = world.path("product-ca.pem");
    headquarters.done(&["entitlement", "show", &entitlement, "--ca", text(&product_ca)]);
    let product_ca = CertificateDer::from_pem_file(&product_ca).unwrap();
    let read = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert_eq!(read("chain-1.der"), product_ca.as_ref());
    let chain = [read("device.der"), read("chain-0.der")];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    mintmark_pki::device::verify_device(&chain, &product_ca, now).unwrap();
}

/// The context's facts, with paths from anywhere.
fn as_json(context: &str) -> String {
    let folder = Path::new(context).parent().unwrap();
    let text = std::fs::read_to_string(context).unwrap();
    let facts = text.lines().filter_map(|line| line.split_once(" = "));
    let facts = facts.map(|(name, value)| {
        let value = value.trim_matches('"');
        let file = ["root", "certificate", "key"].contains(&name);
        let value = if file { folder.join(value).display().to_string() } else { value.to_owned() };
        (name.to_owned(), serde_json::Value::String(value))
    });
    serde_json::Value::Object(facts.collect()).to_string()
}
