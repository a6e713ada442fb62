#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod aggregate;
mod answer;
mod batch;
mod builder;
mod client;
mod clock;
mod codec;
mod connection;
mod description;
mod entries;
mod entry;
mod error;
mod key;
mod listing;
mod pending;
mod pull;
mod query;
mod retry;
mod sending;
mod slots;
mod sort_key;
mod timestamp;
mod tls;
mod transport;
mod value;
mod view;
mod watch;
mod wire;
mod write;

/// The messages and the bare stub of the protocol, generated from its protos: for calls that [`Client`] does not have.
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod proto {
    pub mod datastore {
        pub mod v1 {
            include!(concat!(env!("CARGO_MANIFEST_DIR"), "/gen/datastore.v1.rs"));
        }
    }

    pub mod google {
        pub mod rpc {
            include!(concat!(env!("CARGO_MANIFEST_DIR"), "/gen/google.rpc.rs"));
        }
    }
}

pub use aggregate::{Aggregate, Function, Group};
pub use builder::Builder;
pub use client::Client;
pub use description::{Description, Durability, Feature};
pub use entries::{Entries, ShardSummary, Summary, SummaryReason};
pub use entry::{Entry, Found, Metadata};
pub use error::{Details, Error, Reason, Result};
pub use key::Key;
pub use listing::{Page, PageToken};
pub use pending::{Deleted, Patched, Pending, Stored};
pub use query::{Field, Filter, Operator, Order, Query, field};
pub use timestamp::Timestamp;
pub use value::Value;
pub use watch::{Change, ChangeBatch, ChangeKind, Changes, Watch};
pub use write::{Condition, Expiry, Patch, Write};
