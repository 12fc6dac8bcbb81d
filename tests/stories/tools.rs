//! What a test needs of the machine, and a machine may not have.

/// Names those that must be there, with commas; `all` of them.
const REQUIRED: &str = "MINTMARK_REQUIRE_TOOLS";

pub(crate) const LIBFAKETIME: &str = "libfaketime";
pub(crate) const PRLIMIT: &str = "prlimit";
/// Rights to mount a file system.
pub(crate) const MOUNT: &str = "mount";
/// `python3` with grpcio, grpcio-tools and cryptography.
pub(crate) const GRPCIO: &str = "grpcio";

/// Says that a test is not run. Where the tool must be there, the test fails.
pub(crate) fn is_missing(tool: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    let required = required.split(',').any(|name| name == tool || name == "all");
    assert!(!required, "{tool} is not to be had here, and {REQUIRED} names it");
    eprintln!("{tool} is not to be had here: not run");
}
