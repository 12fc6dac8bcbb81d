//! The messages and services of the host, as generated from `proto/mintmark/admin/v1`.

/// Package `mintmark.admin.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the comments are those of the proto files"
)]
pub mod admin {
    tonic::include_proto!("mintmark.admin.v1");
}

/// The descriptors of `mintmark.admin.v1`: an encoded `google.protobuf.FileDescriptorSet`.
pub const ADMIN_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin"));
