//! Clients of the services of the plugins that ship with the host, as generated from the plugins'
//! protos.

/// Package `mintmark.devicekey.v1`: the factory's service.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the comments are those of the proto files"
)]
pub mod device_key {
    tonic::include_proto!("mintmark.devicekey.v1");
}

/// Package `mintmark.entitlement.v1`: headquarters' services.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the comments are those of the proto files"
)]
pub mod entitlement {
    tonic::include_proto!("mintmark.entitlement.v1");
}
