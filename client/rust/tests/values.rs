//! Values, timestamps and queries as users of the crate make and read them.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use datastore_client::{Filter, Key, Operator, Query, Reason, Timestamp, Value, field, map, proto::datastore::v1};

fn path_of(error: &datastore_client::Error) -> Option<&str> {
    error.details().path.as_deref()
}

#[test]
fn values_come_from_and_go_to_types_of_rust() {
    let value =
        map! { "name" => "Samedan", "elevation" => 5600, "lat" => 46.5, "raw" => vec![0_u8, 255], "note" => () };
    assert_eq!(value.get("name").and_then(Value::as_str), Some("Samedan"));
    assert_eq!(value.get("elevation").and_then(Value::as_int), Some(5600));
    assert_eq!(value.get("raw").and_then(Value::as_bytes), Some(&[0, 255][..]));
    assert!(value.get("note").is_some_and(Value::is_null));
    let members = BTreeMap::try_from(value).unwrap();
    assert_eq!(f64::try_from(members["lat"].clone()).unwrap().to_bits(), 46.5_f64.to_bits());
    let error = i64::try_from(members["lat"].clone()).unwrap_err();
    assert_eq!(
        (error.reason(), error.to_string().as_str()),
        (Reason::UnsupportedType, "value is a double, not an int")
    );
}

#[test]
fn paths_find_members_before_members_of_maps() {
    let value = map! { "a.b" => 1, "a" => map! { "b" => 2, "c" => map! { "d" => 3 } } };
    assert_eq!(value.get("a.b"), Some(&1.into()));
    assert_eq!(value.get("a.c.d"), Some(&3.into()));
    assert_eq!(value.get("a.x"), None);
}

#[test]
fn a_part_that_does_not_fit_is_named() {
    assert_eq!(Value::try_from(u64::MAX).unwrap_err().reason(), Reason::InvalidValue);
    assert_eq!(path_of(&Value::try_list([1, u64::MAX]).unwrap_err()), Some("value[1]"));
    assert_eq!(path_of(&Value::try_map([("it's", u64::MAX)]).unwrap_err()), Some("value['it\\'s']"));
    let deep = (0..33).fold(Value::from(1), |value, _| map! { "a" => value });
    let error = v1::Value::try_from(deep).unwrap_err();
    assert_eq!(
        (error.reason(), path_of(&error)),
        (Reason::InvalidValue, Some(format!("value{}", "['a']".repeat(32)).as_str()))
    );
}

#[test]
fn the_deepest_values_are_read_back() {
    let deep = (0..32).fold(Value::from(Key::root()), |value, _| map! { "a" => value });
    let message = v1::Value::try_from(deep.clone()).unwrap();
    let wire = prost::Message::encode_to_vec(&v1::QueryResponse {
        entries: vec![v1::Entry { value: Some(message), ..Default::default() }],
        ..Default::default()
    });
    let response: v1::QueryResponse = prost::Message::decode(wire.as_slice()).unwrap();
    assert_eq!(Value::try_from(response.entries[0].value.clone().unwrap()).unwrap(), deep);
}

#[test]
fn timestamps_are_times_of_the_system_in_whole_microseconds() {
    for (time, text) in [
        (UNIX_EPOCH, "1970-01-01T00:00:00Z"),
        (UNIX_EPOCH - Duration::from_nanos(1), "1969-12-31T23:59:59.999999Z"),
        (UNIX_EPOCH + Duration::new(951_782_400, 999), "2000-02-29T00:00:00Z"),
    ] {
        assert_eq!(Timestamp::floor(time).unwrap().to_string(), text);
    }
    let finer = Timestamp::try_from(UNIX_EPOCH + Duration::from_nanos(1001)).unwrap_err();
    assert_eq!(finer.to_string(), "value is a time finer than microseconds; cut it with Timestamp::floor");
    let time = Timestamp::from_micros(-62_135_596_800_000_000).unwrap();
    assert_eq!(time.to_string(), "0001-01-01T00:00:00Z");
    assert_eq!(Timestamp::try_from(SystemTime::from(time)).unwrap(), time);
    assert_eq!(Timestamp::from_micros(time.as_micros() - 1).unwrap_err().reason(), Reason::InvalidValue);
}

#[test]
fn filters_are_joined_by_operators() {
    let (a, b, c) = (field("a").eq(1), field("b").lt(2), field("c").exists());
    let joined = (a.clone() & b.clone()) | !c.clone();
    assert_eq!(joined, Filter::Or(vec![Filter::And(vec![a, b]), Filter::Not(Box::new(c))]));
}

#[test]
fn queries_that_cannot_be_are_refused() {
    let airports = Query::new("/Airport").unwrap();
    let reason = |query: Query| v1::Query::try_from(&query).unwrap_err().reason();
    assert_eq!(reason(airports.clone().filter(field("").eq(1))), Reason::InvalidQuery);
    assert_eq!(reason(airports.clone().filter(field("a").compared(Operator::In, 1.into()))), Reason::InvalidQuery);
    assert_eq!(reason(airports.clone().filter(Filter::And(vec![]))), Reason::InvalidQuery);
    assert_eq!(reason(airports.clone().keys_only().fields(["a"])), Reason::InvalidQuery);
    assert_eq!(reason((0..65).fold(airports, |query, _| query.filter(field("a").eq(1)))), Reason::LimitExceeded);
    assert_eq!(Query::new("/a\u{7}").unwrap_err().reason(), Reason::InvalidKey);
}
