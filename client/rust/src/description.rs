//! What a server serves.

use crate::proto::datastore::v1 as messages;

/// What a server serves, and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Description(pub(crate) messages::DescribeStoreResponse);

/// Something that not every store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Entries have metadata, and writes may have conditions.
    Versions,
    /// Entries can expire.
    Expiry,
    /// Entries can be watched.
    Changes,
    /// Batches of writes can be atomic.
    Atomic,
}

/// What an acknowledged write guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// It does not survive the process.
    Memory,
    /// It survives the process, but may be lost in a power failure.
    Async,
    /// It is on disk.
    Sync,
}

impl Description {
    /// The version of the server's software.
    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.0.server_version
    }

    /// What the store can do beyond reading, writing and querying; kinds that are not known are left out.
    pub fn features(&self) -> impl Iterator<Item = Feature> {
        self.0.features().filter_map(|feature| match feature {
            messages::Feature::Versions => Some(Feature::Versions),
            messages::Feature::Expiry => Some(Feature::Expiry),
            messages::Feature::Changes => Some(Feature::Changes),
            messages::Feature::Atomic => Some(Feature::Atomic),
            messages::Feature::Unspecified => None,
        })
    }

    /// What an acknowledged write guarantees; none if that is not known.
    #[must_use]
    pub fn durability(&self) -> Option<Durability> {
        match self.0.durability() {
            messages::describe_store_response::Durability::Memory => Some(Durability::Memory),
            messages::describe_store_response::Durability::Async => Some(Durability::Async),
            messages::describe_store_response::Durability::Sync => Some(Durability::Sync),
            messages::describe_store_response::Durability::Unspecified => None,
        }
    }

    /// The limits of the server.
    #[must_use]
    pub fn limits(&self) -> messages::Limits {
        self.0.limits.unwrap_or_default()
    }

    /// The current number of entries, if the storage counts them.
    #[must_use]
    pub fn entries(&self) -> Option<i64> {
        self.0.entries
    }

    /// All that the server says, as its message.
    #[must_use]
    pub fn message(&self) -> &messages::DescribeStoreResponse {
        &self.0
    }
}
