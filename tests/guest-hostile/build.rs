//! Turns the guest's proto file into messages, service trait and dispatch.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    mintmark_sdk_build::compile(&["proto/mintmark/test/v1/hostile.proto"], &["proto"])?;
    Ok(())
}
