//! Calls of one server with deadlines, slots and retries. Knows bytes and failures, but not what messages mean.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};
use tonic::{Code, Request, Status, Streaming, client::Grpc};

use crate::{
    codec::Raw,
    error::{Error, Reason, Result},
    retry::{Link, Policy, RETRY_AFTER},
    sending::Sending,
    slots::{CALLS, Refusal, STREAMS, Slot, Slots, WAITING},
    transport::{Failure, Targets, Transport, Windows, until_closed},
    wire::{QUERY_REQUEST_BYTES, by_code, has_answer, of_server},
};

/// The largest message, in bytes.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// How tonic refuses an answer that is larger.
const TOO_LARGE: &str = "Error, decoded message length too large";
/// How tonic says that an answer is not what it should be.
const UNREADABLE: [&str; 5] = [
    "protocol error: received message with",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing response message",
    "Content is compressed with",
];
/// Answers of calls are awaited, so they may come at once.
const CALL_WINDOWS: Windows = Windows { connection: 64 * 1024 * 1024, call: 4 * 1024 * 1024 };
/// A stream may be ahead of its reader by about a message, whatever the readers of others do.
const STREAM_WINDOWS: Windows = Windows { connection: 1024 * 1024 * 1024, call: 256 * 1024 };

/// A method of the service, and whether it only reads.
#[derive(Clone, Copy)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) is_read: bool,
}

/// Calls and streams have a connection each, so that no call waits behind results that are not read.
pub(crate) struct Connection {
    targets: Arc<Targets>,
    calls: Arc<Slots>,
    streams: Arc<Slots>,
    call_transport: Transport,
    stream_transport: Transport,
    link: Mutex<Link>,
    closed: watch::Sender<bool>,
    timeout: Duration,
    is_retrying: bool,
}

impl Connection {
    pub(crate) fn new(targets: Targets, timeout: Duration, is_retrying: bool) -> Self {
        let targets = Arc::new(targets);
        let closed = watch::Sender::new(false);
        Self {
            calls: Slots::new(CALLS),
            streams: Slots::new(STREAMS),
            call_transport: Transport::new(Arc::clone(&targets), CALL_WINDOWS, closed.subscribe()),
            stream_transport: Transport::new(Arc::clone(&targets), STREAM_WINDOWS, closed.subscribe()),
            targets,
            link: Mutex::default(),
            closed,
            timeout,
            is_retrying,
        }
    }

    /// The deadline of a call that begins now.
    pub(crate) fn policy(&self) -> Policy {
        Policy::new(self.timeout)
    }

    /// Where the server is, for errors.
    pub(crate) fn name(&self) -> String {
        self.targets.to_string()
    }

    /// Ends the calls in progress and those that wait, and refuses further ones.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
        self.calls.close();
        self.streams.close();
    }

    /// The answer to a request. Retries, before the deadline, what may be sent again.
    pub(crate) async fn unary<M: Message + Default + 'static>(
        &self,
        method: Method,
        policy: &mut Policy,
        request: &mut impl Sending,
    ) -> Result<M> {
        loop {
            let error = match self.attempt(method, policy, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !request.may_follow(&error) {
                return Err(error);
            }
            match self.backoff(&error, policy) {
                Some(wait) => self.pause(wait).await,
                None => return Err(error),
            }
        }
    }

    /// How long to wait before repeating a call that may be repeated. None: do not.
    pub(crate) fn backoff(&self, error: &Error, policy: &mut Policy) -> Option<Duration> {
        if self.is_retrying { policy.backoff(error) } else { None }
    }

    /// Waits before another attempt, unless the client is closed: the attempt says so.
    pub(crate) async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => (),
            () = until_closed(self.closed.subscribe()) => (),
        }
    }

    async fn attempt<M: Message + Default + 'static>(
        &self,
        method: Method,
        policy: &Policy,
        request: &mut impl Sending,
    ) -> Result<M> {
        let _slot = self.slot(&self.calls, policy).await?;
        let mut grpc = grpc(&self.call_transport, MESSAGE_BYTES);
        let call = grpc.unary(
            request_of(request.bytes(), policy),
            PathAndQuery::from_static(method.path),
            Raw::<M>::default(),
        );
        match self.in_time(policy, call).await {
            Ok(response) => {
                self.note_answer();
                Ok(response.into_inner())
            }
            Err(status) => Err(self.failure(status, method, policy)),
        }
    }

    /// Begins a stream.
    pub(crate) async fn stream<M: Message + Default + 'static>(
        self: &Arc<Self>,
        method: Method,
        policy: &Policy,
        request: Bytes,
    ) -> Result<Stream<M>> {
        let slot = self.slot(&self.streams, policy).await?;
        let mut grpc = grpc(&self.stream_transport, QUERY_REQUEST_BYTES);
        let path = PathAndQuery::from_static(method.path);
        let call = grpc.server_streaming(request_of(request, policy), path, Raw::<M>::default());
        match self.in_time(policy, call).await {
            Ok(response) => {
                Ok(Stream { connection: Arc::clone(self), method, messages: response.into_inner(), _slot: slot })
            }
            Err(status) => Err(self.failure(status, method, policy)),
        }
    }

    async fn slot(&self, slots: &Arc<Slots>, policy: &Policy) -> Result<Slot> {
        if self.is_closed() {
            return Err(self.was_closed());
        }
        slots.take(policy.deadline).await.map_err(|refusal| self.refusal(slots, refusal, policy))
    }

    fn refusal(&self, slots: &Arc<Slots>, refusal: Refusal, policy: &Policy) -> Error {
        let name = self.name();
        match refusal {
            Refusal::Closed => self.was_closed(),
            Refusal::Full => Error::new(
                Reason::Overloaded,
                format!("{WAITING} calls to {name} already wait, the limit of a client; make fewer calls at once"),
            )
            .with_retry_after(RETRY_AFTER),
            Refusal::Late if Arc::ptr_eq(slots, &self.streams) => Error::new(
                Reason::Overloaded,
                format!(
                    "{STREAMS} streams from {name} are open, the limit of a client; read them to the end or drop them"
                ),
            )
            .with_retry_after(RETRY_AFTER),
            Refusal::Late => Error::new(
                Reason::DeadlineExceeded,
                format!(
                    "the call was not sent to {name} within {:?}: other calls of this client were in progress",
                    policy.timeout
                ),
            )
            .unsent(),
        }
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// What a call returns before the deadline and before the client is closed; it is cancelled then.
    async fn in_time<T>(&self, policy: &Policy, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let call = async {
            tokio::select! {
                biased;
                () = until_closed(self.closed.subscribe()) => Err(Status::unavailable("the client was closed")),
                result = call => result,
            }
        };
        match policy.deadline {
            None => call.await,
            Some(deadline) => {
                timeout_at(deadline, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
            }
        }
    }

    fn was_closed(&self) -> Error {
        Error::new(Reason::DatastoreClosed, format!("the client of {} was closed", self.name()))
    }

    /// The error of a call that failed. One that did not reach a server that is expected back may be repeated, and so
    /// may a read that was cut.
    fn failure(&self, status: Status, method: Method, policy: &Policy) -> Error {
        if self.is_closed() {
            return self.was_closed();
        }
        if has_answer(&status) {
            self.note_answer();
            return of_server(&status);
        }
        let unsent = failure_of(&status).is_some_and(|failure| failure.is_unsent);
        let error = self.unanswered(status, policy);
        if error.reason() != Reason::Unavailable {
            return error;
        }
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.down(!unsent);
        let error = if unsent { error.unsent() } else { error };
        let may_repeat = link.is_expected_back() && (method.is_read || unsent);
        if may_repeat { error.with_retry_after(RETRY_AFTER) } else { error }
    }

    /// The error of a status that comes not from the server, but from what carries calls.
    fn unanswered(&self, status: Status, policy: &Policy) -> Error {
        let name = self.name();
        let mut error = by_code(status.code(), status.message());
        if matches!(status.code(), Code::Internal | Code::Unimplemented)
            && UNREADABLE.iter().any(|part| status.message().contains(part))
        {
            error = error.with_reason(Reason::CorruptData);
        }
        if let Some(cause) = failure_of(&status).and_then(Failure::cause) {
            error = error.with_cause(Arc::clone(cause));
        }
        let message = match (error.reason(), failure_of(&status)) {
            (Reason::Unavailable, Some(failure)) if failure.is_unsent => failure.message.clone(),
            (Reason::Unavailable, _) => format!("a call to {name} was cut short ({})", status.message()),
            (Reason::DeadlineExceeded, _) => format!("the call to {name} did not finish within {:?}", policy.timeout),
            (Reason::QueryNotSupported, _) => {
                format!(
                    "{name} does not have this method: it speaks another version of the protocol ({})",
                    status.message()
                )
            }
            (Reason::Invalid, _) if status.message().starts_with(TOO_LARGE) => {
                return Error::limit("message_bytes", MESSAGE_BYTES, format!("{name}: {}", status.message()));
            }
            _ => format!("{name}: {error}"),
        };
        error.with_message(message)
    }

    pub(crate) fn note_answer(&self) {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).up();
    }
}

fn failure_of(status: &Status) -> Option<&Failure> {
    std::error::Error::source(status)?.downcast_ref()
}

fn grpc(transport: &Transport, most_sent: usize) -> Grpc<Transport> {
    // A message over its limit by little is refused by the server, in better words.
    Grpc::new(transport.clone()).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(2 * most_sent)
}

fn request_of(message: Bytes, policy: &Policy) -> Request<Bytes> {
    let mut request = Request::new(message);
    if let Some(left) = policy.left() {
        request.set_timeout(left.max(Duration::from_millis(1)));
    }
    request
}

/// The messages of a call, which ends when this is dropped.
pub(crate) struct Stream<M> {
    connection: Arc<Connection>,
    method: Method,
    messages: Streaming<M>,
    _slot: Slot,
}

impl<M> Stream<M> {
    /// The next message; none at the end.
    pub(crate) async fn next(&mut self, policy: &mut Policy) -> Result<Option<M>> {
        match self.connection.in_time(policy, self.messages.message()).await {
            Ok(Some(message)) => {
                self.connection.note_answer();
                policy.saw_message();
                Ok(Some(message))
            }
            Ok(None) => Ok(None),
            Err(status) => Err(self.connection.failure(status, self.method, policy)),
        }
    }
}
