//! Rows of real batches, as sink and query get them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use bytes::Bytes;
use protocol::records::{BatchBuilder, Compression, Header};

use crate::{
    decode::{self, Decoded, Need},
    infer::Sample,
    reader::Chunk,
    rules::{KeyFormat, Rules, TableMode, ValueFormat},
    schema::{Column, ColumnType, KEY, META_COLUMNS, TableSchema},
    transform::Transform,
};

/// A record: key, value, headers.
type Sent<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a [u8], Option<&'a [u8]>)]);

fn chunk(records: &[Sent<'_>]) -> Chunk {
    let mut builder = BatchBuilder::new(Compression::Lz4(9)).base_offset(40);
    for (delta, (key, value, headers)) in (0_i32..).zip(records) {
        let headers: Vec<_> =
            headers.iter().map(|(key, value)| Header { key, value: *value }).collect();
        let timestamp_ms = 1000 + i64::from(delta);
        builder.append(delta, timestamp_ms, *key, *value, &headers).unwrap();
    }
    let bytes: Bytes = builder.build().unwrap();
    Chunk::of_batches("flights", 3, &bytes)
}

fn values(values: &[&str]) -> Chunk {
    let records: Vec<Sent<'_>> =
        values.iter().map(|value| (None, Some(value.as_bytes()), &[][..])).collect();
    chunk(&records)
}

/// The schema that the chunk itself would settle.
fn inferred(chunk: &Chunk) -> Arc<TableSchema> {
    let mut sample = Sample::default();
    decode::observe(chunk, &mut sample, usize::MAX).unwrap();
    Arc::new(sample.first_schema(ValueFormat::Json, 100))
}

fn decoded(chunk: &Chunk, schema: &Arc<TableSchema>) -> Decoded {
    decode::decode(chunk, schema).unwrap()
}

fn text(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|value| value.map(str::to_owned)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn every_row_has_what_kafka_knows_of_its_record() {
    let headers: [(&[u8], Option<&[u8]>); 3] =
        [(b"a", Some(b"1")), (b"a", None), (b"\xff", Some(b""))];
    let chunk = chunk(&[(Some(b"k"), Some(b"{\"x\":1}"), &headers), (None, None, &[])]);
    let rows = decoded(&chunk, &inferred(&chunk)).rows;
    assert_eq!(text(&rows, "kafka_topic"), [some("flights"), some("flights")]);
    let column = |name: &str| Arc::clone(rows.column_by_name(name).unwrap());
    assert_eq!(column("kafka_partition").as_primitive::<Int32Type>().values(), &[3, 3]);
    assert_eq!(column("kafka_offset").as_primitive::<Int64Type>().values(), &[40, 41]);
    let timestamps = column("kafka_timestamp");
    let timestamps = timestamps.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(timestamps.values(), &[1_000_000, 1_001_000]);
    assert_eq!(text(&rows, "kafka_timestamp_type"), [some("CreateTime"), some("CreateTime")]);
    let keys = column("kafka_key");
    assert_eq!(keys.as_binary::<i32>().value(0), b"k");
    assert!(keys.is_null(1));
    let kept = column("kafka_headers");
    let kept = kept.as_list::<i32>();
    assert_eq!((kept.value_length(0), kept.value_length(1)), (3, 0));
    let first = kept.value(0);
    let first = first.as_struct();
    assert_eq!(first.column(0).as_string::<i32>().value(2), "\u{fffd}");
    assert!(first.column(1).is_null(1));
    // A tombstone is a row without a value.
    let x = column("x");
    assert_eq!((x.as_primitive::<Int64Type>().value(0), x.is_null(1)), (1, true));
}

#[test]
fn what_fits_no_column_is_rescued_in_its_shape() {
    let settled = values(&[r#"{"n":1,"f":1.5,"s":"x","o":{"a":1,"b":{"c":true}},"l":[1]}"#]);
    let schema = inferred(&settled);
    let later = values(&[
        r#"{"n":"one","f":2,"s":3,"o":{"a":null,"b":{"c":"no","d":1}},"l":[1,"x"],"new":[{}]}"#,
        r#"{"n":99999999999999999999,"o":7,"l":[2,null],"new":null}"#,
        r#"{"f":null}"#,
    ]);
    let decoded = decoded(&later, &schema);
    assert!(decoded.dead.is_empty() && decoded.met_unknown_fields);
    assert_eq!(
        text(&decoded.rows, "kafka_rescued"),
        [
            some(r#"{"l":[1,"x"],"n":"one","new":[{}],"o":{"b":{"c":"no","d":1}},"s":3}"#),
            some(r#"{"n":99999999999999999999,"o":7}"#),
            None,
        ]
    );
    assert_eq!(decoded.rescued_values, 8);
    let f = Arc::clone(decoded.rows.column_by_name("f").unwrap());
    assert_eq!(f.as_primitive::<Float64Type>().value(0).to_bits(), 2.0_f64.to_bits());
    let l = Arc::clone(decoded.rows.column_by_name("l").unwrap());
    assert!(l.is_null(0) && l.is_null(2));
    assert_eq!(l.as_list::<i32>().value_length(1), 2);
}

#[test]
fn values_are_in_the_columns_of_their_types() {
    let chunk = values(&[
        r#"{"b":true,"i":-5,"f":0.25,"s":"ü","m":1,"o":{"x":[{"y":1},{"y":2}]}}"#,
        r#"{"m":"one","i":9223372036854775807,"o":{"x":[]}}"#,
        r#"{"m":{"k":[1]},"o":null,"b":false}"#,
    ]);
    let Decoded { rows, dead, rescued_values, met_unknown_fields, .. } =
        decoded(&chunk, &inferred(&chunk));
    assert!(dead.is_empty() && rescued_values == 0 && !met_unknown_fields);
    assert_eq!(text(&rows, "m"), [some("1"), some("one"), some(r#"{"k":[1]}"#)]);
    assert_eq!(text(&rows, "s"), [some("ü"), None, None]);
    assert_eq!(text(&rows, "kafka_rescued"), [None, None, None]);
    let i = Arc::clone(rows.column_by_name("i").unwrap());
    let i = i.as_primitive::<Int64Type>();
    assert_eq!((i.value(0), i.value(1), i.is_null(2)), (-5, i64::MAX, true));
    let o = Arc::clone(rows.column_by_name("o").unwrap());
    let x = Arc::clone(o.as_struct().column(0));
    assert!(o.is_null(2) && x.as_list::<i32>().value_length(0) == 2);
    let y = Arc::clone(x.as_list::<i32>().values().as_struct().column(0));
    assert_eq!(y.as_primitive::<Int64Type>().values(), &[1, 2]);
}

#[test]
fn what_is_no_json_object_is_named_and_no_row() {
    let chunk = values(&["{\"a\":1}", "nonsense", "[1]", "{\"a\":2}"]);
    let Decoded { rows, dead, .. } = decoded(&chunk, &inferred(&chunk));
    assert_eq!(rows.num_rows(), 2);
    let found: Vec<_> = dead.iter().map(|dead| (dead.offset, dead.reason.as_str())).collect();
    assert_eq!(found[0].0, 41);
    assert_eq!(found[1], (42, "the value is an array where a JSON object is needed"));
    assert_eq!(dead[0].value.as_deref(), Some(&b"nonsense"[..]));
    let a = Arc::clone(rows.column_by_name("a").unwrap());
    assert_eq!(a.as_primitive::<Int64Type>().values(), &[1, 2]);
}

#[test]
fn values_that_are_not_taken_apart_have_one_column() {
    let records: [Sent<'_>; 3] =
        [(None, Some(b"text"), &[]), (None, Some(b"\xff\xfe"), &[]), (None, None, &[])];
    let chunk = chunk(&records);
    let string = Arc::new(TableSchema::first(ValueFormat::String, Vec::new()));
    let Decoded { rows, dead, .. } = decoded(&chunk, &string);
    assert_eq!(text(&rows, "value"), [some("text"), None]);
    assert!(dead.len() == 1 && dead[0].reason.contains("not UTF-8"));
    let raw = Arc::new(TableSchema::first(ValueFormat::Raw, Vec::new()));
    let Decoded { rows, dead, .. } = decoded(&chunk, &raw);
    let value = Arc::clone(rows.column_by_name("value").unwrap());
    assert_eq!(value.as_binary::<i32>().value(1), b"\xff\xfe");
    assert!(value.is_null(2) && dead.is_empty());
}

#[test]
fn declared_columns_take_what_fits_and_leave_the_rest() {
    let columns = vec![
        Column::new("id", ColumnType::Bigint, &[]).unwrap(),
        Column::new("kafka_offset", ColumnType::String, &[]).unwrap(),
    ];
    let schema = Arc::new(TableSchema::first(ValueFormat::Json, columns));
    let chunk = values(&[r#"{"kafka_offset":"mine","id":7,"x":1}"#]);
    let rows = decoded(&chunk, &schema).rows;
    assert_eq!(text(&rows, "value_kafka_offset"), [some("mine")]);
    assert_eq!(text(&rows, "kafka_rescued"), [some(r#"{"x":1}"#)]);
}

#[test]
fn readers_build_only_what_they_need() {
    let chunk = values(&[r#"{"a":1,"b":"x","c":{"d":1}}"#, "no", r#"{"a":"y","b":"z"}"#]);
    let whole = inferred(&chunk);
    let all = decode::read(&chunk, &whole, Need { all_records: true, rescued: true }).unwrap();
    assert_eq!(text(&all, "a"), [some("1"), None, some("y")]);
    assert_eq!(text(&all, "kafka_rescued"), [None, some("\"no\""), None]);
    let some_columns = Arc::new(whole.with_columns(|name| name == "b"));
    let need = Need { all_records: false, rescued: false };
    let rows = decode::read(&chunk, &some_columns, need).unwrap();
    assert_eq!(rows.num_columns(), META_COLUMNS + 1);
    assert_eq!(text(&rows, "b"), [some("x"), some("z")]);
    assert_eq!(text(&rows, "kafka_rescued"), [None, None]);
}

/// Rows by their keys (bytes), and which of them delete.
fn changes(decoded: &Decoded) -> Vec<(i64, bool)> {
    let offsets = Arc::clone(decoded.rows.column_by_name("kafka_offset").unwrap());
    let offsets = offsets.as_primitive::<Int64Type>().values().to_vec();
    offsets.into_iter().zip(decoded.tombstones.iter().map(Option::unwrap)).collect()
}

#[test]
fn keys_are_text_where_that_is_asked_for() {
    let records: [Sent<'_>; 4] = [
        (Some("schlüssel".as_bytes()), Some(b"1"), &[]),
        (Some(b"\xff"), Some(b"2"), &[]),
        (None, Some(b"3"), &[]),
        (Some(b""), None, &[]),
    ];
    let chunk = chunk(&records);
    let rules = Rules { key: KeyFormat::String, ..ValueFormat::String.into() };
    let schema = Arc::new(TableSchema::first(rules, Vec::new()));
    let Decoded { rows, dead, .. } = decoded(&chunk, &schema);
    assert_eq!(text(&rows, KEY), [some("schlüssel"), None, some("")]);
    assert!(dead.len() == 1 && dead[0].reason.starts_with("the key is not UTF-8"), "{dead:?}");
    assert_eq!(dead[0].key.as_deref(), Some(&b"\xff"[..]));
    let all = decode::read(&chunk, &schema, Need { all_records: true, rescued: true }).unwrap();
    assert_eq!(text(&all, KEY)[1], some("\u{fffd}"));
}

#[test]
fn rows_are_told_apart_by_the_columns_named_for_it() {
    let columns = vec![
        Column::new("id", ColumnType::Bigint, &[]).unwrap(),
        Column::new("part", ColumnType::String, &[]).unwrap(),
    ];
    let rules = Rules {
        mode: TableMode::Upsert,
        id_columns: vec!["id".to_owned(), "part".to_owned()],
        ..ValueFormat::Json.into()
    };
    let records: [Sent<'_>; 5] = [
        (None, Some(br#"{"id":1,"part":"a","op":"D"}"#), &[]),
        (None, Some(br#"{"id":"1","part":"a"}"#), &[]),
        (None, Some(br#"{"id":1,"part":null}"#), &[]),
        (None, Some(br#"{"part":"a"}"#), &[]),
        (Some(b"k"), None, &[]),
    ];
    let chunk = chunk(&records);
    let schema = Arc::new(TableSchema::first(rules.clone(), columns.clone()));
    let found = decoded(&chunk, &schema);
    assert_eq!(changes(&found), [(40, false)]);
    let reasons: Vec<_> = found.dead.iter().map(|dead| (dead.offset, &*dead.reason)).collect();
    assert_eq!(
        reasons,
        [
            (41, "id, which tells rows apart, has no value of its type"),
            (42, "part, which tells rows apart, has no value of its type"),
            (43, "id, which tells rows apart, has no value of its type"),
            (44, "a tombstone has no values in the columns that tell rows apart"),
        ]
    );
    // With a field that says what is deleted, a tombstone follows and says no more.
    let rules = Rules { cdc_field: Some("op".to_owned()), ..rules };
    let schema = Arc::new(TableSchema::first(rules, columns));
    let found = decoded(&chunk, &schema);
    assert_eq!((changes(&found), found.dead.len()), (vec![(40, true)], 3));
}

/// What a record is does not depend on those before it.
#[test]
fn fields_that_would_get_one_name_stay_apart_whatever_came_before() {
    let rules = Rules { transform: Transform::Flatten, ..ValueFormat::Json.into() };
    let column = |field: &str| Column::new(field, ColumnType::Bigint, &[]).unwrap();
    let schema = Arc::new(TableSchema::first(rules, vec![column("x"), column("a.b")]));
    let twice = r#"{"a.b":1,"a":{"b":2}}"#;
    let alone = decoded(&values(&[twice]), &schema).rows;
    let after = decoded(&values(&[r#"{"x":0,"a":{"b":5}}"#, twice]), &schema).rows.slice(1, 1);
    for rows in [alone, after] {
        let a_b = Arc::clone(rows.column_by_name("a_b").unwrap());
        assert_eq!(a_b.as_primitive::<Int64Type>().value(0), 1);
        assert_eq!(text(&rows, "kafka_rescued"), [some(r#"{"a":{"b":2}}"#)]);
    }
}

#[test]
fn a_field_says_which_rows_are_deleted() {
    let rules = Rules {
        mode: TableMode::Upsert,
        cdc_field: Some("meta.op".to_owned()),
        ..ValueFormat::Json.into()
    };
    let deletes = |value: &str| {
        let records: [Sent<'_>; 1] = [(Some(b"k"), Some(value.as_bytes()), &[])];
        let schema = Arc::new(TableSchema::first(rules.clone(), Vec::new()));
        changes(&decoded(&chunk(&records), &schema))[0].1
    };
    for op in ["\"D\"", "\"delete\"", "true", "\"true\""] {
        assert!(deletes(&format!("{{\"meta\":{{\"op\":{op}}}}}")), "{op}");
    }
    assert!(deletes(r#"{"meta.op":"d"}"#));
    for op in ["\"U\"", "\"\"", "false", "null", "1", "{}"] {
        assert!(!deletes(&format!("{{\"meta\":{{\"op\":{op}}}}}")), "{op}");
    }
    assert!(!deletes("{}"));
}
