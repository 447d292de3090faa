//! Clauses found and taken out, and everything else left alone.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::statement::statements;

/// A statement with the clauses folded into names, as text.
fn folded(sql: &str) -> String {
    let statements = statements(sql).unwrap();
    statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn state(sql: &str) -> &'static str {
    statements(sql).unwrap_err().sql_state()
}

#[test]
fn clauses_become_names_of_tables() {
    for (sql, expected) in [
        (
            "select n from T version as of 3 where n > 1",
            r#"SELECT n FROM "t@version=3" AS "t" WHERE n > 1"#,
        ),
        (
            "select x.n from public.\"My.T\" VERSION AS OF 0 x",
            r#"SELECT x.n FROM public."My.T@version=0" x"#,
        ),
        (
            "select * from t at least /* read mine */ offset '0:12, 3:4' as x",
            r#"SELECT * FROM "t@at_least=0:12, 3:4" AS x"#,
        ),
        (
            "select * from t as of offset '0:12' limit 1 offset 2",
            r#"SELECT * FROM "t@offset=0:12" AS "t" LIMIT 1 OFFSET 2"#,
        ),
        (
            "with a as (select * from t timestamp as of '2026-11-26T10:00:00Z') select * from a",
            r#"WITH a AS (SELECT * FROM "t@timestamp=2026-11-26T10:00:00Z" AS "t") SELECT * FROM a"#,
        ),
        (
            "select count(*) from t version as of 1 a join t version as of 2 b using (k), t version as of 3",
            r#"SELECT count(*) FROM "t@version=1" a JOIN "t@version=2" b USING(k), "t@version=3" AS "t""#,
        ),
        (
            "select * from t for version as of 3, u for timestamp as of timestamp '2026-11-26' x",
            r#"SELECT * FROM "t@version=3" AS "t", "u@timestamp=2026-11-26" x"#,
        ),
        (
            "explain select (select max(n) from t version as of 1)",
            r#"EXPLAIN SELECT (SELECT max(n) FROM "t@version=1" AS "t")"#,
        ),
    ] {
        assert_eq!(folded(sql), expected, "{sql}");
    }
}

#[test]
fn nothing_else_is_touched() {
    for sql in [
        "SELECT 't VERSION AS OF 3' FROM t",
        "SELECT a AS version, b AS timestamp FROM t AS of",
        "SELECT version AS of FROM t LIMIT 3 OFFSET 1",
        r#"SELECT "x VERSION AS OF 3" FROM t"#,
        "SELECT timestamp FROM t AS version",
    ] {
        assert_eq!(folded(sql), sql);
    }
    assert_eq!(folded("select 1 -- from t version as of 3"), "SELECT 1");
    assert_eq!(folded("select $$t version as of 3$$"), "SELECT $$t version as of 3$$");
}

#[test]
fn what_is_wrong_with_a_clause_is_said() {
    for sql in [
        "select * from t x version as of 3",
        "select * from t as x version as of 3",
        "select * from version as of 3",
        "select * from (select 1) version as of 3",
        "select * from f(1) as of offset '0:1'",
        "version as of 3",
    ] {
        let error = statements(sql).unwrap_err();
        assert!(error.to_string().contains("behind the name of a table"), "{sql}: {error}");
        assert_eq!(error.sql_state(), "42601");
    }
    assert_eq!(state("select * from t timestamp as of 'yesterday'"), "22023");
    assert_eq!(state("select * from t version as of 1.5"), "22023");
    for offsets in ["", "7", "0", "0:-1", "0:1,0:2", "-1:3", "a:b", "0:1,"] {
        assert_eq!(state(&format!("select * from t as of offset '{offsets}'")), "22023");
    }
}

#[test]
fn moments_are_read_from_names() {
    assert_eq!(Travel::of("t").unwrap(), ("t", None));
    let offsets = Offsets::from([(0, 12), (3, 4)]);
    let below = Travel::Below(offsets.clone());
    assert_eq!(Travel::of("my.t@offset=0:12, 3:4").unwrap(), ("my.t", Some(below)));
    assert_eq!(Written(&offsets).to_string(), "0:12,3:4");
    let text = "2026-11-26 11:00:00+01:00".to_owned();
    let time = Travel::Time { ms: 1_795_687_200_000, text: text.clone() };
    assert_eq!(Travel::of(&format!("t@timestamp={text}")).unwrap(), ("t", Some(time)));
    assert!(Travel::of("t@v3").is_err());
}

#[test]
fn waits_are_found_wherever_they_are() {
    let sql = "explain select * from a at least offset '0:1' where n in (select n from \
               other.B at least offset '1:2') and n in (select n from \"S\".c at least offset '0:3')";
    let mut found = Vec::new();
    for statement in statements(sql).unwrap() {
        found.extend(waits(&statement).unwrap());
    }
    let found: Vec<_> =
        found.iter().map(|(table, offsets)| (table.to_string(), offsets.clone())).collect();
    let expected = [
        ("a".to_owned(), Offsets::from([(0, 1)])),
        ("other.b".to_owned(), Offsets::from([(1, 2)])),
        ("S.c".to_owned(), Offsets::from([(0, 3)])),
    ];
    assert_eq!(found, expected);
}

#[test]
fn conditions_on_offsets_name_what_is_there() {
    let progress = Offsets::from([(0, 10), (1, 10), (2, 10)]);
    let all = Offsets::from([(0, 10), (1, 11), (2, 10)]);
    assert_eq!(only(&progress, &all), None);
    let some = only(&progress, &Offsets::from([(0, 10), (2, 5)])).unwrap().to_string();
    assert_eq!(
        some,
        "kafka_partition = Int32(0) AND kafka_offset < Int64(10) OR kafka_partition = Int32(2) \
         AND kafka_offset < Int64(5)"
    );
    assert_eq!(only(&progress, &Offsets::new()), Some(lit(false)));
}
