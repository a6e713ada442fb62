//! Measurements: the client against the bare generated stub, used as plainly as possible.

use std::time::{Duration, Instant};

use datastore_client::{
    Client, Query,
    proto::datastore::v1::{
        GetRequest, Key, Query as QueryMessage, QueryRequest, QueryScope,
        datastore_service_client::DatastoreServiceClient,
    },
};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::notation::{Fault, Outcome, Parts};

/// Longer than any measurement.
const TIMEOUT: Duration = Duration::from_secs(3600);

pub async fn query(request: &Json) -> Outcome<Json> {
    let (address, key) = (request.text("address")?, request.text("key")?);
    let is_stub = request.text("through")? == "stub";
    let begun = Instant::now();
    let entries = if is_stub { stub_query(address, key).await? } else { client_query(address, key).await? };
    Ok(json!({"entries": entries, "seconds": begun.elapsed().as_secs_f64()}))
}

async fn client_query(address: &str, key: &str) -> Outcome<usize> {
    let client = Client::connect(address)?;
    let mut entries = client.query(&Query::new(key)?.recursive())?;
    let mut count = 0;
    while let Some(entry) = entries.next().await {
        entry?;
        count += 1;
    }
    Ok(count)
}

async fn stub_query(address: &str, key: &str) -> Outcome<usize> {
    let mut stub = DatastoreServiceClient::new(channel(address)?);
    let scope = QueryScope::Recursive.into();
    let query = QueryMessage { key: Some(Key { text: key.to_owned() }), scope, ..QueryMessage::default() };
    let request = QueryRequest { query: Some(query), ..QueryRequest::default() };
    let mut responses = stub.query(request).await.map_err(failed)?.into_inner();
    let mut count = 0;
    while let Some(response) = responses.message().await.map_err(failed)? {
        count += response.entries.len();
    }
    Ok(count)
}

pub async fn get(request: &Json) -> Outcome<Json> {
    let (address, key) = (request.text("address")?, request.text("key")?);
    let at_once = request.number("in_flight")?.unwrap_or(1).max(1);
    let calls = request.number("calls")?.unwrap_or_default() / at_once;
    let is_stub = request.text("through")? == "stub";
    let client = Client::builder(address).timeout(TIMEOUT).connect()?;
    let stub = DatastoreServiceClient::new(channel(address)?);
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..at_once {
        let (client, stub, key) = (client.clone(), stub.clone(), key.to_owned());
        readers.spawn(async move {
            if is_stub { stub_gets(stub, key, calls).await } else { client_gets(client, key, calls).await }
        });
    }
    readers.join_all().await.into_iter().collect::<Outcome<()>>()?;
    Ok(json!({"seconds": begun.elapsed().as_secs_f64()}))
}

async fn client_gets(client: Client, key: String, calls: u64) -> Outcome<()> {
    for _ in 0..calls {
        client.get(&key).await?;
    }
    Ok(())
}

async fn stub_gets(mut stub: DatastoreServiceClient<Channel>, key: String, calls: u64) -> Outcome<()> {
    for _ in 0..calls {
        let request = GetRequest { key: Some(Key { text: key.clone() }), include_metadata: false };
        stub.get(request).await.map_err(failed)?;
    }
    Ok(())
}

fn channel(address: &str) -> Outcome<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
    Ok(endpoint.connect_lazy())
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::Unsupported(format!("the stub failed: {error}"))
}

pub fn memory() -> Json {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    json!({"rss_bytes": kilobytes.unwrap_or_default() * 1024})
}
