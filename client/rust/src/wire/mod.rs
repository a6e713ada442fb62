//! Conversions between the types of this crate and the messages of the protocol. Makes no calls.

mod queries;
mod statuses;
mod values;
mod writes;

pub(crate) use queries::{QUERY_REQUEST_BYTES, aggregate_request, query_message, watch_query};
pub(crate) use statuses::{by_code, has_answer, of_answer, of_server};
pub(crate) use values::{corrupt, entry_message, entry_of, found_of, key_of, metadata_of, value_of};
pub(crate) use writes::{Attempt, ENTRY_BYTES, write_message};
