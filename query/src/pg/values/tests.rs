//! Values in text and binary, there and back.
#![allow(clippy::unwrap_used)]

use arrow::{
    array::{
        BinaryArray, Decimal128Array, DurationSecondArray, Int32Array, Int64Array, ListArray,
        NullArray, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
        TimestampNanosecondArray, UInt64Array,
    },
    datatypes::Int64Type as I64,
};

use super::*;

fn written(array: impl Array + 'static, zone: Option<&str>, binary: bool) -> Vec<Option<Vec<u8>>> {
    let array: ArrayRef = Arc::new(array);
    let field = Arc::new(Field::new("c", array.data_type().clone(), true));
    let writer = Writer::new(&field, zone.map(|zone| zone.parse().unwrap()));
    let array = writer.prepare(&array).unwrap();
    let cell = |row: usize| {
        let mut out = BytesMut::new();
        match binary {
            true => writer.binary(&array, row, &mut out).unwrap(),
            false => writer.text(&array, row, &mut out).unwrap(),
        }
        out.to_vec()
    };
    (0..array.len()).map(|row| array.is_valid(row).then(|| cell(row))).collect()
}

fn texts(array: impl Array + 'static) -> Vec<String> {
    let cells = written(array, None, false);
    let text = |cell: Option<Vec<u8>>| match cell {
        Some(cell) => String::from_utf8(cell).unwrap(),
        None => "∅".to_owned(),
    };
    cells.into_iter().map(text).collect()
}

#[test]
fn text_is_as_postgres_shows_it() {
    assert_eq!(texts(Int64Array::from(vec![Some(-1), None])), ["-1", "∅"]);
    assert_eq!(texts(NullArray::new(1)), ["∅"]);
    assert_eq!(texts(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(texts(BinaryArray::from(vec![&b"\x00\xff"[..]])), ["\\x00ff"]);
    assert_eq!(texts(StringViewArray::from(vec!["ä"])), ["ä"]);
    assert_eq!(texts(DurationSecondArray::from(vec![Some(61), None])), ["00:01:01", "∅"]);
    let decimals = Decimal128Array::from(vec![-1250]).with_precision_and_scale(10, 3).unwrap();
    assert_eq!(texts(decimals), ["-1.250"]);
}

#[test]
fn points_in_time_are_shown_in_the_sessions_zone() {
    let micros = 1_356_998_400_500_000;
    let local = TimestampMicrosecondArray::from(vec![micros]);
    assert_eq!(texts(local.clone()), ["2013-01-01 00:00:00.5"]);
    let point = local.with_timezone("UTC");
    assert_eq!(texts(point.clone()), ["2013-01-01 00:00:00.5+00"]);
    let shown = written(point, Some("America/New_York"), false);
    assert_eq!(shown, [Some(b"2012-12-31 19:00:00.5-05".to_vec())]);
    let nanos = TimestampNanosecondArray::from(vec![micros * 1000]).with_timezone("UTC");
    let shown = written(nanos, Some("+05:30"), false);
    assert_eq!(shown, [Some(b"2013-01-01 05:30:00.5+05:30".to_vec())]);
}

#[test]
fn lists_and_structs_are_arrays_and_json() {
    let lists = ListArray::from_iter_primitive::<I64, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
    ]);
    assert_eq!(texts(lists.clone()), ["{1,NULL}", "{}", "∅"]);
    let binary = written(lists, None, true);
    let expected: Vec<u8> =
        [1_i32, 1, 20, 2, 1, 8, 0, 1, -1].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(binary[0].as_ref().unwrap(), &expected);
    assert_eq!(binary[1].as_ref().unwrap().len(), 12);

    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("x\"y"), Some("")])) as ArrayRef,
        ),
    ]);
    assert_eq!(texts(structs), [r#"{"a":1,"b":"x\"y"}"#, r#"{"a":null,"b":""}"#]);
}

#[test]
fn binary_times_count_from_2000() {
    let points = TimestampMicrosecondArray::from(vec![EPOCH_MICROS + 7]).with_timezone("UTC");
    let written = written(points, None, true);
    assert_eq!(written, [Some(7_i64.to_be_bytes().to_vec())]);
}
