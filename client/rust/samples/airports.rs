//! Imports a CSV of airports, prints the highest ones, and watches one change.
//!
//! Usage: `airports ADDRESS CSV`, with the columns of airportsdata: icao,iata,name,city,subd,country,elevation,lat,lon.

use std::{env, error::Error, fs};

use datastore_client::{Client, Patch, Query, Value, Write, field};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, csv] = arguments.as_slice() else { return Err("usage: airports ADDRESS CSV".into()) };
    let client = Client::connect(address.as_str())?;

    let text = fs::read_to_string(csv)?;
    let mut rows = text.lines().map(fields);
    let names = rows.next().ok_or("the CSV is empty")?;
    let writes = rows.map(|row| airport(&names, row)).collect::<Result<Vec<_>, _>>()?;
    let count = writes.len();
    client.batch_write(writes).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("imported {count} airports");

    let airports = Query::new("/Airport")?;
    let highest = airports.clone().filter(field("country").eq("CH")).order("-elevation").limit(5);
    let mut entries = client.query(&highest)?;
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        let elevation = entry.get("elevation").and_then(Value::as_int).unwrap_or_default();
        println!("{} {elevation} {}", entry.key, entry.get("name").and_then(Value::as_str).unwrap_or_default());
    }
    println!("found {}", entries.summary().map_or(0, |summary| summary.entries));

    let mut changes = client.watch(&airports).await?;
    client.patch("/Airport:LSZS", Patch::new().set("visited", true)).await?;
    if let Some(batch) = changes.next().await {
        println!("changed {}", batch?.changes[0].key);
    }
    Ok(())
}

/// The write of an airport: its elevation and place are numbers, the rest is text.
fn airport(names: &[String], row: Vec<String>) -> datastore_client::Result<Write> {
    let key = format!("/Airport:{}", row[0]);
    let members = names.iter().zip(row).map(|(name, text)| {
        let value = match name.as_str() {
            "elevation" => text.parse::<i64>().map(Value::from).ok(),
            "lat" | "lon" => text.parse::<f64>().map(Value::from).ok(),
            _ => None,
        };
        (name, value.unwrap_or_else(|| text.into()))
    });
    Write::put(key, Value::map(members))
}

/// The fields of a line of CSV. Those in quotes may have commas; a quote in them is written twice.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}
