//! Values and entries as messages, and back.

use prost::Message;

use crate::{
    entry::{Entry, Found, Metadata},
    error::{Error, Reason, Result},
    key::Key,
    proto::datastore::v1::{self as messages, value::Kind},
    timestamp::Timestamp,
    value::{Value, member},
};

/// How deep lists and maps nest at most.
const VALUE_DEPTH: usize = 32;

/// The message of a value.
///
/// # Errors
/// `INVALID_VALUE`, with the path of the part, for nesting over 32 deep.
pub(crate) fn encode(value: Value) -> Result<messages::Value> {
    message(value, 0).map_err(|place| Error::value(format!("value{place}"), "is nested more than 32 deep"))
}

/// The message of a value at a depth; the error is the place of what is nested too deeply.
fn message(value: Value, depth: usize) -> Result<messages::Value, String> {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Int(value) => Kind::Int64Value(value),
        Value::Double(value) => Kind::DoubleValue(value),
        Value::String(value) => Kind::StringValue(value),
        Value::Bytes(value) => Kind::BytesValue(value),
        Value::Timestamp(value) => Kind::TimestampValue(value.to_message()),
        Value::Key(value) => Kind::KeyValue(messages::Key { text: value.into_text() }),
        Value::List(_) | Value::Map(_) if depth >= VALUE_DEPTH => return Err(String::new()),
        Value::List(values) => {
            let values = values
                .into_iter()
                .enumerate()
                .map(|(index, value)| message(value, depth + 1).map_err(|place| format!("[{index}]{place}")));
            Kind::ListValue(messages::ListValue { values: values.collect::<Result<_, _>>()? })
        }
        Value::Map(members) => {
            let fields = members.into_iter().map(|(name, value)| match message(value, depth + 1) {
                Ok(value) => Ok((name, value)),
                Err(place) => Err(member(&name) + &place),
            });
            Kind::MapValue(messages::MapValue { fields: fields.collect::<Result<_, _>>()? })
        }
    };
    Ok(messages::Value { kind: Some(kind) })
}

/// The value of a message.
///
/// # Errors
/// `CORRUPT_DATA` if it has no kind that is known, or one that is not valid.
pub(crate) fn value_of(message: messages::Value) -> Result<Value> {
    decode(message, 0)
}

fn decode(message: messages::Value, depth: usize) -> Result<Value> {
    Ok(match message.kind.ok_or_else(|| corrupt("a value has no kind that is known"))? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::Int64Value(value) => Value::Int(value),
        Kind::DoubleValue(value) => Value::Double(value),
        Kind::StringValue(value) => Value::String(value),
        Kind::BytesValue(value) => Value::Bytes(value),
        Kind::TimestampValue(value) => Value::Timestamp(time_of(&value)?),
        Kind::KeyValue(value) => Value::Key(key_of(Some(value))?),
        Kind::ListValue(_) | Kind::MapValue(_) if depth >= VALUE_DEPTH => {
            return Err(corrupt(&format!("a value is nested more than {VALUE_DEPTH} deep")));
        }
        Kind::ListValue(list) => {
            let values = list.values.into_iter().map(|value| decode(value, depth + 1));
            Value::List(values.collect::<Result<_>>()?)
        }
        Kind::MapValue(map) => {
            let members = map.fields.into_iter().map(|(name, value)| Ok((name, decode(value, depth + 1)?)));
            Value::Map(members.collect::<Result<_>>()?)
        }
    })
}

pub(crate) fn corrupt(what: &str) -> Error {
    Error::new(Reason::CorruptData, format!("an answer cannot be read: {what}"))
}

fn time_of(message: &prost_types::Timestamp) -> Result<Timestamp> {
    Timestamp::from_message(message).map_err(|error| corrupt("a time is out of range").with_source(error))
}

/// The key of a message.
pub(crate) fn key_of(message: Option<messages::Key>) -> Result<Key> {
    Key::new(message.unwrap_or_default().text).map_err(|error| corrupt("a key is not valid").with_source(error))
}

/// The entry of a message.
pub(crate) fn entry_of(message: messages::Entry) -> Result<Entry> {
    Ok(Entry {
        key: key_of(message.key)?,
        value: message.value.map(value_of).transpose()?,
        metadata: metadata_of(message.metadata.as_ref())?,
    })
}

/// The message of an entry, as a server has sent it.
pub(crate) fn entry_message(entry: Entry) -> Result<messages::Entry> {
    Ok(messages::Entry {
        key: Some(messages::Key { text: entry.key.into_text() }),
        value: entry.value.map(encode).transpose()?,
        metadata: entry.metadata.as_ref().map(metadata_message),
    })
}

pub(crate) fn metadata_message(metadata: &Metadata) -> messages::Metadata {
    messages::Metadata {
        version: metadata.version,
        create_time: Some(metadata.create_time.to_message()),
        update_time: Some(metadata.update_time.to_message()),
        expire_time: metadata.expire_time.map(Timestamp::to_message),
    }
}

/// The metadata of a message that may have some.
pub(crate) fn metadata_of(message: Option<&messages::Metadata>) -> Result<Option<Metadata>> {
    let Some(message) = message else { return Ok(None) };
    Ok(Some(Metadata {
        version: message.version,
        create_time: time_of(message.create_time.as_ref().unwrap_or(&prost_types::Timestamp::default()))?,
        update_time: time_of(message.update_time.as_ref().unwrap_or(&prost_types::Timestamp::default()))?,
        expire_time: message.expire_time.as_ref().map(time_of).transpose()?,
    }))
}

/// What a response says of a key: nothing, if it is absent.
pub(crate) fn found_of(value: Option<messages::Value>, metadata: Option<&messages::Metadata>) -> Result<Option<Found>> {
    let Some(value) = value else { return Ok(None) };
    Ok(Some(Found { value: value_of(value)?, metadata: metadata_of(metadata)? }))
}

impl Value {
    /// The value of a serialized `datastore.v1.Value`, e.g. of one that was stored elsewhere.
    ///
    /// # Errors
    /// `CORRUPT_DATA` if it is not one.
    pub fn from_wire(bytes: &[u8]) -> Result<Self> {
        let message = messages::Value::decode(bytes).map_err(|error| corrupt(&error.to_string()).with_source(error))?;
        value_of(message)
    }
}

impl TryFrom<Value> for messages::Value {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        encode(value)
    }
}

impl TryFrom<messages::Value> for Value {
    type Error = Error;

    fn try_from(message: messages::Value) -> Result<Self> {
        value_of(message)
    }
}
