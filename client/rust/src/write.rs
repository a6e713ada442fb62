//! Writes: puts, deletes, patches and touches, with their conditions and expiries. Pure data.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    key::Key,
    timestamp::Timestamp,
    value::Value,
};

/// What must hold of an entry for a write to be made. The store decides it in one step with the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is an entry.
    Exists,
    /// There is none.
    Absent,
    /// The entry has this version.
    Version(i64),
}

/// When an entry expires: from then on it is absent to every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// So long after the write, by the clock of the store; rounded up to whole microseconds.
    In(Duration),
    /// At this instant. One that has passed deletes the entry.
    At(Timestamp),
}

impl From<Duration> for Expiry {
    fn from(duration: Duration) -> Self {
        Self::In(duration)
    }
}

impl From<Timestamp> for Expiry {
    fn from(time: Timestamp) -> Self {
        Self::At(time)
    }
}

/// Changes of parts of a value, which must be a map, made in one step or not at all.
///
/// ```
/// use datastore_client::Patch;
///
/// let patch = Patch::new().increment("visits", 1).set("geo.lat", 46.5).remove("note");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    pub(crate) changes: Vec<(String, Change)>,
    pub(crate) is_creating: bool,
}

/// What a patch does with a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Set(Value),
    Increment(Value),
    Append(Vec<Value>),
    Remove,
}

impl Patch {
    /// Without changes yet; a patch has at least one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Store a value in the member at a path, e.g. `geo.lat`.
    #[must_use]
    pub fn set(self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(path, Change::Set(value.into()))
    }

    /// Add a number, an int or a double, to the one in the member; a missing one is 0.
    #[must_use]
    pub fn increment(self, path: impl Into<String>, number: impl Into<Value>) -> Self {
        self.with(path, Change::Increment(number.into()))
    }

    /// Append values to the list in the member; a missing one is empty.
    #[must_use]
    pub fn append<T: Into<Value>>(self, path: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        self.with(path, Change::Append(values.into_iter().map(Into::into).collect()))
    }

    /// Remove the member, if there is one.
    #[must_use]
    pub fn remove(self, path: impl Into<String>) -> Self {
        self.with(path, Change::Remove)
    }

    /// Create an absent entry, with the changes of an empty map.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.is_creating = true;
        self
    }

    fn with(mut self, path: impl Into<String>, change: Change) -> Self {
        self.changes.push((path.into(), change));
        self
    }
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub(crate) key: Key,
    pub(crate) operation: Operation,
    pub(crate) condition: Option<Condition>,
    pub(crate) expiry: Option<Expiry>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Put(Value),
    Delete,
    Patch(Patch),
    Touch,
}

impl Write {
    /// Store an entry, in place of what there was. A null deletes it.
    ///
    /// # Errors
    /// `INVALID_KEY` if a text is not a key, as for the other writes.
    pub fn put<K: TryInto<Key, Error: Into<Error>>>(key: K, value: impl Into<Value>) -> Result<Self> {
        Self::new(key, Operation::Put(value.into()))
    }

    /// Remove an entry, if there is one.
    ///
    /// # Errors
    /// `INVALID_KEY`
    pub fn delete<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<Self> {
        Self::new(key, Operation::Delete)
    }

    /// Change parts of the value of an entry.
    ///
    /// # Errors
    /// `INVALID_KEY`
    pub fn patch<K: TryInto<Key, Error: Into<Error>>>(key: K, patch: Patch) -> Result<Self> {
        Self::new(key, Operation::Patch(patch))
    }

    /// Change when an entry expires; without an expiry to never.
    ///
    /// # Errors
    /// `INVALID_KEY`
    pub fn touch<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<Self> {
        Self::new(key, Operation::Touch)
    }

    pub(crate) fn new<K: TryInto<Key, Error: Into<Error>>>(key: K, operation: Operation) -> Result<Self> {
        let key = key.try_into().map_err(Into::into)?;
        Ok(Self { key, operation, condition: None, expiry: None })
    }

    /// Only if this holds, after the writes before it in the same batch.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// The entry expires then.
    #[must_use]
    pub fn expiry(mut self, expiry: impl Into<Expiry>) -> Self {
        self.expiry = Some(expiry.into());
        self
    }
}
