//! The platform's secret on its way to other hardware, sealed to a key that is kept offline.
//!
//! ```text
//! magic 8 ‖ format u32 ‖ encapsulated key length u8 ‖ encapsulated key ‖ sealed secret 48
//! ```
//!
//! HPKE in base mode; magic and format are authenticated with the secret. Whoever holds the offline
//! key and this file can open every backup of the host: they are kept apart.

use mintmark_crypto::hpke::{Receiver, RecipientKey, Sender};
use mintmark_crypto::{Secret, SecretBytes};

use crate::Error;

const MAGIC: &[u8; 8] = b"MMESCROW";
const FORMAT: [u8; 4] = 1_u32.to_be_bytes();
const INFO: &[u8] = b"mintmark platform escrow v1";

/// Seals the secret to a public key (SubjectPublicKeyInfo in DER).
pub(super) fn seal(secret: &Secret<32>, recipient: &[u8]) -> Result<Vec<u8>, Error> {
    let (encapsulated, mut sender) = Sender::new(recipient, INFO).map_err(|_| Error::Escrow)?;
    let length = u8::try_from(encapsulated.len()).map_err(|_| Error::Escrow)?;
    let head = [&MAGIC[..], &FORMAT].concat();
    let sealed = sender.seal(&head, secret.expose());
    Ok([&head[..], &[length], &encapsulated, &sealed].concat())
}

/// Opens what [`seal`] made.
pub(super) fn open(escrow: &[u8], key: &RecipientKey) -> Result<Secret<32>, Error> {
    let (head, rest) = escrow.split_at_checked(12).ok_or(Error::Escrow)?;
    let (length, rest) = rest.split_first().ok_or(Error::Escrow)?;
    let parts = rest.split_at_checked(usize::from(*length)).ok_or(Error::Escrow)?;
    if head != [&MAGIC[..], &FORMAT].concat() {
        return Err(Error::Escrow);
    }
    let opened = Receiver::new(key, parts.0, INFO)
        .and_then(|mut receiver| receiver.open(head, parts.1))
        .map_err(|_| Error::Escrow)?;
    whole(&opened)
}

fn whole(opened: &SecretBytes) -> Result<Secret<32>, Error> {
    Secret::from_slice(opened.expose()).map_err(|_| Error::Escrow)
}
