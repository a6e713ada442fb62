//! What a client makes of servers that do not keep to the protocol, and how it ends what is in progress. The servers
//! speak HTTP/2 as a test says.

use std::{error::Error as _, sync::Arc, time::Duration};

use bytes::Bytes;
use datastore_client::{
    Aggregate, Client, Error, Query, Reason, Value,
    proto::datastore::v1::{self as messages, value::Kind},
};
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use prost::Message;
use tokio::net::TcpListener;

/// The address of a server that answers the calls of a connection, counted from 0.
async fn server(answer: impl Fn(usize, SendResponse<Bytes>) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut calls = 0;
                while let Some(Ok((_, respond))) = connection.accept().await {
                    answer(calls, respond);
                    calls += 1;
                }
            });
        }
    });
    address
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Answers with a body and, unless there are none, trailers.
fn answer(mut respond: SendResponse<Bytes>, body: Vec<u8>, trailers: &[(&'static str, &'static str)]) {
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(body.into(), trailers.is_empty()).unwrap();
    if !trailers.is_empty() {
        stream.send_trailers(headers(trailers)).unwrap();
    }
}

/// Answers with a status alone.
fn refuse(mut respond: SendResponse<Bytes>, trailers: &[(&'static str, &'static str)]) {
    let mut response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    response.headers_mut().extend(headers(trailers));
    respond.send_response(response, true).unwrap();
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat()
}

const OK: &[(&str, &str)] = &[("grpc-status", "0")];
const NOT_BASE64: &[(&str, &str)] =
    &[("grpc-status", "7"), ("grpc-message", "not you"), ("grpc-status-details-bin", "*** not base64 ***")];

/// How a get of a client that does not retry, and a query, end.
async fn failures(address: &str) -> [Error; 2] {
    let client = Client::builder(address).retry(false).connect().unwrap();
    let query = client.query(&Query::new("/").unwrap()).unwrap().next().await;
    [client.get("/a").await.unwrap_err(), query.unwrap().unwrap_err()]
}

#[tokio::test]
async fn details_that_are_not_base64_are_ignored() {
    for address in [
        server(|_, respond| refuse(respond, NOT_BASE64)).await,
        server(|_, respond| answer(respond, Vec::new(), NOT_BASE64)).await,
    ] {
        for error in failures(&address).await {
            assert_eq!(error.reason(), Reason::PermissionDenied);
            assert!(error.to_string().contains("not you"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_corrupt() {
    for body in [vec![], vec![0, 0, 0, 0, 2, 0xff, 0xff], vec![0, 0, 0, 0, 9, 1], vec![1, 0, 0, 0, 0]] {
        let address = server(move |_, respond| answer(respond, body.clone(), OK)).await;
        let client = Client::connect(address).unwrap();
        assert_eq!(client.get("/a").await.unwrap_err().reason(), Reason::CorruptData);
    }
}

#[tokio::test]
async fn a_call_that_ends_without_a_status_was_cut() {
    let address = server(|call, respond| {
        let trailers = if call == 0 { &[] } else { OK };
        answer(respond, framed(&messages::GetResponse::default()), trailers);
    })
    .await;
    assert_eq!(Client::connect(address.as_str()).unwrap().get("/a").await.unwrap(), None);
    let address = server(|_, respond| answer(respond, Vec::new(), &[])).await;
    for error in failures(&address).await {
        assert_eq!(error.reason(), Reason::Unavailable);
    }
}

#[tokio::test]
async fn a_query_is_given_up_at_the_second_time_limit_without_progress() {
    for (limits, is_read) in [(1, true), (2, false)] {
        let address = server(move |call, respond| {
            let begun = messages::QueryResponse { resume_token: b"t".to_vec(), ..messages::QueryResponse::default() };
            let ended = messages::QueryResponse { summary: Some(messages::QuerySummary::default()), ..begun.clone() };
            match call {
                0 => answer(respond, framed(&begun), &[("grpc-status", "14")]),
                _ if call <= limits => refuse(respond, &[("grpc-status", "4")]),
                _ => answer(respond, framed(&ended), OK),
            }
        })
        .await;
        let client = Client::connect(address).unwrap();
        let end = client.query(&Query::new("/").unwrap()).unwrap().next().await;
        let reason = end.map(|entry| entry.unwrap_err().reason());
        assert_eq!(reason, (!is_read).then_some(Reason::DeadlineExceeded));
    }
}

fn nested(depth: usize) -> messages::Value {
    let innermost = messages::Value { kind: Some(Kind::Int64Value(1)) };
    (0..depth).fold(innermost, |value, _| messages::Value {
        kind: Some(Kind::ListValue(messages::ListValue { values: vec![value] })),
    })
}

#[tokio::test]
async fn an_answer_that_no_client_could_have_written_is_corrupt() {
    for (depth, is_read) in [(32, true), (33, false), (45, false)] {
        let response = messages::GetResponse { value: Some(nested(depth)), ..messages::GetResponse::default() };
        let address = server(move |_, respond| answer(respond, framed(&response), OK)).await;
        let client = Client::connect(address).unwrap();
        let found = client.get("/a").await;
        assert_eq!(found.as_ref().map_err(Error::reason).err(), (!is_read).then_some(Reason::CorruptData));
        // It has no metadata.
        let updated = client.update("/a", |_| Some(Value::from(1))).await;
        assert_eq!(updated.unwrap_err().reason(), Reason::CorruptData);
    }
    let response = messages::AggregateResponse {
        groups: vec![messages::aggregate_response::Group::default()],
        summary: Some(messages::AggregateSummary { groups: 1 }),
    };
    let address = server(move |_, respond| answer(respond, framed(&response), OK)).await;
    let aggregate = Aggregate::new(Query::new("/").unwrap()).count("n");
    let groups = Client::connect(address).unwrap().aggregate(&aggregate).await;
    assert_eq!(groups.unwrap_err().reason(), Reason::CorruptData);
}

#[tokio::test]
async fn closing_ends_what_is_in_progress() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let address = server(move |_, respond| drop(arrived.send(respond))).await;
    let client = Client::builder(address).timeout(Duration::MAX).connect().unwrap();
    let (getting, watching) = (client.clone(), client.clone());
    let get = tokio::spawn(async move { getting.get("/a").await.err() });
    let mut first = arrivals.recv().await.unwrap();
    let watch = tokio::spawn(async move { watching.watch(&Query::new("/").unwrap()).await.err() });
    let _second = arrivals.recv().await.unwrap();
    client.close();
    for call in [get, watch] {
        assert_eq!(call.await.unwrap().unwrap().reason(), Reason::DatastoreClosed);
    }
    // The call has ended at the server too.
    std::future::poll_fn(|context| first.poll_reset(context)).await.ok();
}

#[tokio::test]
async fn an_address_that_a_call_gave_up_is_not_waited_for_by_the_next() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = server(|_, respond| answer(respond, framed(&messages::GetResponse::default()), OK)).await;
    let client = Client::builder(silent.local_addr().unwrap().to_string())
        .address(live)
        .timeout(Duration::from_millis(300))
        .connect()
        .unwrap();
    assert_eq!(client.get("/a").await.unwrap_err().reason(), Reason::DeadlineExceeded);
    assert_eq!(client.get("/a").await.unwrap(), None);
}

#[tokio::test]
async fn the_cause_of_an_error_is_the_innermost_and_its_text_is_said_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(address).unwrap().get("/a").await.unwrap_err();
    let cause = error.source().unwrap();
    assert!(cause.is::<std::io::Error>() && cause.source().is_none(), "{cause:?}");
    let address = server(|_, respond| refuse(respond, &[("grpc-status", "13"), ("grpc-message", "broken")])).await;
    let error = Client::connect(address).unwrap().get("/a").await.unwrap_err();
    assert!(error.to_string().contains("broken") && error.source().is_none(), "{error:?}");
}
