//! One connection to the first of several servers that answers, made anew when it is lost.
//!
//! Knows HTTP/2 and addresses, but no methods, messages or retries.

use std::{
    error, fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, header::AUTHORIZATION, uri::Scheme};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tonic::{Status, body::Body, codegen::Service};

use crate::{address::Address, answer::Answer, tls};

/// The time that a server has to accept a connection and to begin to speak HTTP/2.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is silent for so long is probed, and lost if there is no answer in time. Servers allow a ping
/// every 10 s.
const PING_AFTER: Duration = Duration::from_secs(12);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to connect, and how.
pub(crate) struct Targets {
    pub(crate) addresses: Vec<Address>,
    /// For addresses with TLS.
    pub(crate) tls: Option<TlsConnector>,
    /// The metadata `authorization` of each call.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Display for Targets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            write!(formatter, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// How much a server may send ahead of what is read, in bytes: in all, and for each call.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) connection: u32,
    pub(crate) call: u32,
}

/// Why a call has no status of a server. A call that was not sent did nothing.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) is_unsent: bool,
    pub(crate) message: String,
    source: Option<Source>,
}

type Source = Arc<dyn error::Error + Send + Sync>;

impl Failure {
    fn unsent(message: &str) -> Self {
        Self { is_unsent: true, message: message.to_owned(), source: None }
    }

    /// That of a call that was sent.
    pub(crate) fn cut(message: &str) -> Self {
        Self { is_unsent: false, message: message.to_owned(), source: None }
    }

    /// What caused it.
    pub(crate) fn cause(&self) -> Option<&Source> {
        self.source.as_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut status = Status::unavailable(failure.message.as_str());
        status.set_source(Arc::new(failure));
        status
    }
}

type Connected = Result<Connection, Failure>;

/// Sends calls to the first server that answers. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Shared>);

struct Shared {
    targets: Arc<Targets>,
    windows: Windows,
    closed: Closed,
    /// The connection, begun by the first call that finds none; those that wait for it share its failure.
    current: Mutex<Option<Connecting>>,
    /// The place of the address that is tried first.
    first: AtomicUsize,
}

/// Whether the client was closed.
pub(crate) type Closed = watch::Receiver<bool>;

/// Returns once the client was closed.
pub(crate) async fn until_closed(mut closed: Closed) {
    let was_closed = closed.wait_for(|&is_closed| is_closed).await.is_ok();
    if !was_closed {
        // It was dropped, and what still goes on may end by itself.
        std::future::pending::<()>().await;
    }
}

/// A connection, once there is one. It is made by a task of its own, which goes on when the call that began it ends.
#[derive(Clone)]
struct Connecting {
    result: watch::Receiver<Option<Connected>>,
    given_up: Arc<Notify>,
}

/// A call that waits for a connection. If it does not wait to the end, the next address is tried.
struct Waiting {
    given_up: Arc<Notify>,
    is_over: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_over {
            self.given_up.notify_one();
        }
    }
}

#[derive(Clone)]
struct Connection {
    sender: http2::SendRequest<Body>,
    /// The place of its address.
    place: usize,
}

impl Transport {
    pub(crate) fn new(targets: Arc<Targets>, windows: Windows, closed: Closed) -> Self {
        let (current, first) = (Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(Shared { targets, windows, closed, current, first }))
    }
}

impl Shared {
    /// The connection, if there is one that works, or else a new one.
    async fn connection(self: &Arc<Self>) -> Connected {
        let Connecting { mut result, given_up } = self.connecting();
        let mut waiting = Waiting { given_up, is_over: false };
        let connected = result.wait_for(Option::is_some).await.ok().and_then(|connected| connected.clone());
        waiting.is_over = true;
        connected.unwrap_or_else(|| Err(Failure::unsent("the runtime in which it was connecting has ended")))
    }

    fn connecting(self: &Arc<Self>) -> Connecting {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connecting) = &*current {
            match &*connecting.result.borrow() {
                // A server that stops is gone for a while, and the next one is not.
                Some(Ok(connection)) if connection.sender.is_closed() => {
                    self.first.store(connection.place + 1, Ordering::Relaxed);
                }
                Some(Err(_)) => (),
                None if connecting.result.has_changed().is_err() => (),
                _ => return connecting.clone(),
            }
        }
        let (connected, result) = watch::channel(None);
        let given_up = Arc::new(Notify::new());
        let connecting = current.insert(Connecting { result, given_up: Arc::clone(&given_up) }).clone();
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let connection = tokio::select! {
                connection = shared.connect(&given_up) => connection,
                () = until_closed(shared.closed.clone()) => Err(Failure::unsent("the client was closed")),
            };
            drop(connected.send_replace(Some(connection)));
        });
        connecting
    }

    /// A connection to the first address that answers, beginning with that after the last one that was lost. The next
    /// one is tried once one has failed or, beside it, once a call has given up waiting.
    async fn connect(self: &Arc<Self>, given_up: &Notify) -> Connected {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.targets.addresses.len());
        let mut places = (first..first + count).map(|place| place % count);
        let mut next = places.next();
        let mut attempts = JoinSet::new();
        let mut failures = Vec::new();
        loop {
            if let Some(place) = next.take() {
                let shared = Arc::clone(self);
                attempts.spawn(async move {
                    let sender = shared.open(&shared.targets.addresses[place]).await?;
                    Ok(Connection { sender, place })
                });
            }
            tokio::select! {
                ended = attempts.join_next() => match ended {
                    Some(Ok(Ok(connection))) => return Ok(connection),
                    Some(Ok(Err(failure))) => failures.push(failure),
                    Some(Err(error)) => failures.push(Failure::unsent(&error.to_string())),
                    None => break,
                },
                () = given_up.notified(), if places.len() > 0 => (),
            }
            next = places.next();
        }
        let message = failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; ");
        let source = failures.pop().and_then(|failure| failure.source);
        Err(Failure { is_unsent: true, message, source })
    }

    async fn open(&self, address: &Address) -> Result<http2::SendRequest<Body>, Failure> {
        let refused = |error: io::Error| unconnected(address, &io_words(&error), Some(Arc::new(error)));
        let late = |_| unconnected(address, "it does not respond", None);
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let stream = TcpStream::connect((address.host.as_str(), address.port));
        let stream = timeout_at(deadline, stream).await.map_err(late)?.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let Some(tls) = self.targets.tls.as_ref().filter(|_| address.is_secure) else {
            return self.begin(address, stream, deadline).await;
        };
        let name = ServerName::try_from(address.host.clone()).map_err(|error| {
            unconnected(address, "its host cannot be the name in a certificate", Some(Arc::new(error)))
        })?;
        let stream = timeout_at(deadline, tls.connect(name, stream)).await.map_err(late)?.map_err(refused)?;
        self.begin(address, stream, deadline).await
    }

    /// Begins to speak HTTP/2. Waits for the first bytes of the server: calls that are sent before may not reach it.
    async fn begin(
        &self,
        address: &Address,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        deadline: Instant,
    ) -> Result<http2::SendRequest<Body>, Failure> {
        let (heard, hearing) = oneshot::channel();
        let stream = TokioIo::new(Listening { stream, heard: Some(heard) });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_connection_window_size(self.windows.connection)
            .initial_stream_window_size(self.windows.call)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let failed = |error: hyper::Error| unconnected(address, &cut_words(&error), Some(Arc::new(error)));
        let (sender, connection) = builder.handshake(stream).await.map_err(failed)?;
        let closed = self.closed.clone();
        // It ends with its last sender or with the client, and its error is that of its calls.
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => drop(ended),
                () = until_closed(closed) => (),
            }
        });
        match timeout_at(deadline, hearing).await {
            Ok(Ok(Heard::Http2)) => Ok(sender),
            Ok(Ok(Heard::Other(words))) => Err(unconnected(address, &words, None)),
            Ok(Ok(Heard::End)) if address.is_secure => Err(unconnected(
                address,
                "it ended the TLS connection; it may demand a certificate of an authority that it trusts",
                None,
            )),
            Ok(Ok(Heard::End) | Err(_)) => {
                Err(unconnected(address, "it closed the connection; with TLS its address begins with grpcs:", None))
            }
            Err(_) => Err(unconnected(address, "it accepts connections but does not respond", None)),
        }
    }
}

fn unconnected(address: &Address, words: &str, source: Option<Arc<dyn error::Error + Send + Sync>>) -> Failure {
    Failure { is_unsent: true, message: format!("cannot connect to {address} ({words})"), source }
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "it ended the connection; without TLS its address begins with grpc:".to_owned(),
        _ => tls::words(error).unwrap_or_else(|| error.to_string()),
    }
}

/// Why a call was cut, in words that need no knowledge of HTTP/2.
fn cut_words(error: &hyper::Error) -> String {
    match http2_error(error) {
        Some(error) if error.is_reset() => "it ended the call".to_owned(),
        Some(error) if error.is_go_away() => "it was stopped".to_owned(),
        _ => "connection lost".to_owned(),
    }
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error::Error::source(error)?.downcast_ref()
}

/// Whether the server has done nothing of a call that failed so: it was not sent, or refused before it was looked at.
fn is_unsent(error: &hyper::Error) -> bool {
    let is_refused = |error: &h2::Error| {
        let reason = error.reason();
        error.is_remote()
            && (reason == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
    };
    error.is_canceled() || http2_error(error).is_some_and(is_refused)
}

/// The status of a call that was cut.
pub(crate) fn cut(error: hyper::Error) -> Status {
    let (is_unsent, message) = (is_unsent(&error), cut_words(&error));
    Failure { is_unsent, message, source: Some(Arc::new(error)) }.into()
}

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let mut connection = shared.connection().await?;
            address(&mut request, &shared.targets, connection.place)?;
            let response = connection.sender.send_request(request).await.map_err(cut)?;
            Ok(Answer::of(response))
        })
    }
}

/// Names the server in a request, and the caller.
fn address(request: &mut http::Request<Body>, targets: &Targets, place: usize) -> Result<(), Status> {
    let address = &targets.addresses[place];
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if address.is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    let authority = address.authority().parse().map_err(|_| Status::internal("the address is not an authority"))?;
    parts.authority = Some(authority);
    *request.uri_mut() = parts.try_into().map_err(|_| Status::internal("the address is not that of a request"))?;
    if let Some(authorization) = &targets.authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }
    Ok(())
}

/// What a server has sent first.
enum Heard {
    /// A frame of HTTP/2: its length, whose first byte is 0.
    Http2,
    /// Something else, in words.
    Other(String),
    /// Nothing: it has closed the connection.
    End,
}

/// A stream of bytes that reports the first ones.
struct Listening<S> {
    stream: S,
    heard: Option<oneshot::Sender<Heard>>,
}

impl<S> Listening<S> {
    fn report(&mut self, result: &io::Result<()>, bytes: &[u8]) {
        let Some(heard) = self.heard.take() else { return };
        let what = match (result, bytes.first()) {
            (Err(error), _) => tls::words(error).map_or(Heard::End, Heard::Other),
            (Ok(()), None) => Heard::End,
            (Ok(()), Some(0)) => Heard::Http2,
            (Ok(()), Some(0x15)) => Heard::Other("it uses TLS; its address begins with grpcs:".to_owned()),
            (Ok(()), Some(b'H')) => Heard::Other("it speaks HTTP/1, not gRPC".to_owned()),
            (Ok(()), Some(_)) => Heard::Other("it does not speak gRPC".to_owned()),
        };
        // No one may wait any more.
        drop(heard.send(what));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if self.heard.is_some() {
            self.report(&result, &buffer.filled()[before..]);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
