//! Entries and their metadata, as responses have them.

use crate::{key::Key, timestamp::Timestamp, value::Value};

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value; none in the results of a keys-only query.
    pub value: Option<Value>,
    /// What the store knows about the entry, if it was asked for.
    pub metadata: Option<Metadata>,
}

impl Entry {
    /// The field of the value at a path, as [`Value::get`] finds it.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.value.as_ref()?.get(path)
    }
}

/// What a store keeps about an entry besides its value. Times are by the clock of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The version, at least 1. Of one key, a later version is always greater.
    pub version: i64,
    /// When the key was first written since it was last absent.
    pub create_time: Timestamp,
    /// When the entry was last written.
    pub update_time: Timestamp,
    /// When the entry expires; none if it never does.
    pub expire_time: Option<Timestamp>,
}

/// A value with its metadata, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// Its metadata, if it was asked for.
    pub metadata: Option<Metadata>,
}
