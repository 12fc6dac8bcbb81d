//! An order as a person wrote it, and the names in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_pki::{ClusterPath, SpiffeId};
use prost::Message as _;

// The program's own file, without the program.
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/mintmark/src/commands/entitlement/order.rs"]
mod order;

// Where that file looks for the request.
extern crate self as mintmark_rpc;

/// Stands for the client.
mod client {
    /// The messages, as the plugins have them.
    pub mod plugins {
        pub use mintmark_plugin_entitlement::proto as entitlement;
    }
}

/// Stands for the program's errors.
mod error {
    use std::path::PathBuf;

    /// Why a file was refused.
    #[allow(dead_code, reason = "what is in it is for people")]
    pub enum Error {
        /// It is none that one can use.
        Usage(String),
        /// It is no TOML, or says what is not understood.
        Toml { path: PathBuf, why: Box<toml::de::Error> },
    }
}

/// Stands for the program's files: none is read.
mod files {
    use std::path::Path;

    use crate::error::Error;

    /// Refuses.
    pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
        Err(Error::Usage(path.display().to_string()))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(cluster) = text.parse::<ClusterPath>() {
        assert_eq!(cluster.to_string(), text);
    }
    let Ok(request) = order::parse(text) else { return };
    let terms = request.terms.as_ref().expect("an order has terms");
    assert!(terms.audit_return.is_some(), "what is left out never means more");
    let encoded = request.encode_to_vec();
    let again = mintmark_plugin_entitlement::proto::CreateRequest::decode(&encoded[..]);
    assert_eq!(again.as_ref(), Ok(&request));
});
