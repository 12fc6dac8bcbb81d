//! A certificate that nobody believes yet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_pki::{Certificate, DeviceSerial, SpiffeId};

fuzz_target!(|bytes: &[u8]| {
    let Ok(certificate) = Certificate::parse(bytes) else { return };
    assert_eq!(certificate.der(), bytes);
    if let Ok(id) = certificate.spiffe_id() {
        assert_eq!(id.to_string().parse::<SpiffeId>().as_ref(), Ok(&id));
    }
    if let Some(serial) = DeviceSerial::from_bytes(certificate.serial_number()) {
        assert_eq!(serial.to_bytes(), certificate.serial_number());
    }
    let _ = (certificate.measurement(), certificate.validity(), certificate.common_name());
    let _ = (certificate.organization(), certificate.subject_serial());
    let _ = certificate.check_signature(certificate.public_key_info());
});
