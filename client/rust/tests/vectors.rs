//! The golden vectors of the protocol, as far as a client has to agree with them.

use std::{collections::BTreeMap, fs, path::Path};

use datastore_client::{
    Entry, Error, Key, Order, Query, Value,
    proto::{datastore::v1 as messages, google::rpc::Status},
};
use prost::Message;
use serde_json::Value as Json;

fn vectors(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn items(vectors: &Json) -> &[Json] {
    let items = vectors.as_array().unwrap();
    assert!(!items.is_empty());
    items
}

fn bytes(hex: &Json) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn keys_are_canonical_and_belong_to_their_collections() {
    for item in items(&vectors("keys.json")) {
        let (Some(given), Some(text)) = (item["given"].as_str(), item["text"].as_str()) else { continue };
        let key = Key::new(given).unwrap();
        assert_eq!(key.as_str(), text, "{item}");
        assert_eq!(key.collection().as_str(), item["path"].as_str().unwrap(), "{item}");
    }
}

#[test]
fn keys_are_ordered_by_their_bytes() {
    let sorted: Vec<Key> =
        items(&vectors("order.json")).iter().map(|text| Key::new(text.as_str().unwrap()).unwrap()).collect();
    assert!(sorted.is_sorted());
}

#[test]
fn keys_have_hashes_and_slots() {
    for item in items(&vectors("hashes.json")) {
        assert_eq!(Key::new(item["key"].as_str().unwrap()).unwrap().hash(), item["hash"].as_u64().unwrap(), "{item}");
    }
    for item in items(&vectors("slots.json")["keys"]) {
        let key = Key::new(item["key"].as_str().unwrap()).unwrap();
        let slots = (u64::from(key.slot()), u64::from(key.collection_slot()));
        assert_eq!(slots, (item["slot"].as_u64().unwrap(), item["collection_slot"].as_u64().unwrap()), "{item}");
    }
}

#[test]
fn values_are_read_and_written_as_their_bytes() {
    for item in items(&vectors("values.json")) {
        let wire = bytes(&item["wire"]);
        let value = Value::from_wire(&wire).unwrap();
        assert_eq!(messages::Value::try_from(value).unwrap().encode_to_vec(), wire, "{item}");
    }
}

#[test]
fn bytes_that_are_no_value_are_corrupt() {
    let corrupt =
        ["", "4a020a00", "52070a050a01611200", "9a0600", "2a01ff", "4aff", "3a07088083d1ffaf07", "42050a032f617f"];
    let refused = vectors("wire_refused.json");
    for wire in corrupt {
        let item = items(&refused).iter().find(|item| item["wire"] == wire).unwrap();
        let error = Value::from_wire(&bytes(&item["wire"])).unwrap_err();
        assert_eq!(error.reason().as_str(), "CORRUPT_DATA", "{item}");
    }
}

/// A value in the notation of the vectors; none for kinds that are not needed here.
fn plain(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match number.as_i64() {
            Some(value) if !number.is_f64() => value.into(),
            _ => number.as_f64()?.into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => Value::List(values.iter().map(plain).collect::<Option<_>>()?),
        Json::Object(members) => match members.iter().next() {
            Some((name, text)) if name == "$float" => text.as_str()?.parse::<f64>().ok()?.into(),
            Some((name, text)) if name == "$key" => Key::new(text.as_str()?).ok()?.into(),
            Some((name, _)) if name.starts_with('$') => return None,
            _ => {
                let pairs = members.iter().map(|(name, member)| Some((name.clone(), plain(member)?)));
                Value::Map(pairs.collect::<Option<BTreeMap<_, _>>>()?)
            }
        },
    })
}

fn sort_key(value: Value, order: Order) -> Vec<u8> {
    let entry = Entry { key: Key::root(), value: Some(value), metadata: None };
    let query = Query::new("/").unwrap().order(order).start_after(entry);
    messages::Query::try_from(&query).unwrap().start_after.unwrap().sort_key
}

#[test]
fn positions_have_the_sort_keys_of_their_values() {
    let vectors = vectors("sort_keys.json");
    let mut count = 0;
    for item in items(&vectors).iter().flat_map(|ties| ties.as_array().unwrap()) {
        let Some(value) = plain(&item["value"]) else { continue };
        let path = "__value__";
        assert_eq!(sort_key(value.clone(), Order::ascending(path)), bytes(&item["ascending"]), "{item}");
        assert_eq!(sort_key(value, Order::descending(path)), bytes(&item["descending"]), "{item}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn statuses_are_errors_with_their_reasons_and_texts() {
    for item in items(&vectors("wire_errors.json")) {
        let error = Error::from(Status::decode(bytes(&item["status"]).as_slice()).unwrap());
        assert_eq!(error.reason().as_str(), item["reason"].as_str().unwrap());
        assert_eq!(error.to_string(), item["message"].as_str().unwrap());
    }
}
