//! What the guest does wrong, and the honest provisioning that some of it begins with.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;

use mintmark_sdk::allotments::{Allotment, Unit};
use mintmark_sdk::certificates::Csr;
use mintmark_sdk::{Error, Status, log, records};

use crate::proto::{Identity, OverdrawRequest, ProvisionRequest};

/// Bytes of a record and of a log line.
const RECORD_BYTES: usize = 256 << 10;
const LINE_BYTES: usize = 4 << 10;

/// What follows a certificate.
pub(crate) enum Then {
    Fail,
    Trap,
    Loop,
}

pub(crate) fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns).wrapping_add(1);
    }
}

pub(crate) fn grow_memory() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![0xa5_u8; 1 << 20]));
    }
}

pub(crate) fn flood_records(count: u32) -> Result<(), Error> {
    let value = vec![0xa5; RECORD_BYTES];
    for number in 0..count {
        records::put(number.to_be_bytes(), value.clone())?;
    }
    Ok(())
}

pub(crate) fn flood_log(count: u32) {
    let line = "flood \u{1b}[31m\n{\"level\":\"ERROR\"}\r".repeat(LINE_BYTES / 30);
    for _ in 0..count {
        log::write(log::Level::Error, &line);
    }
}

/// Asks whatever the host answers; a host that stops the guest ends this.
pub(crate) fn flood_host(count: u32) -> u32 {
    let asked = (0..count).map(|number| records::get(number.to_be_bytes()));
    asked.filter(Result::is_ok).count() as u32
}

pub(crate) fn draw(request: &ProvisionRequest) -> Result<Unit, Error> {
    Allotment::open(&request.entitlement)?.draw(&request.subject, None)
}

pub(crate) fn provision(request: &ProvisionRequest) -> Result<Identity, Status> {
    let csr = Csr::read(&request.csr)?;
    let unit = draw(request)?;
    let artefact = unit.certify_csr(&csr, &[])?;
    let status = unit.status()?;
    Ok(Identity {
        unit: status.number,
        serial: status.serial,
        certificate: artefact.certificate.unwrap_or_default(),
    })
}

/// Tries to carry the certificate out past the host's count.
pub(crate) fn provision_then(request: &ProvisionRequest, then: Then) -> Result<Identity, Status> {
    let identity = provision(request)?;
    let mut certificate = String::new();
    for byte in &identity.certificate {
        let _ = write!(certificate, "{byte:02x}");
    }
    for part in certificate.as_bytes().chunks(LINE_BYTES / 2) {
        log::error!("carried out: {}", String::from_utf8_lossy(part));
    }
    match then {
        Then::Fail => {
            let (fact, text) = certificate.split_at(64);
            Err(Status::invalid("REPLAYED", text).with_fact("certificate", fact))
        }
        Then::Trap => panic!("carried out: {certificate}"),
        Then::Loop => spin(),
    }
}

/// Draws until the host refuses every further one. The devices' names are random, so that each run
/// draws for others.
pub(crate) fn overdraw(request: &OverdrawRequest) -> Result<(), Status> {
    let allotment = Allotment::open(&request.entitlement)?;
    let names = RandomState::new();
    for number in 0..request.wanted {
        let _ = allotment.draw(&format!("d-{:016x}", names.hash_one(number)), None);
    }
    Ok(())
}
