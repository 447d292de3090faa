//! The simple protocol: messages of SQL, transaction blocks, settings, COPY.

use crate::House;

#[tokio::test(flavor = "multi_thread")]
async fn records_are_seen_at_once() {
    let house = House::new().await;
    let mut client = house.connect().await;
    for round in 1..4 {
        house.numbers((round - 1) * 10, round * 10).await;
        let answer = client.query("select count(*), sum(n), max(kafka_offset) from t").await;
        let (count, last) = (round * 10, round * 10 - 1);
        assert_eq!(answer.texts(), [format!("{count}|{}|{last}", count * last / 2)]);
        let names: Vec<_> = answer.columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["count", "sum", "max"]);
        assert_eq!((answer.kinds.as_str(), answer.tags[0].as_str()), ("TDCZ", "SELECT 1"));
    }
    house.lake.caught_up(&house.running).await;
    assert_eq!(client.query("select count(*) from other.public.t").await.state(), "42P01");
    assert_eq!(client.query("select count(*) from \"any\".public.t").await.texts(), ["30"]);
    let then = client.query("select count(*) from t as of offset '0:12'").await;
    assert_eq!(then.texts(), ["12"]);
    // As when the log has nothing that the table does not have.
    let sorted =
        client.query("select n from t order by kafka_partition, kafka_offset limit 1").await;
    assert_eq!(sorted.texts(), ["0"]);
    assert_eq!(client.query("select count(*) from public.t").await.texts(), ["30"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_of_a_message_has_its_answer_until_one_fails() {
    let house = House::new().await;
    let mut client = house.connect().await;
    let answer = client.query("select 1 as a; select 2, 3; select 'x'").await;
    assert_eq!((answer.kinds.as_str(), answer.texts().join(",")), ("TDCTDCTDCZ", "1,2|3,x".into()));
    let answer = client.query("select 1; select nothing from t; select 3").await;
    assert_eq!((answer.kinds.as_str(), answer.texts().join(",")), ("TDCEZ", "1".into()));
    assert_eq!((answer.state(), answer.status), ("42703", 'I'));
    assert_eq!(client.query("").await.kinds, "IZ");
    assert_eq!(client.query("-- nothing\n;").await.kinds, "IZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_and_where() {
    let house = House::new().await;
    house.numbers(0, 1).await;
    let mut client = house.connect().await;
    for (sql, state, position) in [
        ("selec 1", "42601", Some(1)),
        ("select n,\n  'ä', nothing from t", "42703", Some(18)),
        ("select * from nowhere", "42P01", Some(15)),
        ("select nofunction(1)", "42883", None),
        ("select 1/0", "22012", None),
        ("select 'x'::int", "22P02", None),
        ("insert into t values (1)", "25006", None),
        ("create table x (a int)", "25006", None),
        ("select 1; drop table t", "25006", None),
        ("copy t from stdin", "25006", None),
        ("set nonsense = 1", "42704", None),
    ] {
        let answer = client.query(sql).await;
        assert_eq!(answer.state(), state, "{sql}: {:?}", answer.errors);
        assert_eq!(answer.errors[0].severity, "ERROR");
        if position.is_some() {
            assert_eq!(answer.errors[0].position, position, "{sql}: {:?}", answer.errors);
        }
        assert_eq!(client.query("select 1").await.texts(), ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_block_is_a_bracket() {
    let house = House::new().await;
    let mut client = house.connect().await;
    for (sql, tag, status) in [
        ("begin transaction isolation level repeatable read read only", "BEGIN", 'T'),
        ("select 1", "SELECT 1", 'T'),
        ("savepoint a", "SAVEPOINT", 'T'),
        ("commit", "COMMIT", 'I'),
        ("start transaction", "BEGIN", 'T'),
    ] {
        let answer = client.query(sql).await;
        assert_eq!((answer.tags.join(","), answer.status), (tag.to_owned(), status), "{sql}");
    }
    assert_eq!(client.query("select nothing").await.status, 'E');
    let answer = client.query("select 1").await;
    assert_eq!((answer.state(), answer.status), ("25P02", 'E'));
    assert_eq!(client.query("rollback to savepoint a").await.status, 'T');
    assert_eq!(client.query("delete from t").await.status, 'E');
    let answer = client.query("commit").await;
    assert_eq!((answer.tags.join(","), answer.status), ("ROLLBACK".to_owned(), 'I'));
    assert_eq!(client.query("abort").await.tags, ["ROLLBACK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_kept_shown_and_told() {
    let house = House::new().await;
    let mut client = house.connect().await;
    let answer = client.query("set timezone = 'America/New_York'").await;
    assert_eq!((answer.kinds.as_str(), answer.tags[0].as_str()), ("SCZ", "SET"));
    let told = client.parameters.last().unwrap().clone();
    assert_eq!(told, ("TimeZone".to_owned(), "America/New_York".to_owned()));
    house.numbers(0, 1).await;
    let answer = client.query("select kafka_timestamp from t").await;
    assert!(answer.texts()[0].ends_with("-05") || answer.texts()[0].ends_with("-04"));
    let shown = client.query("select current_setting('TimeZone'), current_user").await;
    assert_eq!(shown.texts(), ["America/New_York|me"]);
    client.query("select set_config('application_name', 'mine', false)").await;
    assert_eq!(client.query("show application_name").await.texts(), ["mine"]);
    assert!(client.query("show all").await.rows.len() > 20);
    assert_eq!(client.query("show nonsense").await.state(), "42704");
    assert_eq!(client.query("discard all").await.tags, ["DISCARD ALL"]);
    assert_eq!(client.query("show timezone").await.texts(), ["UTC"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_prepared_in_sql_too() {
    let house = House::new().await;
    house.numbers(0, 5).await;
    let mut client = house.connect().await;
    assert_eq!(
        client.query("prepare p (bigint) as select n from t where n >= $1 order by n").await.tags,
        ["PREPARE"]
    );
    assert_eq!(client.query("execute p (1 + 2)").await.texts(), ["3", "4"]);
    assert_eq!(client.query("execute p").await.state(), "08P01");
    assert_eq!(client.query("prepare p as select 1").await.state(), "42P05");
    assert_eq!(client.query("deallocate p").await.tags, ["DEALLOCATE"]);
    assert_eq!(client.query("execute p (1)").await.state(), "26000");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_fetch_a_part_at_a_time() {
    let house = House::new().await;
    house.numbers(0, 5).await;
    let mut client = house.connect().await;
    let declare = "declare c cursor for select n from t order by n";
    assert_eq!(client.query(declare).await.state(), "25P01");
    client.query("begin").await;
    assert_eq!(client.query(declare).await.tags, ["DECLARE CURSOR"]);
    let answer = client.query("fetch 2 from c").await;
    assert_eq!((answer.texts().join(","), answer.tags.join(",")), ("0,1".into(), "FETCH 2".into()));
    house.numbers(5, 9).await;
    assert_eq!(client.query("fetch forward all in c").await.texts(), ["2", "3", "4"]);
    assert_eq!(client.query("fetch next from c").await.tags, ["FETCH 0"]);
    assert_eq!(client.query("close c").await.tags, ["CLOSE CURSOR"]);
    assert_eq!(client.query("fetch 1 from c").await.state(), "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_show_have_their_tags() {
    let house = House::new().await;
    let mut client = house.connect().await;
    let answer = client.query("explain select * from t").await;
    assert_eq!(answer.tags, ["EXPLAIN"]);
    assert!(!answer.rows.is_empty());
    assert_eq!(client.query("show server_version_num").await.tags, ["SHOW"]);
    assert_eq!(client.query("show tables").await.tags, ["SHOW"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_out_as_files() {
    let house = House::new().await;
    let values = [r#"{"n":1,"s":"a\tb"}"#, r#"{"n":2,"s":null}"#];
    house.lake.produce(0, &values).await;
    let mut client = house.connect().await;
    let copied = client.query("copy (select n, s from t order by n) to stdout").await;
    assert_eq!(copied.kinds, "HdcCZ");
    assert_eq!(String::from_utf8(copied.copied).unwrap(), "1\ta\\tb\n2\t\\N\n");
    assert_eq!(copied.tags, ["COPY 2"]);
    let copied = client.query("copy t (n) to stdout with (format csv, header)").await;
    assert_eq!(String::from_utf8(copied.copied).unwrap(), "n\n1\n2\n");
    let copied = client.query("copy (select 7::bigint) to stdout (format \"binary\")").await;
    assert_eq!(&copied.copied[..11], b"PGCOPY\n\xff\r\n\0");
    assert_eq!(&copied.copied[19..], [0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_be_a_text() {
    let house = House::new().await;
    house.numbers(0, 5).await;
    let mut client = house.connect().await;
    assert_eq!(
        client.query("select count(*) from t where n = any('{1,3,9}')").await.texts(),
        ["2"]
    );
    let answer = client.query("select count(*) from t where n = any('{x}')").await;
    assert_eq!(answer.state(), "22P02");
}
