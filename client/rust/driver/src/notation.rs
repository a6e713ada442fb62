//! The notation of values, entries, queries and errors in requests and responses: see tests/clients/README.md.

use datastore_client::{
    Condition, Details, Entry, Error, Expiry, Filter, Found, Key, Metadata, Operator, Order, Patch, Query, Result,
    Timestamp, Value, Write, field,
};
use serde_json::{Map, Value as Json, json};

/// Why a request has no result.
pub enum Fault {
    /// The error of the client.
    Error(Error),
    /// The language or the client cannot express it.
    Unsupported(String),
}

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

pub type Outcome<T> = std::result::Result<T, Fault>;

pub fn unsupported<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Fault::Unsupported(why.into()))
}

/// The parts of a request. What is missing or of another type is an error of the caller, not of the client.
pub trait Parts {
    fn text(&self, name: &str) -> Outcome<&str>;
    fn list(&self, name: &str) -> Outcome<&[Json]>;
    fn flag(&self, name: &str) -> bool;
    fn number(&self, name: &str) -> Outcome<Option<u64>>;
    fn part(&self, name: &str) -> Outcome<&Json>;
}

impl Parts for Json {
    fn text(&self, name: &str) -> Outcome<&str> {
        self[name].as_str().map_or_else(|| unsupported(format!("{name} is not a text")), Ok)
    }

    fn list(&self, name: &str) -> Outcome<&[Json]> {
        self[name].as_array().map_or_else(|| unsupported(format!("{name} is not a list")), |list| Ok(list.as_slice()))
    }

    fn flag(&self, name: &str) -> bool {
        self[name].as_bool().unwrap_or(false)
    }

    fn number(&self, name: &str) -> Outcome<Option<u64>> {
        match &self[name] {
            Json::Null => Ok(None),
            number => {
                number.as_u64().map_or_else(|| unsupported(format!("{name} is unsigned")), |found| Ok(Some(found)))
            }
        }
    }

    fn part(&self, name: &str) -> Outcome<&Json> {
        self.get(name).map_or_else(|| unsupported(format!("{name} is missing")), Ok)
    }
}

/// A number that is written as a text or as a number.
pub fn integer<T: std::str::FromStr>(json: &Json) -> Outcome<T> {
    let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    text.parse().or_else(|_| unsupported(format!("{text} does not fit in a number of this type")))
}

pub fn bytes_of(hex: &str) -> Outcome<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    digits.map_or_else(|| unsupported("not hex"), Ok)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// Values

/// A value on its way to the client, so that one that does not fit is refused by it, with the path of the part.
pub enum Given {
    Value(Value),
    Integer(i128),
    Micros(i64),
    Key(String),
    List(Vec<Given>),
    Map(Vec<(String, Given)>),
}

impl TryFrom<Given> for Value {
    type Error = Error;

    fn try_from(given: Given) -> Result<Value> {
        match given {
            Given::Value(value) => Ok(value),
            Given::Integer(value) => value.try_into(),
            Given::Micros(value) => Timestamp::from_micros(value).map(Value::from),
            Given::Key(text) => Key::new(text).map(Value::from),
            Given::List(values) => Value::try_list(values),
            Given::Map(members) => Value::try_map(members),
        }
    }
}

pub fn value(json: &Json) -> Outcome<Value> {
    Ok(given(json)?.try_into()?)
}

fn given(json: &Json) -> Outcome<Given> {
    let Some((kind, content)) = json.as_object().and_then(|object| object.iter().next()) else {
        return unsupported("not a value");
    };
    let text = content.as_str().unwrap_or_default();
    Ok(match kind.as_str() {
        "null" => Given::Value(Value::Null),
        "bool" => Given::Value(content.as_bool().unwrap_or_default().into()),
        "int64" => Given::Integer(integer(content)?),
        "double" => match u64::from_str_radix(text, 16) {
            Ok(bits) => Given::Value(f64::from_bits(bits).into()),
            Err(_) => return unsupported("not the bits of a double"),
        },
        "string" => Given::Value(text.into()),
        "utf16" | "utf8" => return unsupported("a String is UTF-8, and has no surrogates"),
        "bytes" => Given::Value(bytes_of(text)?.into()),
        "timestamp" => Given::Micros(integer(content)?),
        "timestamp_ns" => return unsupported("a Timestamp has microseconds"),
        "key" => Given::Key(text.to_owned()),
        "list" => Given::List(content.as_array().into_iter().flatten().map(given).collect::<Outcome<_>>()?),
        "map" => Given::Map(
            content
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, member)| Ok((name.clone(), given(member)?)))
                .collect::<Outcome<_>>()?,
        ),
        "foreign" => return unsupported("a value of another type does not compile"),
        other => return unsupported(format!("a value of kind {other}")),
    })
}

pub fn shown(value: &Value) -> Json {
    match value {
        Value::Null => json!({"null": true}),
        Value::Bool(value) => json!({ "bool": value }),
        Value::Int(value) => json!({"int64": value.to_string()}),
        Value::Double(value) => json!({"double": format!("{:016x}", value.to_bits())}),
        Value::String(value) => json!({ "string": value }),
        Value::Bytes(value) => json!({"bytes": hex(value)}),
        Value::Timestamp(value) => json!({"timestamp": value.as_micros().to_string()}),
        Value::Key(value) => json!({"key": value.as_str()}),
        Value::List(values) => json!({"list": values.iter().map(shown).collect::<Vec<_>>()}),
        Value::Map(members) => {
            let members: Map<String, Json> = members.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
            json!({ "map": members })
        }
    }
}

// Entries

pub fn found(found: Option<Found>) -> Json {
    let mut result = json!({});
    if let Some(Found { value, metadata }) = found {
        result["value"] = shown(&value);
        put_metadata(&mut result, metadata);
    }
    result
}

pub fn put_metadata(result: &mut Json, metadata: Option<Metadata>) {
    let Some(metadata) = metadata else { return };
    let mut shown = json!({
        "version": metadata.version.to_string(),
        "create_time": metadata.create_time.as_micros().to_string(),
        "update_time": metadata.update_time.as_micros().to_string(),
    });
    if let Some(time) = metadata.expire_time {
        shown["expire_time"] = json!(time.as_micros().to_string());
    }
    result["metadata"] = shown;
}

pub fn entry(entry: &Entry) -> Json {
    let mut result = json!({"key": entry.key.as_str()});
    if let Some(value) = &entry.value {
        result["value"] = shown(value);
    }
    put_metadata(&mut result, entry.metadata);
    result
}

pub fn given_entry(json: &Json) -> Outcome<Entry> {
    Ok(Entry {
        key: Key::new(json.text("key")?)?,
        value: json.get("value").map(value).transpose()?,
        metadata: json.get("metadata").map(metadata).transpose()?,
    })
}

fn metadata(json: &Json) -> Outcome<Metadata> {
    let time = |name: &str| -> Outcome<Timestamp> { Ok(Timestamp::from_micros(integer(json.part(name)?)?)?) };
    Ok(Metadata {
        version: integer(json.part("version")?)?,
        create_time: time("create_time")?,
        update_time: time("update_time")?,
        expire_time: json.get("expire_time").map(|_| time("expire_time")).transpose()?,
    })
}

// Queries

pub fn query(json: &Json) -> Outcome<Query> {
    let mut query = Query::new(json["key"].as_str().unwrap_or("/"))?;
    if json.flag("recursive") {
        query = query.recursive();
    }
    if json.flag("keys_only") {
        query = query.keys_only();
    }
    if json.flag("metadata") {
        query = query.with_metadata();
    }
    if let Some(limit) = json.number("limit")? {
        query = query.limit(limit);
    }
    if let Some(offset) = json.number("offset")? {
        query = query.offset(offset);
    }
    for each in json["filters"].as_array().into_iter().flatten() {
        query = query.filter(filter(each)?);
    }
    for each in json["orders"].as_array().into_iter().flatten() {
        query = query.order(each.as_str().unwrap_or_default());
    }
    if let Some(fields) = json["fields"].as_array() {
        query = query.fields(fields.iter().filter_map(Json::as_str));
    }
    if let Some(after) = json.get("start_after") {
        query = query.start_after(given_entry(after)?);
    }
    Ok(query)
}

fn filter(json: &Json) -> Outcome<Filter> {
    if let Some(parts) = json.as_array() {
        let [path, operator, wanted] = parts.as_slice() else { return unsupported("not a filter") };
        let path = path.as_str().unwrap_or_default();
        return Ok(field(path).compared(operator_of(operator.as_str().unwrap_or_default())?, value(wanted)?));
    }
    let filters = |name: &str| json.list(name)?.iter().map(filter).collect::<Outcome<Vec<_>>>();
    match json.as_object().and_then(|object| object.keys().next()).map(String::as_str) {
        Some("and") => Ok(Filter::And(filters("and")?)),
        Some("or") => Ok(Filter::Or(filters("or")?)),
        Some("not") => Ok(!filter(&json["not"])?),
        _ => unsupported("not a filter"),
    }
}

fn operator_of(text: &str) -> Outcome<Operator> {
    Ok(match text {
        "<" => Operator::Lt,
        "<=" => Operator::Le,
        "=" => Operator::Eq,
        "!=" => Operator::Ne,
        ">=" => Operator::Ge,
        ">" => Operator::Gt,
        "in" => Operator::In,
        "not_in" => Operator::NotIn,
        "starts_with" => Operator::StartsWith,
        "contains" => Operator::Contains,
        "exists" => Operator::Exists,
        other => return unsupported(format!("operators are an enum, without {other:?}")),
    })
}

/// The bytes by which a value is sorted, as the client sends them in the position of an entry that has it.
pub fn sort_key(value: Value, is_descending: bool) -> Outcome<Vec<u8>> {
    let path = "__value__";
    let order = if is_descending { Order::descending(path) } else { Order::ascending(path) };
    let entry = Entry { key: Key::root(), value: Some(value), metadata: None };
    let query = Query::new("/")?.order(order).start_after(entry);
    let message = datastore_client::proto::datastore::v1::Query::try_from(&query)?;
    Ok(message.start_after.unwrap_or_default().sort_key)
}

// Writes

pub fn condition(json: &Json) -> Outcome<Option<Condition>> {
    let Some(condition) = json.get("condition") else { return Ok(None) };
    Ok(Some(match (condition.get("exists"), condition.get("version")) {
        (Some(Json::Bool(true)), _) => Condition::Exists,
        (Some(Json::Bool(false)), _) => Condition::Absent,
        (_, Some(version)) => Condition::Version(integer(version)?),
        _ => return unsupported("conditions are an enum: there is none without a kind"),
    }))
}

pub fn expiry(json: &Json) -> Outcome<Option<Expiry>> {
    let Some(expiry) = json.get("expiry") else { return Ok(None) };
    Ok(Some(match (expiry.get("in_ms"), expiry.get("at")) {
        (Some(duration), _) => match integer(duration) {
            Ok(duration) => Expiry::In(std::time::Duration::from_millis(duration)),
            Err(_) => return unsupported("durations are unsigned"),
        },
        (_, Some(time)) => Expiry::At(Timestamp::from_micros(integer(time)?)?),
        _ => return unsupported("expiries are an enum: there is none without a kind"),
    }))
}

pub fn patch(json: &Json) -> Outcome<Patch> {
    let mut patch = Patch::new();
    for change in json.list("changes")? {
        let (kind, path) = (change[0].as_str().unwrap_or_default(), change[1].as_str().unwrap_or_default());
        patch = match kind {
            "set" => patch.set(path, value(&change[2])?),
            "increment" => patch.increment(path, value(&change[2])?),
            "append" => match value(&change[2])? {
                Value::List(values) => patch.append(path, values),
                _ => return unsupported("append takes an iterator of values"),
            },
            "remove" => patch.remove(path),
            other => return unsupported(format!("patches have no {other}")),
        };
    }
    Ok(if json.flag("create") { patch.create() } else { patch })
}

pub fn write(json: &Json) -> Outcome<Write> {
    let mut write = match json.as_object().and_then(|object| {
        object.iter().find(|(name, _)| matches!(name.as_str(), "put" | "delete" | "patch" | "touch"))
    }) {
        Some((name, put)) if name == "put" => Write::put(put.text("key")?, value(put.part("value")?)?)?,
        Some((name, key)) if name == "delete" => Write::delete(key.as_str().unwrap_or_default())?,
        Some((name, key)) if name == "touch" => Write::touch(key.as_str().unwrap_or_default())?,
        Some((_, change)) => Write::patch(change.text("key")?, patch(change)?)?,
        None => return unsupported("writes are an enum: there is none without an operation"),
    };
    if let Some(condition) = condition(json)? {
        write = write.condition(condition);
    }
    if let Some(expiry) = expiry(json)? {
        write = write.expiry(expiry);
    }
    Ok(write)
}

// Errors

pub fn error(error: &Error) -> Json {
    json!({"reason": error.reason().as_str(), "message": error.to_string(), "details": details(error.details())})
}

fn details(details: &Details) -> Json {
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    let pairs = [
        ("shard", details.shard.clone()),
        ("field", details.field.clone()),
        ("path", details.path.clone()),
        ("limit", details.limit.clone()),
        ("maximum", number(details.maximum)),
        ("version", number(details.version)),
        ("index", details.index.map(|index| index.to_string())),
        ("owner", details.owner.clone()),
        ("epoch", number(details.epoch)),
        ("right", details.right.clone()),
        ("incident", details.incident.clone()),
        ("request_id", details.request_id.clone()),
        ("retry_after_ms", details.retry_after.map(|delay| delay.as_millis().to_string())),
    ];
    pairs
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Json::String(text?))))
        .collect::<Map<_, _>>()
        .into()
}
