//! The messages and the services of `proto/`, generated.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated from the proto file, which has the documentation"
)]

mintmark_sdk::include_proto!("mintmark.entitlement.v1");
