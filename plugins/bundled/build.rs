//! Builds the official components, and the tampering variant that the demo and tests need.

mod component;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use component::{Builder, copy_if_changed, variable};

/// What is built: the name of the file, the package, and its features.
const COMPONENTS: [(&str, &str, &[&str]); 3] = [
    ("entitlement", "mintmark-plugin-entitlement", &[]),
    ("device-key", "mintmark-plugin-device-key", &[]),
    ("device-key-tampering", "mintmark-plugin-device-key", &["tampering"]),
];

/// What the components are made of besides the SDK, from the workspace's root.
const SOURCES: [&str; 2] = ["plugins/entitlement", "plugins/device-key"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=MINTMARK_PLUGINS_DIR");
    let out = PathBuf::from(variable("OUT_DIR")?);
    if let Some(given) = env::var_os("MINTMARK_PLUGINS_DIR") {
        return take_given(Path::new(&given), &out);
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let builder = Builder::new(root, &out, &SOURCES)?;
    for (name, package, features) in COMPONENTS {
        let built = builder.build(package, features)?;
        copy_if_changed(&built, &out.join(name).with_extension("wasm"))?;
    }
    Ok(())
}

/// Copies components that somebody else built.
fn take_given(given: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    for (name, _, _) in COMPONENTS {
        let from = given.join(name).with_extension("wasm");
        println!("cargo::rerun-if-changed={}", from.display());
        copy_if_changed(&from, &out.join(name).with_extension("wasm"))
            .map_err(|e| format!("MINTMARK_PLUGINS_DIR has no usable {name}.wasm: {e}"))?;
    }
    Ok(())
}
