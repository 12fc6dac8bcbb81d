//! Builds plugin components with the cargo that runs a build script, in a target directory of their
//! own.
//!
//! The directory is shared by the dev and the release profile, by variants of one package, which
//! have the same file name, and by the build scripts that include this file; a lock file keeps two
//! of them from taking each other's output.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

const TARGET: &str = "wasm32-wasip2";

/// What every component is made of, from the workspace's root.
const SHARED_SOURCES: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
    "sdk/Cargo.toml",
    "sdk/src",
    "sdk/build/Cargo.toml",
    "sdk/build/src",
    "sdk/exchange/Cargo.toml",
    "sdk/exchange/src",
    "wit/plugin.wit",
    "wit/deps",
];

/// Variables of the outer build that the inner one keeps. All others of cargo, rustc and clippy are
/// removed: host flags would be used for WebAssembly, clippy would be run instead of rustc, and the
/// outer target directory is locked.
const KEPT: [&str; 5] =
    ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE"];
const KEPT_PREFIXES: [&str; 2] = ["CARGO_HTTP_", "CARGO_REGISTRIES_"];
const REMOVED_PREFIXES: [&str; 3] = ["CARGO", "RUST", "CLIPPY"];
const REMOVED: [&str; 8] =
    ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "__CARGO_TEST_ROOT"];

/// Builds components, one after the other, while nobody else does.
pub(crate) struct Builder {
    root: PathBuf,
    directory: PathBuf,
    _lock: File,
}

impl Builder {
    /// A builder for a script with this `OUT_DIR`, which runs again when the SDK or `sources`
    /// change. Makes sure that the components' target is there.
    pub(crate) fn new(root: PathBuf, out: &Path, sources: &[&str]) -> Result<Self, Box<dyn Error>> {
        for source in SHARED_SOURCES.iter().chain(sources) {
            println!("cargo::rerun-if-changed={}", root.join(source).display());
        }
        ensure_target(&root)?;
        let directory = target_root(out)?.join("plugins");
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("components.lock"))?;
        lock.lock()?;
        Ok(Self { root, directory, _lock: lock })
    }

    /// Builds one component and says where it is until the next one of its package is built.
    /// Plugins are plain libraries natively, since linking them as `cdylib` fails there; only this
    /// command line asks for one.
    pub(crate) fn build(
        &self,
        package: &str,
        features: &[&str],
    ) -> Result<PathBuf, Box<dyn Error>> {
        let Self { root, directory, .. } = self;
        let mut cargo = Command::new(variable("CARGO")?);
        scrub(&mut cargo);
        cargo
            .args(["rustc", "--locked", "--lib", "--crate-type", "cdylib", "--profile", "plugin"])
            .args(["--target", TARGET, "-p", package, "--features", &features.join(",")])
            .arg("--target-dir")
            .arg(directory)
            .env("CARGO_ENCODED_RUSTFLAGS", remapping(root, directory))
            .current_dir(root);
        let output = cargo.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("building {package} for {TARGET} failed:\n{said}").into());
        }
        let file = package.replace('-', "_");
        Ok(directory.join(TARGET).join("plugin").join(file).with_extension("wasm"))
    }
}

/// Leaves an equal file alone, so that what includes it is not compiled again.
pub(crate) fn copy_if_changed(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(to, bytes)
}

/// A variable that cargo sets for build scripts.
pub(crate) fn variable(name: &str) -> Result<OsString, Box<dyn Error>> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}

/// Makes sure that the standard library for the components' target is there.
fn ensure_target(root: &Path) -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root);
    let output = rustc.output()?;
    let directory = String::from_utf8(output.stdout)?;
    if output.status.success() && Path::new(directory.trim()).exists() {
        return Ok(());
    }
    let command = format!("rustup target add {TARGET}");
    println!("cargo::warning=the Rust target {TARGET} is missing; running: {command}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!("the Rust target {TARGET} is missing; run: {command}").into())
}

/// Removes what the outer build says to rustc and cargo.
fn scrub(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let kept = KEPT.contains(&text.as_ref())
            || KEPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        let outer = REMOVED.contains(&text.as_ref())
            || REMOVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        if outer && !kept {
            command.env_remove(&name);
        }
    }
}

/// The same bytes on every machine: paths of this one become fixed names.
fn remapping(root: &Path, directory: &Path) -> OsString {
    let mut flags = OsString::new();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let named = [(Some(root.to_path_buf()), "/mintmark"), (cargo_home, "/cargo")];
    // The last prefix that fits is the one that is used, so the narrowest comes last.
    let built = [(Some(directory.to_path_buf()), "/build")];
    for (path, name) in named.into_iter().chain(built) {
        let Some(path) = path else { continue };
        if !flags.is_empty() {
            // Cargo separates encoded flags with the unit separator.
            flags.push("\u{1f}");
        }
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The outer target directory: OUT_DIR is `<root>/<profile>/build/<package>/out`.
fn target_root(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let root = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target directory")?;
    Ok(root.to_path_buf())
}
