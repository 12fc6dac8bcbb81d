//! Compiles the protos: the host's own services, and clients of the services of the plugins that
//! ship with it.

use std::{error::Error, fs, path::Path};

use prost::Message as _;

/// The host's services, below `proto/`.
const ADMIN: &[&str] = &[
    "approvals",
    "backups",
    "clock",
    "files",
    "ledger",
    "outbox",
    "peers",
    "plugins",
    "pools",
    "status",
    "users",
];

/// The services of the plugins: the folder of the protos, and the file.
const PLUGINS: &[(&str, &str)] = &[
    ("../../plugins/device-key/proto", "mintmark/devicekey/v1/device_key.proto"),
    ("../../plugins/entitlement/proto", "mintmark/entitlement/v1/entitlement.proto"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    admin()?;
    for (folder, file) in PLUGINS {
        println!("cargo::rerun-if-changed={folder}");
        let descriptors = protox::compile([file], [folder])?;
        tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    }
    Ok(())
}

fn admin() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ADMIN.iter().map(|name| format!("mintmark/admin/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    fs::write(Path::new(&out).join("admin.bin"), descriptors.encode_to_vec())?;
    // Chunks of files are cut from what was received, not copied.
    tonic_prost_build::configure()
        .codec_path("crate::codec::StrictCodec")
        .bytes(".mintmark.admin.v1.InstallRequest")
        .bytes(".mintmark.admin.v1.StageRequest")
        .bytes(".mintmark.admin.v1.FetchResponse")
        .bytes(".mintmark.admin.v1.BackupResponse")
        .compile_fds(descriptors)?;
    Ok(())
}
