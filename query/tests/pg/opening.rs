//! Connections: how they begin, and how they end.

use crate::{House, client::Client};

const SSL_REQUEST: i32 = 80_877_103;
const VERSION_3: i32 = 196_608;

#[tokio::test(flavor = "multi_thread")]
async fn anybody_comes_in_and_is_told_what_there_is() {
    let house = House::new().await;
    let client = house.connect().await;
    let told = |name: &str| {
        let found = client.parameters.iter().find(|(told, _)| told == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    assert_eq!(told("client_encoding"), "UTF8");
    assert_eq!(told("integer_datetimes"), "on");
    assert_eq!(told("standard_conforming_strings"), "on");
    assert_eq!(told("default_transaction_read_only"), "on");
    assert_eq!(told("session_authorization"), "me");
    assert!(told("server_version").starts_with("15"));
    assert!(client.process != 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_encryption_is_told_no_and_goes_on() {
    let house = House::new().await;
    let mut client = Client::raw(&house.server);
    client.startup(SSL_REQUEST, &[]).await;
    assert_eq!(client.byte().await, b'N');
    client.startup(VERSION_3, &[("user", "me")]).await;
    assert_eq!(client.answer().await.status, 'I');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_client_speaks_as_we_do() {
    let house = House::new().await;
    let mut client = Client::raw(&house.server);
    client.startup(VERSION_3 + 2, &[("user", "me"), ("_pq_.shiny", "1")]).await;
    let answer = client.answer().await;
    assert!(answer.kinds.starts_with('v'), "{}", answer.kinds);
    assert_eq!(answer.status, 'I');
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_with_the_first_packet() {
    let house = House::new().await;
    let parameters = [
        ("user", "me"),
        ("application_name", "tests"),
        ("options", "-c statement_timeout=5s --TimeZone=Asia/Tokyo"),
    ];
    let mut client = Client::connect_with(&house.server, &parameters).await;
    assert_eq!(client.query("show application_name").await.texts(), ["tests"]);
    assert_eq!(client.query("show statement_timeout").await.texts(), ["5s"]);
    assert_eq!(client.query("show timezone").await.texts(), ["Asia/Tokyo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_is_told_why() {
    let house = House::new().await;
    type Case = (i32, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 5] = [
        (VERSION_3, &[("database", "x")], "28000"),
        (131_072, &[("user", "me")], "0A000"),
        (VERSION_3, &[("user", "me"), ("replication", "database")], "0A000"),
        (VERSION_3, &[("user", "me"), ("client_encoding", "LATIN1")], "22023"),
        (VERSION_3, &[("user", "me"), ("options", "-c nonsense=1")], "42704"),
    ];
    for (version, parameters, state) in cases {
        let mut client = Client::raw(&house.server);
        client.startup(version, parameters).await;
        let answer = client.answer().await;
        assert_eq!((answer.state(), answer.status), (state, ' '), "{parameters:?}");
        assert_eq!(answer.errors[0].severity, "FATAL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_end_the_connection() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.send(b'?', b"what").await;
    let answer = client.answer().await;
    assert_eq!((answer.state(), answer.status), ("08P01", ' '));

    let mut client = house.connect().await;
    client.bytes(&[b'Q', 0x7f, 0xff, 0xff, 0xff]).await;
    let answer = client.answer().await;
    assert_eq!((answer.state(), answer.status), ("08P01", ' '));

    let mut client = house.connect().await;
    client.send(b'X', &[]).await;
    assert_eq!(client.answer().await.kinds, "");
}
