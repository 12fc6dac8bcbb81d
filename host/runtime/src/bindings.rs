//! What `wit/` says, as Rust: the only home of `bindgen!`.
//!
//! The host implements the world `all`; a component imports only what it calls. Functions that ask
//! custody are async because they may read the store; `caller`, `clock` and `log` never wait.

#![allow(unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "mintmark:plugin/all",
    imports: {
        "mintmark:host/caller": trappable,
        "mintmark:host/clock": trappable,
        "mintmark:host/log": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    trappable_error_type: {
        "mintmark:host/types.error" => crate::failure::Failure,
    },
    with: {
        "mintmark:host/keys.key": mintmark_custody::OpenKey,
        "mintmark:host/key-sets.key-set": mintmark_custody::OpenKeySet,
        "mintmark:host/certificates.csr": mintmark_custody::VerifiedCsr,
        "mintmark:host/allotments.allotment": mintmark_custody::OpenAllotment,
        "mintmark:host/allotments.unit": mintmark_custody::OpenUnit,
        "mintmark:host/messages.opened": mintmark_custody::OpenedMessage,
        "mintmark:host/messages.writer": crate::interfaces::messages::Writer,
    },
});
