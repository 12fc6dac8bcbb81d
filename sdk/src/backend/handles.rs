//! The contract's resources: what each function does is said at its wrapper and in `wit/`.

use std::any::Any;

use crate::{
    Digest, Timestamp,
    allotments::{
        AllotmentStatus, Artefact, DeviceProof, Failure, Fields, RevocationFile, Unit, UnitStatus,
    },
    certificates::Csr,
    error::Error,
    key_sets::KeySetAttributes,
    keys::{Algorithm, Key, KeyAttributes, KeyPolicy},
    messages::Sealed,
    peers::Identity,
};

/// Declares a resource.
macro_rules! resource {
    (
        $(#[$doc:meta])*
        $handle:ident {
            $($function:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+
        }
    ) => {
        $(#[$doc])*
        pub trait $handle: Any {
            $(
                #[doc = concat!("`", stringify!($function), "` of the contract.")]
                fn $function(&self, $($argument: $type),*) -> $answer;
            )+
        }
    };
}

resource! {
    /// A key.
    KeyHandle {
        attributes() -> Result<KeyAttributes, Error>;
        public_key() -> Result<Vec<u8>, Error>;
        sign(message: &[u8]) -> Result<Vec<u8>, Error>;
        verify(message: &[u8], signature: &[u8]) -> Result<bool, Error>;
        encrypt(plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error>;
        decrypt(ciphertext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error>;
        mac(message: &[u8]) -> Result<Vec<u8>, Error>;
        verify_mac(message: &[u8], tag: &[u8]) -> Result<bool, Error>;
        derive(
            name: &str,
            algorithm: &str,
            context: &[u8],
            policy: &KeyPolicy
        ) -> Result<Key, Error>;
        destroy() -> Result<(), Error>;
    }
}

resource! {
    /// A key set.
    KeySetHandle {
        attributes() -> Result<KeySetAttributes, Error>;
        destroy() -> Result<(), Error>;
    }
}

resource! {
    /// A checked certificate request.
    CsrHandle {
        public_key() -> Vec<u8>;
        key_hash() -> Digest;
        algorithm() -> Algorithm;
        subject_serial() -> Option<String>;
    }
}

resource! {
    /// An allotment.
    AllotmentHandle {
        status() -> Result<AllotmentStatus, Error>;
        draw(subject: &str, serial: Option<&str>) -> Result<Unit, Error>;
        find(subject: &str) -> Result<Unit, Error>;
        scan(start: u64, limit: u32) -> Result<Vec<UnitStatus>, Error>;
        revocation_list() -> Result<RevocationFile, Error>;
    }
}

resource! {
    /// A unit.
    UnitHandle {
        status() -> Result<UnitStatus, Error>;
        chain() -> Result<Vec<Vec<u8>>, Error>;
        artefact() -> Result<Option<Artefact>, Error>;
        certify_csr(request: &Csr, fields: &Fields) -> Result<Artefact, Error>;
        seal_to_device(request: &Csr, fields: &Fields) -> Result<Artefact, Error>;
        seal_to_station(fields: &Fields) -> Result<Artefact, Error>;
        confirm(proof: Option<&DeviceProof>) -> Result<UnitStatus, Error>;
        fail(kind: Failure, detail: &str) -> Result<UnitStatus, Error>;
        scrap(reason: &str) -> Result<UnitStatus, Error>;
        give_back(reason: &str) -> Result<UnitStatus, Error>;
        hand_over(station: &str) -> Result<UnitStatus, Error>;
        recertify(ordinal: u16, fields: &Fields) -> Result<Artefact, Error>;
    }
}

resource! {
    /// An opened message.
    OpenedHandle {
        sender() -> Identity;
        header() -> Vec<u8>;
        made_at() -> Timestamp;
        digest() -> Digest;
        length() -> u64;
        read(offset: u64, limit: u32) -> Result<Vec<u8>, Error>;
        accept() -> Result<(), Error>;
    }
}

resource! {
    /// A message that is written.
    WriterHandle {
        write(bytes: &[u8]) -> Result<(), Error>;
        finish() -> Result<Sealed, Error>;
    }
}
