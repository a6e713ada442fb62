//! Writes as messages, checked, and their attempts.

use std::{collections::HashSet, time::Duration};

use prost::Message;

use crate::{
    clock::elapsed_us,
    error::{Error, Reason, Result},
    proto::datastore::v1::{
        self as messages,
        batch_write_request::{self, write},
        expiry, field_change, precondition,
    },
    value::Value,
    wire::values::encode,
    write::{Change, Condition, Expiry, Operation, Patch, Write},
};

/// The largest entry, key and value together, in bytes.
pub(crate) const ENTRY_BYTES: usize = 3 * 1024 * 1024;
/// The most changes of a patch.
const CHANGES: usize = 256;
/// The longest path of a field, in bytes.
const FIELD_PATH_BYTES: usize = 1024;

/// A write as an item of a batch, without an attempt.
///
/// # Errors
/// Those of its value, `LIMIT_EXCEEDED` for an entry that is too large, `INVALID` for a condition, an expiry or a patch
/// that cannot be.
pub(crate) fn write_message(write: Write) -> Result<batch_write_request::Write> {
    let Write { key, operation, condition, expiry } = write;
    if expiry.is_some() && operation == Operation::Delete {
        return Err(invalid("expiry", "a delete has no expiry"));
    }
    let key = messages::Key { text: key.into_text() };
    let operation = match operation {
        Operation::Put(value) => write::Operation::Put(entry(key, value)?),
        Operation::Delete => write::Operation::Delete(key),
        Operation::Touch => write::Operation::Touch(key),
        Operation::Patch(patch) => write::Operation::Patch(patch_message(key, patch)?),
    };
    Ok(batch_write_request::Write {
        operation: Some(operation),
        condition: condition.map(condition_message).transpose()?,
        expiry: expiry.map(expiry_message).transpose()?,
        attempt: None,
    })
}

fn entry(key: messages::Key, value: Value) -> Result<messages::Entry> {
    let value = encode(value)?;
    let size = key.text.len() + value.encoded_len();
    if size > ENTRY_BYTES {
        let message = format!("an entry has at most {ENTRY_BYTES} bytes, and that of {} has {size}", key.text);
        return Err(Error::limit("entry_bytes", ENTRY_BYTES, message));
    }
    Ok(messages::Entry { key: Some(key), value: Some(value), metadata: None })
}

fn invalid(field: &str, message: impl Into<String>) -> Error {
    Error::new(Reason::Invalid, message).with_field(field)
}

fn condition_message(condition: Condition) -> Result<messages::Precondition> {
    let kind = match condition {
        Condition::Exists => precondition::Kind::Exists(true),
        Condition::Absent => precondition::Kind::Exists(false),
        Condition::Version(version) if version < 1 => {
            return Err(invalid("condition.version", format!("a version is at least 1, got {version}")));
        }
        Condition::Version(version) => precondition::Kind::Version(version),
    };
    Ok(messages::Precondition { kind: Some(kind) })
}

fn expiry_message(expiry: Expiry) -> Result<messages::Expiry> {
    let kind = match expiry {
        Expiry::In(Duration::ZERO) => {
            return Err(invalid("expiry.expires_in", "an entry expires after a time above 0"));
        }
        Expiry::In(duration) => {
            let duration = prost_types::Duration::try_from(duration)
                .map_err(|_| invalid("expiry.expires_in", "an entry expires before the year 10000"))?;
            expiry::Kind::ExpiresIn(duration)
        }
        Expiry::At(time) => expiry::Kind::ExpireTime(time.to_message()),
    };
    Ok(messages::Expiry { kind: Some(kind) })
}

fn patch_message(key: messages::Key, patch: Patch) -> Result<messages::Patch> {
    check_paths(&patch)?;
    let changes = patch.changes.into_iter().map(|(path, change)| {
        let kind = match change {
            Change::Set(value) => field_change::Kind::Set(encode(value)?),
            Change::Increment(number @ (Value::Int(_) | Value::Double(_))) => {
                field_change::Kind::Increment(encode(number)?)
            }
            Change::Increment(other) => {
                let message = format!("{path} can be incremented by a number, not {}", other.kind());
                let mut error = Error::new(Reason::UnsupportedType, message);
                error.details_mut().path = Some(path);
                return Err(error);
            }
            Change::Append(values) => {
                let values = values.into_iter().map(encode).collect::<Result<_>>()?;
                field_change::Kind::Append(messages::ListValue { values })
            }
            Change::Remove => field_change::Kind::Remove(field_change::Remove {}),
        };
        Ok(messages::FieldChange { field_path: path, kind: Some(kind) })
    });
    Ok(messages::Patch { key: Some(key), changes: changes.collect::<Result<_>>()?, create: patch.is_creating })
}

/// Refuses a patch without changes or with too many, paths that are none, and those of which one is below another.
fn check_paths(patch: &Patch) -> Result<()> {
    let count = patch.changes.len();
    if !(1..=CHANGES).contains(&count) {
        return Err(invalid("changes", format!("a patch has from 1 to {CHANGES} changes, got {count}")));
    }
    let mut paths: Vec<&str> = patch.changes.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    let mut seen = HashSet::new();
    for path in paths {
        if path.is_empty() || path.len() > FIELD_PATH_BYTES {
            return Err(invalid("changes", format!("a path of a patch has from 1 to {FIELD_PATH_BYTES} bytes")));
        }
        let dots = path.match_indices('.').map(|(dot, _)| &path[..dot]);
        if let Some(above) = dots.chain([path]).find(|head| seen.contains(head)) {
            return Err(invalid("changes", format!("a patch changes {above:?} twice, the second time as {path:?}")));
        }
        seen.insert(path);
    }
    Ok(())
}

/// Which write a request asks for, so that it can be sent again. See "Safe retries" in docs/protocol.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    id: [u8; 16],
    /// When the first attempt was sent that may have been made.
    first_us: Option<u64>,
}

impl Attempt {
    /// The first attempt of a new write.
    pub(crate) fn new() -> Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| {
            Error::new(Reason::Internal, format!("the system has no random numbers: {error}")).with_source(error)
        })?;
        Ok(Self { id, first_us: None })
    }

    /// Its message, if it is sent now.
    pub(crate) fn message(&self) -> messages::Attempt {
        let age_us = self.first_us.map_or(0, |first_us| elapsed_us().saturating_sub(first_us).max(1));
        messages::Attempt { request_id: self.id.to_vec(), age_us: i64::try_from(age_us).unwrap_or(i64::MAX) }
    }

    /// Notes that the attempt that was sent at this time may have been made.
    pub(crate) fn follow(&mut self, sent_us: u64) {
        self.first_us.get_or_insert(sent_us);
    }
}
