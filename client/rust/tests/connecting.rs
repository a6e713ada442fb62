//! What a client says of servers that it cannot talk to. The servers are sockets.

use std::time::Duration;

use datastore_client::{Client, Error, Reason};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// The address of a server that reads a little, answers with these bytes, and closes each connection.
async fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 1024]).await.is_ok_and(|count| count == 0) {
                continue;
            }
            stream.write_all(answer).await.ok();
            stream.shutdown().await.ok();
        }
    });
    address
}

/// An address at which nothing listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn failure(client: &Client) -> Error {
    client.get("/a").await.unwrap_err()
}

#[tokio::test]
async fn an_address_without_a_server_is_named() {
    let address = nowhere().await;
    let error = failure(&Client::connect(address.as_str()).unwrap()).await;
    assert_eq!(error.reason(), Reason::Unavailable);
    assert_eq!(error.to_string(), format!("cannot connect to grpc://{address} (connection refused)"));
    assert!(!error.is_outcome_unknown() && !error.may_repeat());
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named() {
    for (answer, words) in [
        (&b"\x15\x03\x03\x00\x02\x02\x0a"[..], "uses TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1"),
        (b"", "with TLS its address begins with grpcs:"),
    ] {
        let error = failure(&Client::connect(server(answer).await).unwrap()).await;
        assert_eq!(error.reason(), Reason::Unavailable);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let address = server(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    let error = failure(&Client::connect(format!("grpcs://{address}")).unwrap()).await;
    assert!(error.to_string().contains("does not use TLS"), "{error}");
}

#[tokio::test]
async fn all_addresses_are_tried_and_named() {
    let (first, second) = (nowhere().await, nowhere().await);
    let client = Client::builder(first.as_str()).address(second.as_str()).connect().unwrap();
    let error = failure(&client).await.to_string();
    assert!(error.contains(&first) && error.contains(&second), "{error}");
}

#[tokio::test]
async fn a_closed_client_refuses_calls() {
    let client = Client::connect(nowhere().await).unwrap();
    client.clone().close();
    assert_eq!(failure(&client).await.reason(), Reason::DatastoreClosed);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let reason = |builder: datastore_client::Builder| builder.connect().unwrap_err().reason();
    for address in ["", "7420", "http://a:1", "a:b", "a:0", "a:65536", "::1", "[::1", "a b:1"] {
        assert_eq!(reason(Client::builder(address)), Reason::Config, "{address:?}");
    }
    assert_eq!(reason(Client::builder("a").token("secret")), Reason::Config);
    assert_eq!(reason(Client::builder("localhost").token("two words")), Reason::Config);
    assert_eq!(reason(Client::builder("grpcs://a").ca("/does/not/exist")), Reason::Config);
    assert_eq!(reason(Client::builder("a").ca("ca.pem")), Reason::Config);
    assert_eq!(reason(Client::builder("a").timeout(Duration::ZERO)), Reason::Invalid);
    assert_eq!(reason(Client::builder("a").retry(false).retry_writes(true)), Reason::Invalid);
    assert!(Client::builder("a").token("secret").insecure(true).connect().is_ok());
    let several = Client::connect("a:1,b:2").unwrap_err().to_string();
    assert!(several.contains("address()"), "{several}");
    assert!(Client::builder("[::1]").token("a.b-c").connect().is_ok());
}
