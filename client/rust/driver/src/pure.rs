//! Operations without a server.

use std::cmp::Ordering;

use datastore_client::{
    Error, Key, Value,
    proto::{datastore::v1 as messages, google::rpc::Status},
};
use prost::Message;
use serde_json::{Value as Json, json};

use crate::notation::{Outcome, Parts, bytes_of, error, hex, query, shown, sort_key, unsupported, value};

/// The result of an operation, if it is one without a server.
pub fn answer(operation: &str, request: &Json) -> Option<Outcome<Json>> {
    Some(match operation {
        "key" => key(request),
        "compare_keys" => compare_keys(request),
        "encode" => encode(request),
        "decode" => decode(request),
        "sort_key" => encoded_order(request),
        "query" => encoded_query(request),
        "error" => decoded_error(request),
        _ => return None,
    })
}

fn key(request: &Json) -> Outcome<Json> {
    let key = Key::new(request.text("text")?)?;
    Ok(json!({
        "text": key.as_str(),
        "collection": key.collection().as_str(),
        "hash": key.hash().to_string(),
        "slot": key.slot(),
        "collection_slot": key.collection_slot(),
    }))
}

fn compare_keys(request: &Json) -> Outcome<Json> {
    let order = match Key::new(request.text("a")?)?.cmp(&Key::new(request.text("b")?)?) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    };
    Ok(json!({ "order": order }))
}

fn encode(request: &Json) -> Outcome<Json> {
    let message = messages::Value::try_from(value(request.part("value")?)?)?;
    Ok(json!({"wire": hex(&message.encode_to_vec())}))
}

fn decode(request: &Json) -> Outcome<Json> {
    let wire = bytes_of(request.text("wire")?)?;
    Ok(json!({"value": shown(&Value::from_wire(&wire)?)}))
}

fn encoded_order(request: &Json) -> Outcome<Json> {
    let bytes = sort_key(value(request.part("value")?)?, request.flag("descending"))?;
    Ok(json!({"sort_key": hex(&bytes)}))
}

fn encoded_query(request: &Json) -> Outcome<Json> {
    let message = messages::Query::try_from(&query(request.part("query")?)?)?;
    Ok(json!({"wire": hex(&message.encode_to_vec())}))
}

fn decoded_error(request: &Json) -> Outcome<Json> {
    match Status::decode(bytes_of(request.text("status")?)?.as_slice()) {
        Ok(status) => Ok(json!({"error": error(&Error::from(status))})),
        Err(_) => unsupported("not a status"),
    }
}
