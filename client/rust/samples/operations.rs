//! The same twelve operations in every language: docs/clients.md shows them side by side.
//!
//! Usage: `operations ADDRESS`.

use std::{env, error::Error, time::Duration};

use datastore_client::{Aggregate, Client, Condition, Key, Patch, Query, Value, Write, field, map};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: operations ADDRESS")?;

    // [connect]
    let client = Client::connect(address)?;
    // [/connect]

    // [put]
    let samedan = map! { "name" => "Samedan", "code" => "LSZS", "country" => "CH", "elevation" => 5600 };
    client.put("/Airport:LSZS", samedan.clone()).await?;
    println!("put /Airport:LSZS");
    // [/put]

    // [get]
    if let Some(value) = client.get("/Airport:LSZS").await? {
        println!("get {}", value.get("name").and_then(Value::as_str).unwrap_or_default());
    }
    // [/get]

    // [delete]
    client.put("/Airport:XXXX", map! { "name" => "Nowhere" }).await?;
    client.delete("/Airport:XXXX").await?;
    println!("delete {}", client.contains("/Airport:XXXX").await?);
    // [/delete]

    // [batch_write]
    let zurich = map! { "name" => "Zurich", "code" => "LSZH", "country" => "CH", "elevation" => 1416 };
    let frankfurt = map! { "name" => "Frankfurt", "code" => "EDDF", "country" => "DE", "elevation" => 364 };
    let results = client
        .batch_write([
            Write::put("/Airport:LSZS", samedan.clone())?,
            Write::put("/Airport:LSZH", zurich)?,
            Write::put("/Airport:EDDF", frankfurt)?,
        ])
        .await;
    println!("batch_write {}", results.iter().filter(|result| result.is_ok()).count());
    // [/batch_write]

    // [batch_get]
    let mut codes = Vec::new();
    let keys = [Key::new("/Airport:LSZH")?, Key::new("/Airport:EDDF")?, Key::new("/Airport:XXXX")?];
    for result in client.batch_get(&keys).await {
        let code = result?.and_then(|found| found.value.get("code")?.as_str().map(str::to_owned));
        codes.push(code.unwrap_or("-".to_owned()));
    }
    println!("batch_get {}", codes.join(" "));
    // [/batch_get]

    // [query]
    let query = Query::new("/Airport")?.filter(field("elevation").lt(5000)).order("-elevation").limit(2);
    let mut entries = client.query(&query)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await {
        found.push(entry?.key.to_string());
    }
    println!("query {}", found.join(" "));
    // [/query]

    // [condition]
    if let Err(error) = client.put("/Airport:LSZS", samedan.clone()).condition(Condition::Absent).await {
        println!("condition {}", error.reason());
    }
    if let Some(metadata) = client.get_with_metadata("/Airport:LSZS").await?.and_then(|found| found.metadata) {
        client.put("/Airport:LSZS", samedan.clone()).condition(Condition::Version(metadata.version)).await?;
    }
    // [/condition]

    // [patch]
    let patch = Patch::new().increment("elevation", 1);
    let patched = client.patch("/Airport:LSZS", patch).return_value().await?;
    let elevation = patched.value.as_ref().and_then(|value| value.get("elevation")?.as_int());
    println!("patch {}", elevation.unwrap_or_default());
    // [/patch]

    // [expiry]
    let stored = client.put("/Session:1", map! { "user" => "ada" }).expiry(Duration::from_secs(3600)).await?;
    println!("expiry {}", stored.is_some_and(|metadata| metadata.expire_time.is_some()));
    // [/expiry]

    // [aggregate]
    let by_country = Aggregate::new(Query::new("/Airport")?).count("airports").group_by("country");
    let mut counts = Vec::new();
    for group in client.aggregate(&by_country).await? {
        if let ([Value::String(country)], [Value::Int(count)]) = (&group.group[..], &group.values[..]) {
            counts.push(format!("{country}={count}"));
        }
    }
    println!("aggregate {}", counts.join(" "));
    // [/aggregate]

    // [watch]
    let mut changes = client.watch(&Query::new("/Airport")?).await?;
    client.put("/Airport:LSZS", samedan).await?;
    if let Some(batch) = changes.next().await {
        let change = &batch?.changes[0];
        println!("watch {} {}", change.kind, change.key);
    }
    // [/watch]
    Ok(())
}
