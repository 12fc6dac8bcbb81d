//! Turns the plugin's proto file into messages, service traits and dispatch.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    mintmark_sdk_build::compile(&["proto/mintmark/entitlement/v1/entitlement.proto"], &["proto"])?;
    Ok(())
}
