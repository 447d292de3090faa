//! Statements that are cancelled, take too long, or lose their client; and clients that do not
//! read.

use crate::{House, client::Client};

/// Takes longer than any test.
const ENDLESS: &str = "select count(*) from generate_series(1, 10000000) a, \
                       generate_series(1, 10000000) b where a.value * b.value % 7 = 8";
/// More rows than fit in any buffer.
const MANY: &str = "select value, repeat('x', 100) from generate_series(1, 100000000)";

async fn cancel(house: &House, process: i32, secret: i32) {
    let mut other = Client::raw(&house.server);
    let packet = [16_i32, 80_877_102, process, secret];
    other.bytes(&packet.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()).await;
    assert_eq!(other.answer().await.kinds, "", "a cancel request has no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_by_its_secret_only() {
    let house = House::new().await;
    let mut client = house.connect().await;
    let (process, secret) = (client.process, client.secret);
    client.ask(ENDLESS).await;
    cancel(&house, process, secret ^ 1).await;
    let answer = loop {
        // The statement may not run yet when the first request comes.
        cancel(&house, process, secret).await;
        let answer = tokio::time::timeout(std::time::Duration::from_millis(20), client.answer());
        if let Ok(answer) = answer.await {
            break answer;
        }
    };
    assert_eq!((answer.state(), answer.status), ("57014", 'I'));
    assert_eq!(client.query("select 1").await.texts(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_ends() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.query("set statement_timeout = '20ms'").await;
    let answer = client.query(ENDLESS).await;
    assert_eq!((answer.state(), answer.status), ("57014", 'I'));
    client.query("reset statement_timeout").await;
    assert_eq!(client.query("select 1").await.texts(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_its_place_to_others() {
    let house = House::with(1).await;
    let mut other = house.connect().await;
    for sql in [ENDLESS, MANY] {
        let mut client = house.connect().await;
        client.ask(sql).await;
        // Not by asking for the one place: then it might be the client that is refused.
        while house.engine.places_taken() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(other.query("select 1").await.state(), "53300");
        drop(client);
        while other.query("select 1").await.state() == "53300" {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_a_client_that_does_not_read() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.ask(MANY).await;
    // It cannot have gone far: what is on the way is little.
    let (process, secret) = (client.process, client.secret);
    let mut first = client.next().await;
    assert!(first.take().is_some());
    cancel(&house, process, secret).await;
    let answer = client.answer().await;
    assert_eq!(answer.state(), "57014");
    assert!(answer.rows.len() < 100_000, "{} rows", answer.rows.len());
    assert_eq!(client.query("select 1").await.texts(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_holds_its_place_until_its_time_is_up() {
    let house = House::with(1).await;
    let mut client = house.connect().await;
    client.query("set statement_timeout = '50ms'").await;
    client.query("begin").await;
    client.parse("p", "select value from generate_series(1, 1000000)", &[]).await;
    client.bind("p", 0, &[], 0).await;
    client.execute("p", 1).await;
    assert_eq!(client.sync().await.kinds, "12DsZ");
    let mut other = house.connect().await;
    while other.query("select 1").await.state() == "53300" {
        tokio::task::yield_now().await;
    }
    client.execute("p", 1).await;
    assert_eq!(client.sync().await.state(), "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_on_queries_is_the_engines() {
    let house = House::with(1).await;
    let mut client = house.connect().await;
    let held = house.engine.query("select 1").await.unwrap();
    assert_eq!(client.query("select 1").await.state(), "53300");
    drop(held);
    assert_eq!(client.query("select 1").await.texts(), ["1"]);
}
