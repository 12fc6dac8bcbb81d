//! The messages and the service of `proto/`, generated.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated from the proto file, which has the documentation"
)]

mintmark_sdk::include_proto!("mintmark.test.v1");
