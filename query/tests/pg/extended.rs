//! The extended protocol: prepared statements, parameters, portals.

use crate::House;

const INT8: u32 = 20;
const FLOAT8: u32 = 701;
const TEXT: u32 = 25;
const TEXT_ARRAY: u32 = 1009;

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_described_and_run_in_binary() {
    let house = House::new().await;
    house.numbers(0, 10).await;
    let mut client = house.connect().await;
    client.parse("s", "select n, n / 2.0 as half from t where n > $1 order by n", &[]).await;
    client.target(b'D', b'S', "s").await;
    let answer = client.sync().await;
    assert_eq!(answer.kinds, "1tTZ");
    assert_eq!(answer.parameter_types, [INT8]);
    assert_eq!(answer.columns, [("n".to_owned(), INT8), ("half".to_owned(), FLOAT8)]);

    client.bind("s", 1, &[Some(&7_i64.to_be_bytes())], 1).await;
    client.target(b'D', b'P', "s").await;
    client.execute("s", 0).await;
    let answer = client.sync().await;
    assert_eq!(answer.kinds, "2TDCZ");
    let row =
        |n: i64, half: f64| vec![Some(n.to_be_bytes().to_vec()), Some(half.to_be_bytes().to_vec())];
    assert_eq!(answer.rows, [row(8, 4.0), row(9, 4.5)]);
    assert_eq!(answer.tags, ["SELECT 2"]);

    client.bind("s", 0, &[Some(b"8")], 0).await;
    client.execute("s", 0).await;
    assert_eq!(client.sync().await.texts(), ["9|4.5"]);
    client.bind("s", 0, &[None], 0).await;
    client.execute("s", 0).await;
    assert_eq!(client.sync().await.tags, ["SELECT 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_sees_what_is_there_when_it_runs() {
    let house = House::new().await;
    house.numbers(0, 1).await;
    let mut client = house.connect().await;
    client.parse("s", "select count(*) from t", &[]).await;
    for count in 1..4_i64 {
        client.bind("s", 0, &[], 0).await;
        client.execute("s", 0).await;
        assert_eq!(client.sync().await.texts(), [count.to_string()]);
        house.numbers(count, count + 1).await;
    }
    client.parse("w", "select * from t", &[]).await;
    client.sync().await;
    house.lake.produce(0, &[r#"{"n":9,"more":true}"#]).await;
    client.bind("w", 0, &[], 0).await;
    client.execute("w", 0).await;
    assert_eq!(client.sync().await.state(), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_the_types_that_clients_name_or_statements_show() {
    let house = House::new().await;
    house.lake.produce(0, &[r#"{"n":1,"s":"a"}"#, r#"{"n":2,"s":"b"}"#]).await;
    let mut client = house.connect().await;
    for (sql, hints, types, values, expected) in [
        ("select $1", &[][..], &[TEXT][..], &["x"][..], "x"),
        ("select $1", &[INT8], &[INT8], &["7"], "7"),
        ("select $1::bigint + 1", &[], &[INT8], &["7"], "8"),
        ("select n from t where s = $1", &[], &[TEXT], &["b"], "2"),
        ("select n from t where s = any($1)", &[TEXT_ARRAY], &[TEXT_ARRAY], &["{b,c}"], "2"),
        ("select n from t where s = any($1)", &[], &[TEXT_ARRAY], &["{b,c}"], "2"),
        ("select n from t where n < $1", &[FLOAT8], &[FLOAT8], &["1.5"], "1"),
        ("select n from t order by n limit $1", &[], &[INT8], &["1"], "1"),
    ] {
        client.parse("", sql, hints).await;
        client.target(b'D', b'S', "").await;
        let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
        client.bind("", 0, &values, 0).await;
        client.execute("", 0).await;
        let answer = client.sync().await;
        assert_eq!(answer.errors, [], "{sql}");
        assert_eq!(answer.parameter_types, types, "{sql}");
        assert_eq!(answer.texts(), [expected], "{sql}");
    }
    client.parse("", "select n from t where n = $1", &[]).await;
    client.bind("", 0, &[Some(b"x")], 0).await;
    assert_eq!(client.sync().await.state(), "22P02");
    client.parse("", "select n from t where n = $1", &[]).await;
    client.bind("", 0, &[], 0).await;
    assert_eq!(client.sync().await.state(), "08P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_gives_its_rows_piece_by_piece() {
    let house = House::new().await;
    house.numbers(0, 5).await;
    let mut client = house.connect().await;
    client.parse("p", "select n from t order by n", &[]).await;
    client.bind("p", 0, &[], 0).await;
    client.execute("p", 2).await;
    client.execute("p", 2).await;
    client.execute("p", 2).await;
    client.execute("p", 2).await;
    let answer = client.sync().await;
    assert_eq!(answer.kinds, "12DsDsDCCZ");
    assert_eq!(answer.texts(), ["0", "1", "2", "3", "4"]);
    assert_eq!(answer.tags, ["SELECT 1", "SELECT 0"]);
    // Without a transaction block a portal ends with Sync; within one it does not.
    client.execute("p", 2).await;
    assert_eq!(client.sync().await.state(), "34000");
    client.query("begin").await;
    client.bind("p", 0, &[], 0).await;
    client.execute("p", 4).await;
    assert_eq!(client.sync().await.kinds, "2DsZ");
    house.numbers(5, 9).await;
    client.execute("p", 4).await;
    assert_eq!(client.sync().await.texts(), ["4"]);
    client.query("commit").await;
    client.execute("p", 4).await;
    assert_eq!(client.sync().await.state(), "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_everything_up_to_sync_is_skipped() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.parse("", "select nothing from t", &[]).await;
    client.bind("", 0, &[], 0).await;
    client.execute("", 0).await;
    let answer = client.sync().await;
    assert_eq!((answer.kinds.as_str(), answer.state()), ("EZ", "42703"));
    client.parse("", "select 1; select 2", &[]).await;
    assert_eq!(client.sync().await.state(), "42601");
    client.parse("", "insert into t values (1)", &[]).await;
    assert_eq!(client.sync().await.state(), "25006");
    client.parse("", "", &[]).await;
    client.bind("", 0, &[], 0).await;
    client.target(b'D', b'P', "").await;
    client.execute("", 0).await;
    assert_eq!(client.sync().await.kinds, "12nIZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_closed_and_their_names_free_again() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.parse("s", "begin", &[]).await;
    client.bind("s", 0, &[], 0).await;
    client.execute("s", 0).await;
    let answer = client.sync().await;
    assert_eq!((answer.tags.join(","), answer.status), ("BEGIN".to_owned(), 'T'));
    client.target(b'C', b'P', "s").await;
    client.target(b'C', b'S', "s").await;
    client.target(b'C', b'S', "never").await;
    client.parse("s", "copy (select 1) to stdout", &[]).await;
    client.bind("s", 0, &[], 0).await;
    client.execute("s", 0).await;
    let answer = client.sync().await;
    assert_eq!((answer.kinds.as_str(), answer.copied.as_slice()), ("33312HdcCZ", &b"1\n"[..]));
    client.parse("s", "select 1", &[]).await;
    let answer = client.sync().await;
    assert_eq!((answer.state(), answer.status), ("42P05", 'E'));
}
