//! Writes that are made when they are awaited, with what was added to them.

use std::{future::IntoFuture, marker::PhantomData, pin::Pin};

use crate::{
    client::{Client, Done},
    entry::Metadata,
    error::{Error, Result},
    value::Value,
    wire::{metadata_of, value_of},
    write::{Condition, Expiry, Write},
};

/// A write of one entry, made when it is awaited: `client.put("/a", 1).condition(Condition::Absent).await?`.
#[must_use = "a write is made when it is awaited"]
pub struct Pending<T> {
    client: Client,
    write: Result<Write>,
    include_value: bool,
    answers: PhantomData<fn() -> T>,
}

/// The answer to a put or a touch: the metadata of the entry as stored, if the store keeps versions.
pub type Stored = Option<Metadata>;
/// The answer to a delete.
pub type Deleted = ();

/// The answer to a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The new value, if it was asked for by [`Pending::return_value`]. None either if an earlier attempt had made the
    /// changes, and the entry was written since.
    pub value: Option<Value>,
    /// The metadata of the entry as stored.
    pub metadata: Option<Metadata>,
}

impl<T> Pending<T> {
    pub(crate) fn new(client: &Client, write: Result<Write>) -> Self {
        Self { client: client.clone(), write, include_value: false, answers: PhantomData }
    }

    /// Only if this holds; otherwise the write fails with `CONDITION_FAILED`, and nothing is changed.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.write = self.write.map(|write| write.condition(condition));
        self
    }

    /// The entry expires then. A `Duration` is counted from the write.
    pub fn expiry(mut self, expiry: impl Into<Expiry>) -> Self {
        self.write = self.write.map(|write| write.expiry(expiry));
        self
    }
}

impl Pending<Patched> {
    /// Answer with the new value.
    pub fn return_value(mut self) -> Self {
        self.include_value = true;
        self
    }
}

impl<T: TryFrom<Done, Error: Into<Error>> + 'static> IntoFuture for Pending<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let inner = self.client.inner();
            let done = inner.write(self.write?, self.include_value, &mut inner.connection.policy()).await?;
            T::try_from(done).map_err(Into::into)
        })
    }
}

impl From<Done> for Deleted {
    fn from(_: Done) -> Self {}
}

impl TryFrom<Done> for Stored {
    type Error = Error;

    fn try_from(done: Done) -> Result<Self> {
        metadata_of(done.metadata.as_ref())
    }
}

impl TryFrom<Done> for Patched {
    type Error = Error;

    fn try_from(done: Done) -> Result<Self> {
        let metadata = metadata_of(done.metadata.as_ref())?;
        Ok(Self { value: done.value.map(value_of).transpose()?, metadata })
    }
}
