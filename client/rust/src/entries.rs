//! The entries of a query as a stream, over as many calls as needed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use futures_core::Stream as FuturesStream;
use prost::Message;

use crate::{
    client::{Inner, QUERY},
    connection::Stream,
    entry::Entry,
    error::{Error, Reason, Result},
    proto::datastore::v1::{self as messages, query_summary},
    pull::{Pull, Source},
    query::Query,
    retry::Policy,
    view::cut,
    wire::{entry_of, of_answer, query_message},
};

/// The entries of a query: a `Stream`, to be read with [`Entries::next`] or the combinators of the `futures` crate.
///
/// The server sends only as fast as this is read. A stream that is cut off resumes where it was; if it cannot, or ends
/// without its summary, the last item is an error, so results are never silently incomplete. Dropping it ends the call.
pub struct Entries {
    batches: Pull<Cursor>,
    ready: vec::IntoIter<Entry>,
    summary: Option<Summary>,
}

/// How a query ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Why.
    pub reason: SummaryReason,
    /// How many entries there were, over all calls.
    pub entries: u64,
    /// What each shard contributed to the last call; empty if there are no shards.
    pub shards: Vec<ShardSummary>,
    /// How the last call was evaluated, if that was asked for.
    pub explanation: Option<messages::Explanation>,
}

impl Summary {
    /// The names of the shards that are missing from the results.
    pub fn unreachable(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().filter(|shard| shard.error.is_some()).map(|shard| shard.shard.as_str())
    }
}

/// Why the results of a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SummaryReason {
    /// There are no more.
    Exhausted,
    /// The limit was reached.
    Limit,
    /// Some shards could not be reached, which the query allowed.
    Partial,
}

/// What a shard contributed to a query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardSummary {
    /// Its name.
    pub shard: String,
    /// How many entries it sent.
    pub entries: i64,
    /// How many entries it examined.
    pub scanned: i64,
    /// Why it is missing from the results; none if it is not.
    pub error: Option<Error>,
}

impl PartialEq for ShardSummary {
    fn eq(&self, other: &Self) -> bool {
        let reason = |summary: &Self| summary.error.as_ref().map(Error::reason);
        (&self.shard, self.entries, self.scanned, reason(self))
            == (&other.shard, other.entries, other.scanned, reason(other))
    }
}

impl Entries {
    pub(crate) fn new(client: &Arc<Inner>, query: &Query) -> Result<Self> {
        let cursor = Cursor::new(Arc::clone(client), query)?;
        Ok(Self { batches: Pull::Idle(cursor), ready: Vec::new().into_iter(), summary: None })
    }

    /// The next entry; none at the end.
    pub async fn next(&mut self) -> Option<Result<Entry>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// How the query ended, once all entries have been read.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref().filter(|_| self.ready.as_slice().is_empty())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Entry>>> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            match ready!(self.batches.poll(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(batch)) => {
                    self.ready = batch.entries.into_iter();
                    self.summary = batch.summary;
                }
            }
        }
    }
}

impl FuturesStream for Entries {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Entry>>> {
        self.poll(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ready.len(), None)
    }
}

/// The entries of one message.
struct Batch {
    entries: Vec<Entry>,
    summary: Option<Summary>,
}

/// Where a query is.
struct Cursor {
    client: Arc<Inner>,
    /// The request that continues after the last message.
    request: messages::QueryRequest,
    policy: Option<Policy>,
    stream: Option<Stream<messages::QueryResponse>>,
    /// The token at the last end by the server's time limit; none before one.
    late_at: Option<Vec<u8>>,
    /// The entries of the current call, and of those before.
    received: u64,
    received_before: u64,
    is_ended: bool,
}

impl Source for Cursor {
    type Item = Batch;

    async fn pull(&mut self) -> Result<Option<Batch>> {
        // The deadline begins with the first entry that is asked for.
        let mut policy = self.policy.take().unwrap_or_else(|| Policy::new(self.client.query_timeout));
        let batch = self.next(&mut policy).await;
        self.policy = Some(policy);
        batch
    }
}

impl Cursor {
    fn new(client: Arc<Inner>, query: &Query) -> Result<Self> {
        let request = messages::QueryRequest {
            query: Some(query_message(query)?),
            allow_partial: query.allow_partial,
            explain: query.explain,
            ..messages::QueryRequest::default()
        };
        Ok(Self {
            client,
            request,
            policy: None,
            stream: None,
            late_at: None,
            received: 0,
            received_before: 0,
            is_ended: false,
        })
    }

    async fn next(&mut self, policy: &mut Policy) -> Result<Option<Batch>> {
        while !self.is_ended {
            match self.message(policy).await {
                Ok(Some(response)) => return self.batch(response).map(Some),
                Ok(None) => return Err(self.truncated("ended without their summary")),
                Err(error) => {
                    self.stream = None;
                    match self.backoff(&error, policy) {
                        Some(wait) => self.client.connection.pause(wait).await,
                        None => return Err(error),
                    }
                }
            }
        }
        Ok(None)
    }

    async fn message(&mut self, policy: &mut Policy) -> Result<Option<messages::QueryResponse>> {
        if let Some(stream) = &mut self.stream {
            return stream.next(policy).await;
        }
        self.received_before += std::mem::take(&mut self.received);
        let stream = self.client.connection.stream(QUERY, policy, self.request.encode_to_vec().into()).await?;
        self.stream.insert(stream).next(policy).await
    }

    /// How long to wait before continuing a stream that was cut. None: do not.
    fn backoff(&mut self, error: &Error, policy: &mut Policy) -> Option<std::time::Duration> {
        let is_cut = matches!(error.reason(), Reason::Unavailable | Reason::Overloaded | Reason::DeadlineExceeded);
        let token = &self.request.resume_token;
        if token.is_empty() {
            return if error.may_repeat() { self.client.connection.backoff(error, policy) } else { None };
        }
        // If the time limit of the server ends a second call that has not come further, it would end every one.
        let is_late = error.reason() == Reason::DeadlineExceeded;
        if !is_cut || (is_late && self.late_at.as_ref() == Some(token)) {
            return None;
        }
        if is_late {
            self.late_at = Some(token.clone());
        }
        policy.backoff(error)
    }

    /// The entries of a message. From here on their reader has them, so the next call continues after them.
    fn batch(&mut self, response: messages::QueryResponse) -> Result<Batch> {
        let messages::QueryResponse { entries, resume_token, summary, needs_last_entry, .. } = response;
        self.received += entries.len() as u64;
        self.request.resume_token = resume_token;
        if !needs_last_entry {
            self.request.last_entry = None;
        } else if let Some(last) = entries.last() {
            self.request.last_entry = Some(last.clone());
        }
        let mut entries = entries.into_iter().map(entry_of).collect::<Result<Vec<_>>>()?;
        if let Some(query) = &self.request.query {
            cut(&mut entries, query, needs_last_entry);
        }
        Ok(Batch { entries, summary: summary.map(|summary| self.summary(summary)).transpose()? })
    }

    fn summary(&mut self, summary: messages::QuerySummary) -> Result<Summary> {
        self.is_ended = true;
        self.stream = None;
        if u64::try_from(summary.entries) != Ok(self.received) {
            return Err(self.truncated(&format!("were {}, of which {} arrived", summary.entries, self.received)));
        }
        Ok(Summary {
            reason: match summary.reason() {
                query_summary::Reason::Partial => SummaryReason::Partial,
                query_summary::Reason::Limit => SummaryReason::Limit,
                _ => SummaryReason::Exhausted,
            },
            entries: self.received_before + self.received,
            shards: summary.shards.into_iter().map(ShardSummary::from).collect(),
            explanation: summary.explanation,
        })
    }

    fn truncated(&self, what: &str) -> Error {
        Error::new(Reason::TruncatedStream, format!("the results from {} {what}", self.client.connection.name()))
    }
}

impl From<messages::ShardSummary> for ShardSummary {
    fn from(summary: messages::ShardSummary) -> Self {
        Self {
            shard: summary.shard,
            entries: summary.entries,
            scanned: summary.scanned,
            error: summary.status.map(of_answer),
        }
    }
}
