//! Builds the guests that misbehave on purpose, as the official components are built.

#[path = "../plugins/bundled/component.rs"]
mod component;

use std::error::Error;
use std::path::PathBuf;

use component::{Builder, copy_if_changed, variable};

/// What the guest is made of besides the SDK.
const SOURCES: [&str; 1] = ["tests/guest-hostile"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let builder = Builder::new(root, &out, &SOURCES)?;
    let built = builder.build("mintmark-guest-hostile", &[])?;
    copy_if_changed(&built, &out.join("hostile.wasm"))?;
    Ok(())
}
