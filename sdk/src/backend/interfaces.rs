//! The contract's interfaces: what each function does is said at its wrapper and in `wit/`.

use crate::{
    Digest, Timestamp,
    allotments::Allotment,
    caller::Principal,
    certificates::Csr,
    clock::ClockState,
    error::Error,
    key_sets::KeySet,
    keys::{Key, KeyPolicy, Recipients},
    ledger::{Checkpoints, Page, Position, VerifiedCheckpoint},
    log::Level,
    messages::{Opened, Purpose, Writer},
    peers::Identity,
    records::Entry,
    transfers::{AdoptedOrder, AppliedDirective, Exported, Imported, Proposal, Receipt},
};

/// The answer of a backend that leaves a function out.
fn absent<T>(function: &str) -> Result<T, Error> {
    Err(Error::Unavailable(format!("this test's backend has no {function}")))
}

/// Declares an interface whose functions refuse unless a backend has them.
macro_rules! interface {
    (
        $(#[$doc:meta])*
        $interface:ident {
            $($function:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+
        }
    ) => {
        $(#[$doc])*
        pub trait $interface {
            $(
                #[doc = concat!("`", stringify!($function), "` of the contract.")]
                ///
                /// # Errors
                /// Those of the contract; [`Error::Unavailable`] where a backend leaves it out.
                fn $function(&self, $($argument: $type),*) -> Result<$answer, Error> {
                    $(let _ = $argument;)*
                    absent(concat!(stringify!($interface), "::", stringify!($function)))
                }
            )+
        }
    };
}

/// On whose behalf the call is made.
pub trait Caller {
    /// Who calls.
    fn current(&self) -> Principal {
        Principal::new("test", "site/test", "operator", "test")
    }

    /// Names the call: 16 bytes in hexadecimal.
    fn request_id(&self) -> String {
        "0".repeat(32)
    }

    /// Milliseconds until the call is ended.
    fn time_left_ms(&self) -> u64 {
        5_000
    }
}

/// Site time.
pub trait Clock {
    /// The site time of this call; at a backend that leaves it out, the epoch.
    fn now(&self) -> Timestamp {
        0
    }

    /// Whether it can be relied on.
    fn state(&self) -> ClockState {
        ClockState::Steady
    }
}

/// Lines for admins and authors.
pub trait Log {
    /// Writes one line; at a backend that leaves it out, to standard error.
    fn write(&self, level: Level, line: &str) {
        eprintln!("{level:?}: {line}");
    }
}

interface! {
    /// The plugin's own records.
    Records {
        get(keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>>;
        put(entries: &[Entry]) -> ();
        delete(keys: &[Vec<u8>]) -> ();
        scan(prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Vec<Entry>;
    }
}

interface! {
    /// Keys of the plugin.
    Keys {
        open(name: &str) -> Key;
        generate(name: &str, algorithm: &str, policy: &KeyPolicy) -> Key;
    }
}

interface! {
    /// Many device keys under one handle.
    KeySets {
        open(name: &str) -> KeySet;
        generate(name: &str, algorithm: &str, size: u64, recipients: &Recipients) -> KeySet;
    }
}

interface! {
    /// CAs for devices, and certificate requests.
    Certificates {
        read_csr(request: &[u8]) -> Csr;
        create_product_ca(name: &str, organization: &str, product: &str) -> Key;
        create_batch_key(name: &str, recipients: &Recipients) -> Key;
        chain(ca: &Key) -> Vec<Vec<u8>>;
        allotment_chain(allotment: &str) -> Vec<Vec<u8>>;
        verify_signature(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool;
    }
}

interface! {
    /// Bounded rights to provision devices.
    Allotments {
        open(name: &str) -> Allotment;
        names(after: Option<&str>, limit: u32) -> Vec<String>;
    }
}

interface! {
    /// Sealed messages.
    Messages {
        seal(purpose: Purpose, cluster: &str, plugin: &str, header: &[u8]) -> Writer;
        open(purpose: Purpose, file: &str) -> Opened;
    }
}

interface! {
    /// Plugins of other clusters.
    Peers {
        get(cluster: &str, plugin: &str) -> Identity;
        clusters() -> Vec<String>;
    }
}

interface! {
    /// What one host orders another to do.
    Transfers {
        export_grant(proposal: &Proposal<'_>) -> Exported;
        import_grant(order: &[u8]) -> Imported;
        export_receipt(bundle: &Digest, checkpoints: &[Vec<u8>], verdict: &str) -> Vec<u8>;
        import_receipt(order: &[u8]) -> Receipt;
        export_directive(
            site: &str,
            entitlement: &str,
            change: &[u8],
            product_ca: Option<&Key>
        ) -> Vec<u8>;
        adopt_order(order: &[u8]) -> AdoptedOrder;
        import_directive(order: &[u8]) -> AppliedDirective;
        export_closing(entitlement: &str) -> Vec<u8>;
        import_closing(order: &[u8]) -> Vec<u8>;
    }
}

interface! {
    /// The host's append-only log.
    Ledger {
        note(text: &str) -> ();
        checkpoints(after: Option<u64>, limit_bytes: u64) -> Checkpoints;
        read(node: &str, after: u64, limit_bytes: u32) -> Page;
        verify_checkpoint(checkpoint: &[u8]) -> VerifiedCheckpoint;
        held_heads(cluster: &str) -> Vec<Position>;
    }
}
