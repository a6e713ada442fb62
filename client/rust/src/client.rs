//! The client: one verb after the other. Knows messages and calls, and leaves deadlines and retries to the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    aggregate::{Aggregate, Group},
    batch::{ITEMS, Outcome, Part, fewer_items},
    builder::Builder,
    connection::{Connection, Method},
    description::Description,
    entries::Entries,
    entry::Found,
    error::{Error, Reason, Result},
    key::Key,
    listing::Listing,
    pending::{Deleted, Patched, Pending, Stored},
    proto::datastore::v1::{self as messages, batch_get_response},
    query::Query,
    retry::Policy,
    sending::{Attempts, Reading, Request, Writing, outcome},
    value::Value,
    watch::Watch,
    wire::{aggregate_request, corrupt, found_of, of_answer, value_of, watch_query, write_message},
    write::{Condition, Expiry, Operation, Patch, Write},
};

macro_rules! methods {
    ($($name:ident = $method:literal $is_read:literal;)*) => {
        $(pub(crate) const $name: Method = Method {
            path: concat!("/datastore.v1.DatastoreService/", $method),
            is_read: $is_read,
        };)*
    };
}

methods! {
    GET = "Get" true;
    PUT = "Put" false;
    DELETE = "Delete" false;
    PATCH = "Patch" false;
    TOUCH = "Touch" false;
    CONTAINS = "Contains" true;
    BATCH_GET = "BatchGet" true;
    BATCH_WRITE = "BatchWrite" false;
    QUERY = "Query" true;
    LIST_ENTRIES = "ListEntries" true;
    AGGREGATE = "Aggregate" true;
    WATCH = "Watch" true;
    DESCRIBE_STORE = "DescribeStore" true;
}

/// A connection to a server, a node or a proxy. Clones share it; it ends with the last of them, and their streams.
///
/// Keys are given as [`Key`], or as text. Calls belong to the tokio runtime that they are made in. A call that is
/// dropped is cancelled; a write may have happened all the same.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) connection: Arc<Connection>,
    pub(crate) query_timeout: Duration,
    is_retrying_writes: bool,
    /// The most items of a batch in one message; fewer if the server refused that many.
    batch_items: AtomicUsize,
}

/// What a write answers.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) value: Option<messages::Value>,
    pub(crate) metadata: Option<messages::Metadata>,
}

impl Client {
    pub(crate) fn new(connection: Connection, query_timeout: Duration, is_retrying_writes: bool) -> Self {
        Self(Arc::new(Inner {
            connection: Arc::new(connection),
            query_timeout,
            is_retrying_writes,
            batch_items: AtomicUsize::new(ITEMS),
        }))
    }

    /// A client of the server at `HOST:PORT`, `grpc://HOST:PORT` or, over TLS, `grpcs://HOST:PORT`, with default
    /// settings. It connects at its first call.
    ///
    /// # Errors
    /// `CONFIG` for an address that is not valid.
    pub fn connect(address: impl Into<String>) -> Result<Self> {
        Self::builder(address).connect()
    }

    /// Settings of a client of the server at an address.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address)
    }

    /// Ends the calls and streams of this client and its clones that are in progress, and refuses further ones, with
    /// `DATASTORE_CLOSED`.
    pub fn close(&self) {
        self.0.connection.close();
    }

    // Reading

    /// The value of an entry; none if it is absent.
    ///
    /// # Errors
    /// Those of the server and of the connection, as for all calls; `INVALID_KEY` if a text is not a key.
    pub async fn get<K: TryInto<Key, Error: Into<Error>>>(&self, key: K) -> Result<Option<Value>> {
        Ok(self.found(key, false).await?.map(|found| found.value))
    }

    /// The value of an entry, and its metadata.
    ///
    /// # Errors
    /// `UNSUPPORTED` if the store keeps no versions.
    pub async fn get_with_metadata<K: TryInto<Key, Error: Into<Error>>>(&self, key: K) -> Result<Option<Found>> {
        self.found(key, true).await
    }

    async fn found<K: TryInto<Key, Error: Into<Error>>>(
        &self,
        key: K,
        include_metadata: bool,
    ) -> Result<Option<Found>> {
        let request = messages::GetRequest { key: Some(key_message(key)?), include_metadata };
        let response: messages::GetResponse = self.0.read(GET, &request).await?;
        found_of(response.value, response.metadata.as_ref())
    }

    /// Whether there is an entry.
    ///
    /// # Errors
    /// As for all calls.
    pub async fn contains<K: TryInto<Key, Error: Into<Error>>>(&self, key: K) -> Result<bool> {
        let request = messages::ContainsRequest { key: Some(key_message(key)?) };
        let response: messages::ContainsResponse = self.0.read(CONTAINS, &request).await?;
        Ok(response.contains)
    }

    /// The values of many entries, in the order of the keys, in as many messages as needed. A read that fails does not
    /// fail the others. All of them have the deadline of one call.
    pub async fn batch_get<K: TryInto<Key, Error: Into<Error>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Found>>> {
        self.0.batch_get(keys.into_iter().map(key_of).collect(), false).await
    }

    /// The values of many entries, and their metadata.
    pub async fn batch_get_with_metadata<K: TryInto<Key, Error: Into<Error>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Found>>> {
        self.0.batch_get(keys.into_iter().map(key_of).collect(), true).await
    }

    // Writing

    /// Stores an entry, in place of what there was. A null deletes it.
    pub fn put<K: TryInto<Key, Error: Into<Error>>>(&self, key: K, value: impl Into<Value>) -> Pending<Stored> {
        Pending::new(self, Write::put(key, value))
    }

    /// Removes an entry, if there is one.
    pub fn delete<K: TryInto<Key, Error: Into<Error>>>(&self, key: K) -> Pending<Deleted> {
        Pending::new(self, Write::delete(key))
    }

    /// Changes parts of the value of an entry, in one step.
    pub fn patch<K: TryInto<Key, Error: Into<Error>>>(&self, key: K, patch: Patch) -> Pending<Patched> {
        Pending::new(self, Write::patch(key, patch))
    }

    /// Changes when an entry expires; without an expiry to never.
    pub fn touch<K: TryInto<Key, Error: Into<Error>>>(&self, key: K) -> Pending<Stored> {
        Pending::new(self, Write::touch(key))
    }

    /// Makes a new value of an entry from the one that it has, none if it is absent, and stores it if no one else has
    /// written in between; otherwise again from the newer one. It expires as before. None deletes the entry. Returns
    /// the value as stored.
    ///
    /// # Errors
    /// `CONDITION_FAILED` if others wrote each time until the deadline; `UNSUPPORTED` if the store keeps no versions.
    pub async fn update<K: TryInto<Key, Error: Into<Error>>>(
        &self,
        key: K,
        mut function: impl FnMut(Option<Value>) -> Option<Value>,
    ) -> Result<Option<Value>> {
        let key = key.try_into().map_err(Into::into)?;
        let mut policy = self.0.connection.policy();
        loop {
            let found = self.0.found(&key, &mut policy).await?;
            let metadata = found.as_ref().and_then(|found| found.metadata);
            if found.is_some() && metadata.is_none() {
                return Err(corrupt("an entry has no metadata"));
            }
            let was_absent = found.is_none();
            let value = function(found.map(|found| found.value));
            let operation = match value.clone() {
                Some(value) => Operation::Put(value),
                None if was_absent => return Ok(None),
                None => Operation::Delete,
            };
            let condition = metadata.map_or(Condition::Absent, |metadata| Condition::Version(metadata.version));
            let mut write = Write::new(&key, operation)?.condition(condition);
            // It expires as before; if it has expired meanwhile, the condition fails.
            write.expiry =
                metadata.and_then(|metadata| metadata.expire_time).filter(|_| value.is_some()).map(Expiry::At);
            let Err(error) = self.0.write(write, false, &mut policy).await else { return Ok(value) };
            if error.reason() != Reason::ConditionFailed {
                return Err(error);
            }
            match policy.backoff(&error) {
                Some(wait) => self.0.connection.pause(wait).await,
                None => return Err(error),
            }
        }
    }

    /// Makes many writes, in as many messages as needed; those of a key in their order. A write that fails does not
    /// fail the others. After a message that may still be in progress no more are sent, because they could overtake it:
    /// the later writes have its error. All of them have the deadline of one call.
    pub async fn batch_write(&self, writes: impl IntoIterator<Item = Write>) -> Vec<Result<Option<crate::Metadata>>> {
        self.0.batch_write(writes.into_iter().map(write_message)).await
    }

    /// Makes all of these writes or, if one fails, none: that one has its error, and the others `BATCH_ABORTED`.
    ///
    /// # Errors
    /// Those that concern all of the writes: `UNSUPPORTED` if the store cannot do that or the keys are on several
    /// shards, `LIMIT_EXCEEDED` if they do not fit in one message.
    pub async fn batch_write_atomic(
        &self,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Vec<Result<Option<crate::Metadata>>>> {
        self.0.batch_write_atomic(writes.into_iter().map(write_message).collect()).await
    }

    // Many entries

    /// The entries of a query, as a stream. The call begins with the first entry.
    ///
    /// # Errors
    /// `INVALID_QUERY`, and the errors of values, for a query that cannot be sent.
    pub fn query(&self, query: &Query) -> Result<Entries> {
        Entries::new(&self.0, query)
    }

    /// The entries of a query page by page, for readers that cannot keep a stream open.
    pub fn list_entries(&self, query: &Query) -> Listing {
        Listing::new(self, query.clone())
    }

    /// The groups of an aggregate. One that is cut off begins again.
    ///
    /// # Errors
    /// `INVALID_QUERY` for an aggregate that cannot be.
    pub async fn aggregate(&self, aggregate: &Aggregate) -> Result<Vec<Group>> {
        self.0.aggregate(&aggregate_request(aggregate)?).await
    }

    /// The changes of the entries that a query selects by key, scope and filters, from now on.
    pub fn watch(&self, query: &Query) -> Watch {
        Watch::new(self, watch_query(query))
    }

    /// What the server serves, and its limits.
    ///
    /// # Errors
    /// As for all calls.
    pub async fn describe(&self) -> Result<Description> {
        self.0.read(DESCRIBE_STORE, &messages::DescribeStoreRequest {}).await.map(Description)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Client({})", self.0.connection.name())
    }
}

fn key_message<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<messages::Key> {
    Ok(messages::Key { text: key_of(key)?.into_text() })
}

fn key_of<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<Key> {
    key.try_into().map_err(Into::into)
}

impl Inner {
    pub(crate) async fn read<M: prost::Message + Default + 'static>(
        &self,
        method: Method,
        request: &impl prost::Message,
    ) -> Result<M> {
        let mut policy = self.connection.policy();
        self.connection.unary(method, &mut policy, &mut Reading::new(request)).await
    }

    async fn found(&self, key: &Key, policy: &mut Policy) -> Result<Option<Found>> {
        let request = messages::GetRequest { key: Some(key_message(key)?), include_metadata: true };
        let response: messages::GetResponse = self.connection.unary(GET, policy, &mut Reading::new(&request)).await?;
        found_of(response.value, response.metadata.as_ref())
    }

    /// Makes one write. `include_value` if a patch answers with the new value.
    pub(crate) async fn write(&self, write: Write, include_value: bool, policy: &mut Policy) -> Result<Done> {
        let missing = || Error::new(Reason::Internal, "a write has no operation");
        let request = Request::new(write_message(write)?, include_value).ok_or_else(missing)?;
        let mut writing = Writing { request, attempts: Attempts::new(1, self.is_retrying_writes)? };
        let result = self.send(&mut writing, policy).await;
        result.map_err(|error| outcome(error, writing.attempts.unknown.as_ref()))
    }

    async fn send(&self, writing: &mut Writing, policy: &mut Policy) -> Result<Done> {
        let connection = &self.connection;
        match writing.request {
            Request::Put(_) => {
                let response: messages::PutResponse = connection.unary(PUT, policy, writing).await?;
                Ok(Done { metadata: response.metadata, ..Done::default() })
            }
            Request::Delete(_) => {
                let messages::DeleteResponse {} = connection.unary(DELETE, policy, writing).await?;
                Ok(Done::default())
            }
            Request::Patch(_) => {
                let response: messages::PatchResponse = connection.unary(PATCH, policy, writing).await?;
                Ok(Done { value: response.value, metadata: response.metadata })
            }
            Request::Touch(_) => {
                let response: messages::TouchResponse = connection.unary(TOUCH, policy, writing).await?;
                Ok(Done { metadata: response.metadata, ..Done::default() })
            }
        }
    }

    // Batches

    /// The results of keys, of which some may not be valid.
    async fn batch_get(&self, keys: Vec<Result<Key>>, include_metadata: bool) -> Vec<Result<Option<Found>>> {
        let valid: Vec<Key> = keys.iter().flatten().cloned().collect();
        let mut found = self.batch_get_valid(&valid, include_metadata).await.into_iter();
        let missing = || Err(corrupt("a key has no result"));
        keys.into_iter().map(|key| key.and_then(|_| found.next().unwrap_or_else(missing))).collect()
    }

    async fn batch_get_valid(&self, keys: &[Key], include_metadata: bool) -> Vec<Result<Option<Found>>> {
        let mut results = Vec::with_capacity(keys.len());
        let mut policy = self.connection.policy();
        let mut most = ITEMS;
        while results.len() < keys.len() {
            let rest = &keys[results.len()..];
            most = most.min(self.batch_items.load(Ordering::Relaxed));
            let answered = self.batch_get_part(&rest[..rest.len().min(most)], include_metadata, &mut policy).await;
            // Values that do not fit in an answer were read for nothing: ask for about as many as fit.
            most = 2 * answered.len().max(1);
            results.extend(answered);
        }
        results
    }

    /// The results of the first of these keys, at least one; those that did not fit are to be asked for again.
    async fn batch_get_part(
        &self,
        keys: &[Key],
        include_metadata: bool,
        policy: &mut Policy,
    ) -> Vec<Result<Option<Found>>> {
        let mut results: Vec<Result<Option<Found>>> = Vec::new();
        let mut asked: Vec<usize> = (0..keys.len()).collect();
        loop {
            let answered = self.ask(keys, &asked, include_metadata, policy).await;
            for (&place, result) in asked.iter().zip(answered) {
                if place < results.len() {
                    results[place] = result;
                } else {
                    results.push(result);
                }
            }
            asked = (0..results.len()).filter(|&place| results[place].as_ref().is_err_and(Error::may_repeat)).collect();
            let error = asked.first().and_then(|&place| results[place].as_ref().err());
            match error.and_then(|error| self.connection.backoff(error, policy)) {
                Some(wait) => self.connection.pause(wait).await,
                None => return results,
            }
        }
    }

    /// The results of the first of the keys at these places that one message has room for.
    async fn ask(
        &self,
        keys: &[Key],
        asked: &[usize],
        include_metadata: bool,
        policy: &mut Policy,
    ) -> Vec<Result<Option<Found>>> {
        let mut asked = asked;
        loop {
            let keys = asked.iter().map(|&place| messages::Key { text: keys[place].as_str().to_owned() });
            let request = messages::BatchGetRequest { keys: keys.collect(), include_metadata };
            let response = self.connection.unary(BATCH_GET, policy, &mut Reading::new(&request)).await;
            let error = match response {
                Ok(messages::BatchGetResponse { results }) if results.len() == asked.len() => return fitting(results),
                Ok(messages::BatchGetResponse { results }) => Error::new(
                    Reason::CorruptData,
                    format!("the server returned {} results for {} keys", results.len(), asked.len()),
                ),
                Err(error) => error,
            };
            let Some(most) = fewer_items(&error, asked.len()) else {
                return asked.iter().map(|_| Err(error.clone())).collect();
            };
            self.batch_items.store(most, Ordering::Relaxed);
            asked = &asked[..most];
        }
    }

    async fn batch_write(
        &self,
        writes: impl Iterator<Item = Result<messages::batch_write_request::Write>>,
    ) -> Vec<Outcome> {
        let mut results: Vec<Outcome> = Vec::new();
        let mut policy = self.connection.policy();
        let mut stopped = None;
        let mut part = Part::new(false);
        for (place, write) in writes.enumerate() {
            results.push(Ok(None));
            let attempt = Attempts::new(1, self.is_retrying_writes);
            match (write, attempt) {
                (Ok(write), Ok(attempt)) => {
                    if !part.fits(&write, self.batch_items.load(Ordering::Relaxed)) {
                        let full = std::mem::replace(&mut part, Part::new(false));
                        stopped = self.send_part(full, &mut results, stopped, &mut policy).await;
                    }
                    part.add(place, write, attempt.list.first().copied());
                }
                (Err(error), _) | (_, Err(error)) => results[place] = Err(error),
            }
        }
        self.send_part(part, &mut results, stopped, &mut policy).await;
        results
    }

    /// Sends a part unless `stopped` says why not. Returns why to send no more, if so.
    async fn send_part(
        &self,
        mut part: Part,
        results: &mut [Outcome],
        stopped: Option<Error>,
        policy: &mut Policy,
    ) -> Option<Error> {
        if part.len() == 0 {
            return stopped;
        }
        if let Some(error) = stopped {
            part.settle(part_failed(&part, &error), results);
            return Some(error);
        }
        loop {
            let response = self.connection.unary(BATCH_WRITE, policy, &mut part).await;
            let outcomes = match response.and_then(|response| part.outcomes(response)) {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    if let Some(most) = fewer_items(&error, part.len()) {
                        self.batch_items.store(most, Ordering::Relaxed);
                        return self.send_smaller(part.split(most), results, policy).await;
                    }
                    let failed = part.failed(&error);
                    part.settle(failed, results);
                    let is_in_progress =
                        matches!(error.reason(), Reason::Unavailable | Reason::Overloaded | Reason::DeadlineExceeded);
                    return is_in_progress.then_some(error);
                }
            };
            let repeated = part.settle(outcomes, results)?;
            self.connection.pause(self.connection.backoff(&repeated, policy)?).await;
        }
    }

    async fn send_smaller(&self, parts: Vec<Part>, results: &mut [Outcome], policy: &mut Policy) -> Option<Error> {
        let mut stopped = None;
        for part in parts {
            stopped = Box::pin(self.send_part(part, results, stopped, policy)).await;
        }
        stopped
    }

    async fn batch_write_atomic(
        &self,
        writes: Vec<Result<messages::batch_write_request::Write>>,
    ) -> Result<Vec<Outcome>> {
        let count = writes.len();
        if let Some(index) = writes.iter().position(Result::is_err) {
            return Ok(writes.into_iter().map(|write| Err(aborted(write.err(), index))).collect());
        }
        let attempts = Attempts::new(count, self.is_retrying_writes)?;
        let mut part = Part::new(true);
        for (place, write) in writes.into_iter().enumerate() {
            part.add(place, write?, attempts.list.get(place).copied());
        }
        let mut results: Vec<Outcome> = vec![Ok(None); count];
        let mut policy = self.connection.policy();
        loop {
            let response = self.connection.unary(BATCH_WRITE, &mut policy, &mut part).await;
            let response = response.map_err(|error| outcome(error, part.unknown_error()))?;
            let outcomes = part.outcomes(response)?;
            let wait =
                part.settle(outcomes, &mut results).and_then(|error| self.connection.backoff(&error, &mut policy));
            match wait {
                Some(wait) => self.connection.pause(wait).await,
                None => return Ok(results),
            }
        }
    }

    // Aggregates

    async fn aggregate(&self, request: &messages::AggregateRequest) -> Result<Vec<Group>> {
        let mut policy = Policy::new(self.query_timeout);
        let bytes = bytes::Bytes::from(prost::Message::encode_to_vec(request));
        loop {
            let error = match self.aggregate_once(request, &bytes, &mut policy).await {
                Ok(groups) => return Ok(groups),
                Err(error) => error,
            };
            let wait = if error.may_repeat() { self.connection.backoff(&error, &mut policy) } else { None };
            match wait {
                Some(wait) => self.connection.pause(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn aggregate_once(
        &self,
        request: &messages::AggregateRequest,
        bytes: &bytes::Bytes,
        policy: &mut Policy,
    ) -> Result<Vec<Group>> {
        let mut stream =
            self.connection.stream::<messages::AggregateResponse>(AGGREGATE, policy, bytes.clone()).await?;
        let mut groups = Vec::new();
        while let Some(response) = stream.next(policy).await? {
            for group in response.groups {
                groups.push(group_of(group, request)?);
            }
            if let Some(summary) = response.summary {
                if usize::try_from(summary.groups) == Ok(groups.len()) {
                    return Ok(groups);
                }
                break;
            }
        }
        let message =
            format!("the groups from {} ended after {}, without all of them", self.connection.name(), groups.len());
        Err(Error::new(Reason::TruncatedStream, message))
    }
}

fn group_of(message: messages::aggregate_response::Group, request: &messages::AggregateRequest) -> Result<Group> {
    if message.values.len() != request.group_by.len() || message.results.len() != request.aggregations.len() {
        return Err(corrupt("a group has not a value for each field and a result for each aggregation"));
    }
    let values = |values: Vec<messages::Value>| values.into_iter().map(value_of).collect::<Result<Vec<_>>>();
    Ok(Group { group: values(message.values)?, values: values(message.results)? })
}

/// The results of a batch that fit in its answer: the others are to be asked for again.
fn fitting(results: Vec<batch_get_response::Result>) -> Vec<Result<Option<Found>>> {
    let mut found = Vec::with_capacity(results.len());
    for result in results {
        let result = match result.status {
            Some(status) => Err(of_answer(status)),
            None => found_of(result.value, result.metadata.as_ref()),
        };
        if !found.is_empty() && result.as_ref().is_err_and(did_not_fit) {
            break;
        }
        found.push(result);
    }
    found
}

fn did_not_fit(error: &Error) -> bool {
    error.reason() == Reason::LimitExceeded && error.details().limit.as_deref() == Some("message_bytes")
}

fn part_failed(part: &Part, error: &Error) -> Vec<Outcome> {
    (0..part.len()).map(|_| Err(error.clone())).collect()
}

/// The error of a write of an atomic batch in which the one at `index` cannot be sent.
fn aborted(own: Option<Error>, index: usize) -> Error {
    own.unwrap_or_else(|| {
        let message = format!("not made, because the write at {index} of the batch cannot be");
        let mut error = Error::new(Reason::BatchAborted, message);
        error.details_mut().index = Some(index);
        error
    })
}
