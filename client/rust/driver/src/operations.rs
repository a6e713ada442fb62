//! Operations with a server.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use datastore_client::{
    Aggregate, ChangeBatch, Changes, Client, Entries, Entry, Feature, Function, Key, Metadata, PageToken, Query,
    Result, Summary, SummaryReason, Value, Write,
};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::{
    bench,
    notation::{
        Outcome, Parts, bytes_of, condition, entry, error, expiry, found, given_entry, hex, integer, patch,
        put_metadata, query, shown, unsupported, value, write,
    },
    pure,
};

/// What requests refer to by number.
#[derive(Default)]
pub struct Driver {
    clients: HashMap<u64, Client>,
    cursors: HashMap<u64, Cursor>,
    watches: HashMap<u64, Watching>,
    numbers: u64,
}

struct Cursor {
    entries: Entries,
    /// An error that came after entries, for the next request.
    failure: Option<datastore_client::Error>,
}

struct Watching {
    changes: Changes,
    /// Changes that no request has taken yet, and what came with them.
    ready: Vec<Json>,
    token: Vec<u8>,
    is_caught_up: bool,
}

impl Driver {
    pub async fn answer(&mut self, request: &Json) -> Outcome<Json> {
        let operation = request["op"].as_str().unwrap_or_default();
        if let Some(answer) = pure::answer(operation, request) {
            return answer;
        }
        match operation {
            "connect" => self.connect(request),
            "next" => self.next(request).await,
            "changes" => self.changes(request).await,
            "leave" => Ok(self.leave(request)),
            "bench_query" => bench::query(request).await,
            "bench_get" => bench::get(request).await,
            "memory" => Ok(bench::memory()),
            _ => self.with_client(operation, request).await,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn connect(&mut self, request: &Json) -> Outcome<Json> {
        let scheme = if request.flag("tls") { "grpcs" } else { "grpc" };
        let addresses = request.list("addresses")?.iter().filter_map(Json::as_str);
        let mut addresses = addresses.map(|address| format!("{scheme}://{address}"));
        let mut builder = Client::builder(addresses.next().unwrap_or_default());
        for address in addresses {
            builder = builder.address(address);
        }
        if let Some(timeout) = request.number("timeout_ms")? {
            builder = builder.timeout(Duration::from_millis(timeout));
        }
        if let Some(timeout) = request.number("query_timeout_ms")? {
            builder = builder.query_timeout(Duration::from_millis(timeout));
        }
        if let Some(ca) = request["ca"].as_str() {
            builder = builder.ca(ca);
        }
        match (request["cert"].as_str(), request["key_file"].as_str()) {
            (Some(cert), Some(key)) => builder = builder.identity(cert, key),
            (None, None) => (),
            _ => return unsupported("an identity is a certificate with its key"),
        }
        if let Some(token) = request["token"].as_str() {
            builder = builder.token(token);
        }
        builder = builder.retry(request["retry"].as_bool().unwrap_or(true)).retry_writes(request.flag("retry_writes"));
        let (number, client) = (self.number(), builder.connect()?);
        self.clients.insert(number, client);
        Ok(json!({ "client": number }))
    }

    async fn with_client(&mut self, operation: &str, request: &Json) -> Outcome<Json> {
        let number = request["client"].as_u64().unwrap_or_default();
        let Some(client) = self.clients.get(&number).cloned() else { return unsupported("there is no such client") };
        match operation {
            "close" => {
                client.close();
                Ok(json!({}))
            }
            "open_query" => {
                let (number, entries) = (self.number(), client.query(&read_query(request)?)?);
                self.cursors.insert(number, Cursor { entries, failure: None });
                Ok(json!({ "cursor": number }))
            }
            "open_watch" => {
                let changes = open_watch(&client, request).await?;
                let number = self.number();
                let watching = Watching { changes, ready: Vec::new(), token: Vec::new(), is_caught_up: false };
                self.watches.insert(number, watching);
                Ok(json!({ "watch": number }))
            }
            _ => call(&client, operation, request).await,
        }
    }

    async fn next(&mut self, request: &Json) -> Outcome<Json> {
        let count = request["count"].as_u64().unwrap_or_default();
        let number = request["cursor"].as_u64().unwrap_or_default();
        let Some(cursor) = self.cursors.get_mut(&number) else { return unsupported("there is no such cursor") };
        if let Some(failure) = cursor.failure.take() {
            return Err(failure.into());
        }
        let mut entries = Vec::new();
        while (entries.len() as u64) < count {
            match cursor.entries.next().await {
                Some(Ok(next)) => entries.push(entry(&next)),
                Some(Err(failure)) if entries.is_empty() => return Err(failure.into()),
                Some(Err(failure)) => {
                    cursor.failure = Some(failure);
                    break;
                }
                None => break,
            }
        }
        let mut result = json!({ "entries": entries });
        // The end comes with the last entry, or by itself.
        if let Some(found) = cursor.entries.summary() {
            result["summary"] = summary(found);
        }
        Ok(result)
    }

    async fn changes(&mut self, request: &Json) -> Outcome<Json> {
        let count = usize::try_from(request["count"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        let number = request["watch"].as_u64().unwrap_or_default();
        let Some(watching) = self.watches.get_mut(&number) else { return unsupported("there is no such watch") };
        while watching.ready.len() < count {
            match watching.changes.next().await {
                None => break,
                Some(batch) => watching.take(batch?),
            }
        }
        Ok(json!({
            "changes": std::mem::take(&mut watching.ready),
            "token": hex(&watching.token),
            "caught_up": std::mem::take(&mut watching.is_caught_up),
        }))
    }

    fn leave(&mut self, request: &Json) -> Json {
        if let Some(number) = request["cursor"].as_u64() {
            self.cursors.remove(&number);
        }
        if let Some(number) = request["watch"].as_u64() {
            self.watches.remove(&number);
        }
        json!({})
    }
}

impl Watching {
    fn take(&mut self, batch: ChangeBatch) {
        for change in batch.changes {
            let mut entry = entry(&Entry { key: change.key, value: change.value, metadata: None });
            entry["metadata"] = json!({"version": change.version.to_string()});
            self.ready.push(json!({"kind": change.kind.to_string(), "entry": entry}));
        }
        self.token = batch.token;
        self.is_caught_up |= batch.is_caught_up;
    }
}

async fn call(client: &Client, operation: &str, request: &Json) -> Outcome<Json> {
    match operation {
        "describe" => describe(client).await,
        "get" => get(client, request).await,
        "contains" => Ok(json!({"contains": client.contains(request.text("key")?).await?})),
        "put" | "delete" | "touch" | "patch" => write_one(client, operation, request).await,
        "update" => update(client, request).await,
        "batch_get" => batch_get(client, request).await,
        "batch_write" => batch_write(client, request).await,
        "lone_gets" => lone_gets(client, request).await,
        "read" => read(client, request).await,
        "list_entries" => list_entries(client, request).await,
        "aggregate" => aggregate(client, request).await,
        "write" => fill(client, request).await,
        other => unsupported(format!("there is no operation {other:?}")),
    }
}

async fn describe(client: &Client) -> Outcome<Json> {
    let description = client.describe().await?;
    let features: Vec<&str> = description
        .features()
        .filter_map(|feature| match feature {
            Feature::Versions => Some("VERSIONS"),
            Feature::Expiry => Some("EXPIRY"),
            Feature::Changes => Some("CHANGES"),
            Feature::Atomic => Some("ATOMIC"),
            _ => None,
        })
        .collect();
    let limits = description.limits();
    macro_rules! named {
        ($($name:ident)*) => { Json::from_iter([$((stringify!($name), limits.$name.to_string())),*]) };
    }
    let limits = named! {
        key_bytes entry_bytes message_bytes batch_items page_items filters orders value_depth query_time_ms sort_bytes
        message_parts calls_in_hand open_streams open_streams_per_client stream_bytes read_bytes all_sort_bytes
        grace_ms fields groups unread_bytes request_time_ms connections metadata_bytes handshake_time_ms
        query_request_bytes key_request_bytes record_bytes record_request_bytes slots_request_bytes filter_depth
        tree_value_depth field_path_bytes patched_bytes sort_key_bytes calls_per_connection pending_calls snapshots
        sort_memory_bytes sort_disk_bytes
    };
    Ok(json!({"features": features, "limits": limits, "server_version": description.server_version()}))
}

async fn get(client: &Client, request: &Json) -> Outcome<Json> {
    let key = request.text("key")?;
    if request.flag("metadata") {
        return Ok(found(client.get_with_metadata(key).await?));
    }
    let value = client.get(key).await?;
    Ok(found(value.map(|value| datastore_client::Found { value, metadata: None })))
}

async fn write_one(client: &Client, operation: &str, request: &Json) -> Outcome<Json> {
    let (key, condition, expiry) = (request.text("key")?, condition(request)?, expiry(request)?);
    macro_rules! awaited {
        ($pending:expr) => {{
            let mut pending = $pending;
            if let Some(condition) = condition {
                pending = pending.condition(condition);
            }
            if let Some(expiry) = expiry {
                pending = pending.expiry(expiry);
            }
            pending.await?
        }};
    }
    let mut result = json!({});
    match operation {
        "put" => put_metadata(&mut result, awaited!(client.put(key, value(request.part("value")?)?))),
        "touch" => put_metadata(&mut result, awaited!(client.touch(key))),
        "delete" => awaited!(client.delete(key)),
        _ => {
            let pending = client.patch(key, patch(request)?);
            let pending = if request.flag("return_value") { pending.return_value() } else { pending };
            let patched = awaited!(pending);
            put_metadata(&mut result, patched.metadata);
            if let Some(value) = patched.value {
                result["value"] = shown(&value);
            }
        }
    }
    Ok(result)
}

async fn update(client: &Client, request: &Json) -> Outcome<Json> {
    let add = request.list("add")?;
    let (name, amount) = (add[0].as_str().unwrap_or_default().to_owned(), integer::<i64>(&add[1])?);
    let increased = |found: Option<Value>| {
        let members = found.and_then(|value| value.try_into().ok());
        let mut members: BTreeMap<String, Value> = members.unwrap_or_default();
        let before = members.get(&name).and_then(Value::as_int).unwrap_or_default();
        members.insert(name.clone(), (before + amount).into());
        Some(members.into())
    };
    let value = client.update(request.text("key")?, increased).await?;
    Ok(value.map_or_else(|| json!({}), |value| json!({"value": shown(&value)})))
}

fn keys(request: &Json) -> Outcome<Vec<Key>> {
    Ok(request.list("keys")?.iter().map(|key| Key::new(key.as_str().unwrap_or_default())).collect::<Result<_>>()?)
}

fn results<T>(results: Vec<Result<T>>, show: impl Fn(T) -> Json) -> Json {
    let shown = results.into_iter().map(|result| match result {
        Ok(result) => show(result),
        Err(failure) => json!({"error": error(&failure)}),
    });
    json!({"results": shown.collect::<Vec<_>>()})
}

async fn batch_get(client: &Client, request: &Json) -> Outcome<Json> {
    let keys = keys(request)?;
    let answered = if request.flag("metadata") {
        client.batch_get_with_metadata(&keys).await
    } else {
        client.batch_get(&keys).await
    };
    Ok(results(answered, found))
}

async fn batch_write(client: &Client, request: &Json) -> Outcome<Json> {
    let writes = request.list("writes")?.iter().map(write).collect::<Outcome<Vec<_>>>()?;
    let answered = if request.flag("atomic") {
        client.batch_write_atomic(writes).await?
    } else {
        client.batch_write(writes).await
    };
    Ok(results(answered, |metadata: Option<Metadata>| {
        let mut result = json!({});
        put_metadata(&mut result, metadata);
        result
    }))
}

async fn lone_gets(client: &Client, request: &Json) -> Outcome<Json> {
    let mut gets = JoinSet::new();
    for (place, key) in keys(request)?.into_iter().enumerate() {
        let client = client.clone();
        gets.spawn(async move { (place, client.get(key).await) });
    }
    let mut answered = gets.join_all().await;
    answered.sort_by_key(|(place, _)| *place);
    let answered = answered.into_iter().map(|(_, result)| result).collect();
    Ok(results(answered, |value: Option<Value>| {
        value.map_or_else(|| json!({}), |value| json!({"value": shown(&value)}))
    }))
}

fn read_query(request: &Json) -> Outcome<Query> {
    let mut query = query(request.part("query")?)?;
    if request.flag("allow_partial") {
        query = query.allow_partial();
    }
    if request.flag("explain") {
        query = query.explain();
    }
    Ok(query)
}

fn summary(summary: &Summary) -> Json {
    let reason = match summary.reason {
        SummaryReason::Exhausted => "EXHAUSTED",
        SummaryReason::Limit => "LIMIT",
        SummaryReason::Partial => "PARTIAL",
        _ => "UNKNOWN",
    };
    let unreachable: Vec<&str> = summary.unreachable().collect();
    let mut result = json!({"reason": reason, "entries": summary.entries.to_string(), "unreachable": unreachable});
    if let Some(explanation) = &summary.explanation {
        result["explained"] = json!(explanation.kind);
    }
    result
}

async fn read(client: &Client, request: &Json) -> Outcome<Json> {
    let mut entries = client.query(&read_query(request)?)?;
    let mut shown = Vec::new();
    while let Some(next) = entries.next().await {
        shown.push(entry(&next?));
    }
    let mut result = json!({ "entries": shown });
    if let Some(found) = entries.summary() {
        result["summary"] = summary(found);
    }
    Ok(result)
}

async fn list_entries(client: &Client, request: &Json) -> Outcome<Json> {
    let mut listing = client.list_entries(&read_query(request)?);
    if let Some(size) = request.number("page_size")? {
        listing = listing.page_size(u16::try_from(size).unwrap_or(u16::MAX));
    }
    if let Some(token) = request["page_token"].as_str().filter(|token| !token.is_empty()) {
        let text = String::from_utf8_lossy(&bytes_of(token)?).into_owned();
        listing = listing.after(PageToken::new(text, request.get("last_entry").map(given_entry).transpose()?));
    }
    let page = listing.await?;
    let unreachable: Vec<&str> = page.unreachable.iter().map(|shard| shard.shard.as_str()).collect();
    let entries: Vec<Json> = page.entries.iter().map(entry).collect();
    let mut result = json!({ "entries": entries, "unreachable": unreachable });
    if let Some(next) = page.next {
        result["next_page_token"] = json!(hex(next.text().as_bytes()));
        if let Some(last) = next.last_entry() {
            result["last_entry"] = entry(last);
        }
    }
    Ok(result)
}

async fn aggregate(client: &Client, request: &Json) -> Outcome<Json> {
    let mut aggregate = Aggregate::new(query(request.part("query")?)?);
    for each in request["aggregations"].as_array().into_iter().flatten() {
        let function = match each["function"].as_str().unwrap_or_default() {
            "COUNT" => Function::Count,
            "SUM" => Function::Sum,
            "AVG" => Function::Avg,
            "MIN" => Function::Min,
            "MAX" => Function::Max,
            other => return unsupported(format!("functions are an enum, without {other:?}")),
        };
        let (path, name) = (each["field"].as_str().unwrap_or_default(), each["as"].as_str().unwrap_or_default());
        aggregate = aggregate.with(function, path, name);
    }
    for path in request["group_by"].as_array().into_iter().flatten() {
        aggregate = aggregate.group_by(path.as_str().unwrap_or_default());
    }
    for order in request["orders"].as_array().into_iter().flatten() {
        aggregate = aggregate.order(order.as_str().unwrap_or_default());
    }
    if let Some(limit) = request.number("limit")? {
        aggregate = aggregate.limit(limit);
    }
    let all = |values: &[Value]| values.iter().map(shown).collect::<Vec<_>>();
    let groups = client.aggregate(&aggregate).await?;
    let groups = groups.iter().map(|group| json!({"group": all(&group.group), "values": all(&group.values)}));
    Ok(json!({"groups": groups.collect::<Vec<_>>()}))
}

async fn open_watch(client: &Client, request: &Json) -> Outcome<Changes> {
    let mut watch = client.watch(&query(request.part("query")?)?);
    if request.flag("initial") {
        watch = watch.initial();
    }
    if let Some(token) = request["token"].as_str() {
        watch = watch.after(bytes_of(token)?);
    }
    Ok(watch.await?)
}

async fn fill(client: &Client, request: &Json) -> Outcome<Json> {
    let count = request.number("count")?.unwrap_or_default();
    let bytes = vec![b'x'; usize::try_from(request.number("value_bytes")?.unwrap_or_default()).unwrap_or_default()];
    let prefix = request.text("prefix")?;
    let writes = (0..count).map(|number| Write::put(format!("{prefix}/{number:08}"), bytes.clone()));
    let mut writes = writes.peekable();
    while writes.peek().is_some() {
        let part = writes.by_ref().take(10_000).collect::<Result<Vec<_>>>()?;
        client.batch_write(part).await.into_iter().collect::<Result<Vec<_>>>()?;
    }
    Ok(json!({}))
}
