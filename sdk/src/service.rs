//! What generated code calls: one request from bytes to bytes, strictly.

mod shape;

pub use shape::{Field, Kind, Shape};

use prost::Message;

use crate::status::Status;

/// Checks the request's shape, decodes it, calls `method`, encodes the response.
///
/// # Errors
/// `INVALID_ARGUMENT` for bytes that are no such message, or that hold what its proto file does not
/// have; otherwise those of `method`.
pub fn answer<Request, Response>(
    shape: &Shape,
    message: &[u8],
    method: impl FnOnce(Request) -> Result<Response, Status>,
) -> Result<Vec<u8>, Status>
where
    Request: Message + Default,
    Response: Message,
{
    shape.check(message).map_err(|fault| Status::invalid("INVALID_ARGUMENT", fault.to_string()))?;
    let request = Request::decode(message).map_err(|_| {
        Status::invalid("INVALID_ARGUMENT", "the request is not the message that the method takes")
    })?;
    Ok(method(request)?.encode_to_vec())
}
