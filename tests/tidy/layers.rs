//! Who depends on whom. The arrows are those of ARCHITECTURE.md; any other is a mistake.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crate, and what it may depend on of ours, in its program.
const ARROWS: &[(&str, &[&str])] = &[
    ("mintmark-crypto", &[]),
    ("mintmark-model", &[]),
    ("mintmark-exchange", &[]),
    ("mintmark-pki", &["crypto"]),
    ("mintmark-platform", &["crypto"]),
    ("mintmark-store", &["crypto"]),
    ("mintmark-custody", &["crypto", "exchange", "model", "pki", "platform", "store"]),
    ("mintmark-runtime", &["custody", "model"]),
    ("mintmark-rpc", &["custody", "model", "runtime"]),
    (
        "mintmark",
        &[
            "bundled", "crypto", "custody", "exchange", "model", "pki", "platform", "rpc",
            "runtime", "store",
        ],
    ),
    ("mintmark-sdk", &["exchange"]),
    ("mintmark-sdk-build", &[]),
    (
        "mintmark-sdk-testing",
        &["crypto", "custody", "exchange", "model", "pki", "platform", "sdk", "store"],
    ),
    ("mintmark-plugin-entitlement", &["exchange", "sdk"]),
    ("mintmark-plugin-device-key", &["exchange", "sdk"]),
    ("mintmark-bundled", &[]),
    ("mintmark-guest-hostile", &["sdk"]),
    ("mintmark-tests", &[]),
];

/// Crate, and what only its tests and build scripts may depend on of ours, besides.
const SIDE_ARROWS: &[(&str, &[&str])] = &[
    ("mintmark-plugin-entitlement", &["sdk-build", "sdk-testing"]),
    ("mintmark-plugin-device-key", &["sdk-build", "sdk-testing"]),
    ("mintmark-sdk-build", &["sdk"]),
    ("mintmark-custody", &["sdk-testing"]),
    ("mintmark-sdk-testing", &["sdk-build", "plugin-entitlement", "plugin-device-key"]),
    ("mintmark-runtime", &["crypto", "exchange", "pki", "platform", "store", "bundled"]),
    ("mintmark-rpc", &["crypto", "exchange", "pki", "platform", "store", "bundled"]),
    (
        "mintmark-tests",
        &[
            "mintmark",
            "rpc",
            "bundled",
            "crypto",
            "pki",
            "exchange",
            "store",
            "platform",
            "custody",
            "runtime",
            "model",
            "guest-hostile",
        ],
    ),
    ("mintmark-guest-hostile", &["sdk-build"]),
];

/// Library, and the only crates that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["mintmark-runtime"]),
    ("wasmtime-wasi", &["mintmark-runtime"]),
    ("wit-bindgen", &["mintmark-sdk"]),
    ("tonic", &["mintmark-rpc", "mintmark"]),
    ("clap", &["mintmark"]),
    ("redb", &["mintmark-store"]),
    ("ring", &["mintmark-crypto"]),
    ("aws-lc-rs", &["mintmark-crypto"]),
    ("hpke", &["mintmark-crypto"]),
    ("rustls-webpki", &["mintmark-pki"]),
    ("sha2", &["mintmark-exchange"]),
];

struct Dependency {
    name: String,
    side: bool,
    ours: bool,
}

fn dependencies() -> BTreeMap<String, Vec<Dependency>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let dependency = |value: &Value| Dependency {
        name: value["name"].as_str().unwrap().to_owned(),
        side: !value["kind"].is_null(),
        ours: !value["path"].is_null(),
    };
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().unwrap().to_owned();
            let all = package["dependencies"].as_array().unwrap();
            (name, all.iter().map(dependency).collect())
        })
        .collect()
}

fn allowed(table: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    let short = to.strip_prefix("mintmark-").unwrap_or(to);
    let row = table.iter().find(|(name, _)| *name == from);
    row.is_some_and(|(_, targets)| targets.contains(&short))
}

#[test]
fn crates_depend_only_downwards() {
    let mut seen = 0;
    for (from, dependencies) in dependencies() {
        assert!(ARROWS.iter().any(|(name, _)| *name == from), "{from} is in no layer");
        for to in dependencies.iter().filter(|one| one.ours) {
            let arrow = allowed(ARROWS, &from, &to.name);
            let side = to.side && allowed(SIDE_ARROWS, &from, &to.name);
            assert!(arrow || side, "{from} may not depend on {}", to.name);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} arrows were seen");
}

#[test]
fn libraries_stay_at_home() {
    for (from, dependencies) in dependencies() {
        for one in dependencies.iter().filter(|one| !one.side) {
            let home = HOMES.iter().find(|(library, _)| *library == one.name);
            let at_home = home.is_none_or(|(_, crates)| crates.contains(&from.as_str()));
            assert!(at_home, "{from} may not name {}", one.name);
        }
    }
}
