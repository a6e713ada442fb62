//! Statuses of the protocol as errors.

use std::time::Duration;

use prost::Message;
use tonic::Code;

use crate::{
    error::{Details, Error, Reason},
    proto::google::rpc::{ErrorInfo, RequestInfo, RetryInfo, Status},
};

/// The domain of every `ErrorInfo` of the protocol.
const DOMAIN: &str = "datastore";
/// The longest delay of a `RetryInfo` that is taken, the longest Duration.
const LONGEST_S: u64 = 315_576_000_000;

/// Whether a call ended with a status of a server, not of what carries calls.
pub(crate) fn has_answer(status: &tonic::Status) -> bool {
    !status.details().is_empty() && Status::decode(status.details()).is_ok()
}

/// The error of a call's status that a server has answered with.
pub(crate) fn of_server(status: &tonic::Status) -> Error {
    match Status::decode(status.details()) {
        Ok(message) => of_answer(message),
        Err(_) => by_code(status.code(), status.message()),
    }
}

/// The error of a status that a server has answered with. A store that the server has closed was not closed by the
/// caller.
pub(crate) fn of_answer(status: Status) -> Error {
    let error = Error::from(status);
    if error.reason() == Reason::DatastoreClosed { error.with_reason(Reason::Unavailable) } else { error }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let info: Option<ErrorInfo> = detail(&status, "google.rpc.ErrorInfo");
        let info = info.filter(|info| info.domain == DOMAIN);
        let reason = info.as_ref().and_then(|info| Reason::from_name(&info.reason));
        let retry: Option<RetryInfo> = detail(&status, "google.rpc.RetryInfo");
        let mut error = match reason {
            Some(reason) => Error::new(reason, status.message.as_str()),
            None if status.code == Code::ResourceExhausted as i32 && retry.is_some() => {
                Error::new(Reason::Overloaded, status.message.as_str())
            }
            None => by_code(Code::from_i32(status.code), &status.message),
        };
        let reason = error.reason();
        if let Some(info) = info {
            restore(error.details_mut(), reason, info);
        }
        error.details_mut().request_id =
            detail(&status, "google.rpc.RequestInfo").map(|info: RequestInfo| info.request_id);
        if matches!(reason, Reason::Unavailable | Reason::Overloaded) {
            error.details_mut().retry_after = retry.map(|retry| delay_of(&retry));
        }
        error
    }
}

/// The first detail of a type, if it can be read.
fn detail<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
    let any = status.details.iter().find(|any| any.type_url.rsplit('/').next() == Some(name))?;
    M::decode(any.value.as_slice()).ok()
}

fn delay_of(retry: &RetryInfo) -> Duration {
    let delay = retry.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0).min(LONGEST_S);
    Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999))
}

fn restore(details: &mut Details, reason: Reason, mut info: ErrorInfo) {
    let mut text = |name: &str| info.metadata.remove(name).filter(|text| !text.is_empty());
    details.shard = text("shard");
    details.field = text("field");
    details.path = text("path");
    details.limit = text("limit");
    details.owner = text("owner");
    details.right = text("right");
    details.incident = text("incident");
    let mut number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
    details.maximum = number("maximum");
    details.version = number("version");
    details.epoch = number("epoch");
    let index = number("index").and_then(|index| usize::try_from(index).ok());
    // That of the first write is left out on the wire.
    details.index = if reason == Reason::BatchAborted { index.or(Some(0)) } else { index };
}

/// The error of a status that has no reason, or one that is not known.
pub(crate) fn by_code(code: Code, message: &str) -> Error {
    let reason = match code {
        Code::InvalidArgument | Code::OutOfRange => Reason::Invalid,
        Code::ResourceExhausted => Reason::LimitExceeded,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::Unimplemented => Reason::QueryNotSupported,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unavailable | Code::Cancelled => Reason::Unavailable,
        Code::DataLoss => Reason::CorruptData,
        Code::Internal | Code::Unknown => Reason::Internal,
        _ => return Error::new(Reason::Datastore, format!("{code:?}: {message}")),
    };
    Error::new(reason, message)
}
