//! The component's exports.

use std::marker::PhantomData;

use crate::{
    bindings::exports::mintmark::plugin::service as wit,
    plugin::Plugin,
    status::{Code, Status},
};

/// What `register!` exports.
#[doc(hidden)]
pub struct Component<P>(PhantomData<P>);

impl<P: Plugin> wit::Guest for Component<P> {
    fn describe() -> wit::Description {
        wit::Description {
            name: P::NAME.to_owned(),
            version: P::VERSION.to_owned(),
            services: P::SERVICES.iter().map(|service| (*service).to_owned()).collect(),
        }
    }

    fn call(service: String, method: String, message: Vec<u8>) -> Result<Vec<u8>, wit::Status> {
        P::dispatch(&service, &method, &message).map_err(Into::into)
    }
}

impl From<Status> for wit::Status {
    fn from(status: Status) -> Self {
        let Status { code, reason, message, retry_after_ms, metadata } = status;
        Self { code: code.into(), reason, message, retry_after_ms, metadata }
    }
}

impl From<Code> for wit::Code {
    fn from(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}
