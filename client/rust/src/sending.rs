//! What is sent in the attempts of a call, and whether there may be another one.

use bytes::Bytes;
use prost::Message;

use crate::{
    clock::elapsed_us,
    error::{Error, Reason, Result},
    proto::datastore::v1::{
        self as messages, DeleteRequest, PatchRequest, PutRequest, TouchRequest, batch_write_request,
        batch_write_request::write,
    },
    wire::Attempt,
};

/// A request over all attempts of its call.
pub(crate) trait Sending: Send {
    /// The bytes to send now.
    fn bytes(&mut self) -> Bytes;

    /// Whether it may be sent again after this error.
    fn may_follow(&mut self, error: &Error) -> bool;
}

/// A request to read, the same in all attempts.
pub(crate) struct Reading(Bytes);

impl Reading {
    pub(crate) fn new(request: &impl Message) -> Self {
        Self(request.encode_to_vec().into())
    }
}

impl Sending for Reading {
    fn bytes(&mut self) -> Bytes {
        self.0.clone()
    }

    fn may_follow(&mut self, error: &Error) -> bool {
        error.may_repeat()
    }
}

/// The attempts of the writes of a message, in their order; none unless writes are repeated.
#[derive(Default)]
pub(crate) struct Attempts {
    pub(crate) list: Vec<Attempt>,
    sent_us: u64,
    /// The error of the first attempt of the message that may have been made.
    pub(crate) unknown: Option<Error>,
}

impl Attempts {
    /// First attempts of new writes.
    pub(crate) fn new(count: usize, is_repeating: bool) -> Result<Self> {
        let count = if is_repeating { count } else { 0 };
        Ok(Self { list: (0..count).map(|_| Attempt::new()).collect::<Result<_>>()?, ..Self::default() })
    }

    /// The messages of the attempts that are sent now.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = messages::Attempt> {
        self.sent_us = elapsed_us();
        self.list.iter().map(Attempt::message)
    }

    /// Whether the writes may be sent again after this error of their message. If they may have been made, they become
    /// repeats.
    pub(crate) fn may_follow(&mut self, error: &Error) -> bool {
        if error.may_repeat() {
            return true;
        }
        if self.list.is_empty() || !error.is_outcome_unknown() || error.reason() == Reason::DeadlineExceeded {
            return false;
        }
        self.unknown.get_or_insert_with(|| error.clone());
        (0..self.list.len()).for_each(|place| self.follow(place));
        true
    }

    /// Notes that the attempt of the write at this place that was sent last may have been made.
    pub(crate) fn follow(&mut self, place: usize) {
        let sent_us = self.sent_us;
        if let Some(attempt) = self.list.get_mut(place) {
            attempt.follow(sent_us);
        }
    }
}

/// The error of a write whose last attempt ended with `error`: if that did not reach the store, the outcome of an
/// earlier one is still unknown.
pub(crate) fn outcome(error: Error, unknown: Option<&Error>) -> Error {
    match (error.reason(), unknown) {
        (Reason::Unavailable | Reason::Overloaded | Reason::WrongShard, Some(unknown)) => unknown.clone(),
        _ => error,
    }
}

/// A request of one write.
pub(crate) enum Request {
    Put(PutRequest),
    Delete(DeleteRequest),
    Patch(PatchRequest),
    Touch(TouchRequest),
}

impl Request {
    /// The request that a write of a batch would be alone; `include_value` if a patch answers with the new value.
    pub(crate) fn new(write: batch_write_request::Write, include_value: bool) -> Option<Self> {
        let batch_write_request::Write { operation, condition, expiry, attempt } = write;
        Some(match operation? {
            write::Operation::Put(entry) => Self::Put(PutRequest { entry: Some(entry), condition, expiry, attempt }),
            write::Operation::Delete(key) => Self::Delete(DeleteRequest { key: Some(key), condition, attempt }),
            write::Operation::Patch(patch) => {
                Self::Patch(PatchRequest { patch: Some(patch), condition, include_value, expiry, attempt })
            }
            write::Operation::Touch(key) => Self::Touch(TouchRequest { key: Some(key), condition, expiry, attempt }),
        })
    }

    fn set_attempt(&mut self, attempt: Option<messages::Attempt>) {
        *match self {
            Self::Put(request) => &mut request.attempt,
            Self::Delete(request) => &mut request.attempt,
            Self::Patch(request) => &mut request.attempt,
            Self::Touch(request) => &mut request.attempt,
        } = attempt;
    }

    fn encoded(&self) -> Bytes {
        Bytes::from(match self {
            Self::Put(request) => request.encode_to_vec(),
            Self::Delete(request) => request.encode_to_vec(),
            Self::Patch(request) => request.encode_to_vec(),
            Self::Touch(request) => request.encode_to_vec(),
        })
    }
}

/// One write over all its attempts.
pub(crate) struct Writing {
    pub(crate) request: Request,
    pub(crate) attempts: Attempts,
}

impl Sending for Writing {
    fn bytes(&mut self) -> Bytes {
        self.request.set_attempt(self.attempts.messages().next());
        self.request.encoded()
    }

    fn may_follow(&mut self, error: &Error) -> bool {
        self.attempts.may_follow(error)
    }
}
