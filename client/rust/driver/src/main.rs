//! The driver of the suite in tests/clients: answers requests on standard input, one JSON object a line.

mod bench;
mod notation;
mod operations;
mod pure;

use std::error::Error;

use notation::{Fault, error};
use operations::Driver;
use serde::Deserialize;
use serde_json::{Deserializer, Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut driver = Driver::default();
    let mut lines = BufReader::new(stdin()).lines();
    let mut out = stdout();
    while let Some(line) = lines.next_line().await? {
        let request = parsed(&line)?;
        let mut response = match driver.answer(&request).await {
            Ok(result) => json!({ "result": result }),
            Err(Fault::Error(failure)) => json!({"error": error(&failure)}),
            Err(Fault::Unsupported(why)) => json!({ "unsupported": why }),
        };
        response["id"] = request["id"].clone();
        out.write_all(format!("{response}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

/// A request. Those for values that are nested too deeply are deeper than parsers allow.
fn parsed(line: &str) -> serde_json::Result<Json> {
    let mut deserializer = Deserializer::from_str(line);
    deserializer.disable_recursion_limit();
    Json::deserialize(&mut deserializer)
}
