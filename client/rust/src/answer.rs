//! The body of an answer, checked before tonic sees it: its trailers are those of a status.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, Incoming};
use tonic::Status;

use crate::transport::{Failure, cut};

const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";
/// How tonic reads base64. It panics if it cannot.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The body of an answer, which ends with a status or with an error.
pub(crate) struct Answer {
    body: Incoming,
    has_status: bool,
}

impl Answer {
    /// An answer whose status can be read, wherever it is.
    pub(crate) fn of(response: http::Response<Incoming>) -> http::Response<Self> {
        let (mut parts, body) = response.into_parts();
        leave_out_unreadable(&mut parts.headers);
        let has_status = parts.status != StatusCode::OK || parts.headers.contains_key(STATUS);
        http::Response::from_parts(parts, Self { body, has_status })
    }
}

/// Leaves out the details of a status if they cannot be read: its code and its message still count.
fn leave_out_unreadable(headers: &mut HeaderMap) {
    if headers.get_all(DETAILS).iter().any(|details| BASE64.decode(details).is_err()) {
        headers.remove(DETAILS);
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => Some(Ok(match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.has_status |= trailers.contains_key(STATUS);
                    leave_out_unreadable(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            })),
            Some(Err(error)) => Some(Err(cut(error))),
            None if self.has_status => None,
            None => {
                self.has_status = true;
                Some(Err(Failure::cut("it ended the call without its status").into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.has_status && self.body.is_end_stream()
    }
}
