//! The changes of entries as a stream, over as many calls as needed.

use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream as FuturesStream;
use prost::Message;

use crate::{
    client::{Client, WATCH},
    connection::Stream,
    error::{Error, Reason, Result},
    key::Key,
    proto::datastore::v1::{self as messages, entry_change},
    pull::{Pull, Source},
    retry::Policy,
    value::Value,
    wire::{corrupt, key_of, value_of},
};

/// A watch that begins when it is awaited: then all later writes are shown.
#[must_use = "a watch begins when it is awaited"]
pub struct Watch {
    client: Client,
    query: Result<messages::Query>,
    initial: bool,
    token: Vec<u8>,
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was created or replaced.
    Put,
    /// It was deleted.
    Delete,
    /// It expired.
    Expire,
}

/// Its name in the protocol, e.g. `PUT`.
impl fmt::Display for ChangeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Expire => "EXPIRE",
        })
    }
}

/// One change of an entry.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The key.
    pub key: Key,
    /// The version of the change. Later changes of the key have greater ones.
    pub version: i64,
    /// The new value, of a put.
    pub value: Option<Value>,
}

/// Changes that were made together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChangeBatch {
    /// The changes, those of a key in their order.
    pub changes: Vec<Change>,
    /// Continues after these changes, with [`Watch::after`].
    pub token: Vec<u8>,
    /// Whether the initial listing is complete with these changes. Once.
    pub is_caught_up: bool,
}

/// The changes of a watch: a `Stream` of batches, to be read with [`Changes::next`] or the combinators of the `futures`
/// crate.
///
/// It does not end by itself. A stream that is cut off continues where it was. One that is read too slowly fails with
/// `CHANGES_EXPIRED`: list the entries again. Dropping it ends the call.
pub struct Changes(Pull<Feed>);

impl Watch {
    pub(crate) fn new(client: &Client, query: Result<messages::Query>) -> Self {
        Self { client: client.clone(), query, initial: false, token: Vec::new() }
    }

    /// The entries that exist come first, as puts.
    pub fn initial(mut self) -> Self {
        self.initial = true;
        self
    }

    /// Continue after the changes of an earlier watch of the same query, by its last token.
    pub fn after(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.token = token.into();
        self
    }

    async fn begin(self) -> Result<Changes> {
        let request =
            messages::WatchRequest { query: Some(self.query?), resume_token: self.token, initial: self.initial };
        let mut feed =
            Feed { client: self.client, request, policy: None, stream: None, pending: Vec::new(), first: None };
        let client = feed.client.clone();
        let connection = &client.inner().connection;
        let mut policy = connection.policy();
        // The first message says that the watch has begun.
        let timeout = policy.timeout;
        feed.first = match tokio::time::timeout(timeout, feed.batch(&mut policy)).await {
            Ok(first) => first?,
            Err(_) => {
                let message = format!("the watch of {} did not begin within {timeout:?}", connection.name());
                return Err(Error::new(Reason::DeadlineExceeded, message));
            }
        };
        Ok(Changes(Pull::Idle(feed)))
    }
}

impl IntoFuture for Watch {
    type Output = Result<Changes>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Changes>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl Changes {
    /// The next changes.
    pub async fn next(&mut self) -> Option<Result<ChangeBatch>> {
        poll_fn(|context| self.0.poll(context)).await
    }
}

impl FuturesStream for Changes {
    type Item = Result<ChangeBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll(context)
    }
}

/// Where a watch is.
struct Feed {
    client: Client,
    /// The request that continues after the last batch.
    request: messages::WatchRequest,
    policy: Option<Policy>,
    stream: Option<Stream<messages::WatchResponse>>,
    /// The changes of a batch of which more messages follow.
    pending: Vec<Change>,
    /// The batch with which the watch has begun.
    first: Option<ChangeBatch>,
}

impl Source for Feed {
    type Item = ChangeBatch;

    async fn pull(&mut self) -> Result<Option<ChangeBatch>> {
        let mut policy = self.policy.take().unwrap_or_else(|| Policy::new(Duration::MAX));
        let batch = self.next(&mut policy).await;
        self.policy = Some(policy);
        batch.map(Some)
    }
}

impl Feed {
    /// The next batch with changes, or that which completes the listing.
    async fn next(&mut self, policy: &mut Policy) -> Result<ChangeBatch> {
        if let Some(first) = self.first.take().filter(is_news) {
            return Ok(first);
        }
        loop {
            if let Some(batch) = self.batch(policy).await?.filter(is_news) {
                return Ok(batch);
            }
        }
    }

    /// The next batch, also one without changes.
    async fn batch(&mut self, policy: &mut Policy) -> Result<Option<ChangeBatch>> {
        loop {
            let error = match self.message(policy).await {
                Ok(Some(response)) => match self.take(response)? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                },
                Ok(None) => {
                    let name = self.client.inner().connection.name();
                    return Err(Error::new(Reason::TruncatedStream, format!("the changes from {name} ended")));
                }
                Err(error) => error,
            };
            self.stream = None;
            match self.backoff(&error, policy) {
                Some(wait) => self.client.inner().connection.pause(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn message(&mut self, policy: &mut Policy) -> Result<Option<messages::WatchResponse>> {
        if let Some(stream) = &mut self.stream {
            return stream.next(policy).await;
        }
        self.pending.clear();
        let request = self.request.encode_to_vec().into();
        // A watch has no deadline, except to begin.
        let endless = Policy::new(Duration::MAX);
        let stream = self.client.inner().connection.stream(WATCH, &endless, request).await?;
        self.stream.insert(stream).next(policy).await
    }

    /// How long to wait before continuing a stream that was cut. None: do not.
    fn backoff(&self, error: &Error, policy: &mut Policy) -> Option<Duration> {
        if !matches!(error.reason(), Reason::Unavailable | Reason::Overloaded) {
            return None;
        }
        // Without a token the watch has not begun, and is like any other call.
        if self.request.resume_token.is_empty() {
            return if error.may_repeat() { self.client.inner().connection.backoff(error, policy) } else { None };
        }
        policy.backoff(error)
    }

    /// The batch that a message completes, if it does.
    fn take(&mut self, response: messages::WatchResponse) -> Result<Option<ChangeBatch>> {
        for change in response.changes {
            self.pending.push(change_of(change)?);
        }
        if response.resume_token.is_empty() {
            return Ok(None);
        }
        self.request.resume_token.clone_from(&response.resume_token);
        Ok(Some(ChangeBatch {
            changes: std::mem::take(&mut self.pending),
            token: response.resume_token,
            is_caught_up: response.caught_up,
        }))
    }
}

fn is_news(batch: &ChangeBatch) -> bool {
    !batch.changes.is_empty() || batch.is_caught_up
}

fn change_of(message: messages::EntryChange) -> Result<Change> {
    let kind = match message.kind() {
        entry_change::Kind::Put => ChangeKind::Put,
        entry_change::Kind::Delete => ChangeKind::Delete,
        entry_change::Kind::Expire => ChangeKind::Expire,
        entry_change::Kind::Unspecified => return Err(corrupt("a change is of a kind that is not known")),
    };
    Ok(Change {
        kind,
        key: key_of(message.key)?,
        version: message.version,
        value: message.value.map(value_of).transpose()?,
    })
}
