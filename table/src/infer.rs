//! What columns values would want: inferring the first schema from a sample, and finding what a
//! later value adds to it.
//!
//! The result depends on the values and their order only, so that whoever looks at the same
//! records comes to the same schema.

use std::collections::HashMap;

use jiter::JsonValue;

use crate::{
    json::{self, DEPTH_MAX, Object},
    rules::{Rules, ValueFormat},
    schema::{Column, ColumnType, TableSchema},
    transform::Transform,
};

/// What was seen in one place. Only grows, towards [`Observed::Json`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Observed {
    /// Nothing, or only nulls, or integers beyond 64 bits: no column can be made of that.
    Nothing,
    Boolean,
    Bigint,
    Double,
    String,
    Json,
    Struct(Fields),
    List(Box<Self>),
}

/// Fields in the order of their first appearance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fields {
    seen: Vec<(String, Observed)>,
    index: HashMap<String, usize>,
}

impl Fields {
    fn observe(&mut self, object: &Object<'_>, depth: usize) {
        for (name, value) in object {
            match self.index.get(name.as_ref()).and_then(|at| self.seen.get_mut(*at)) {
                Some((_, observed)) => observed.add(value, depth),
                None => {
                    let mut observed = Observed::Nothing;
                    observed.add(value, depth);
                    self.index.insert(name.as_ref().to_owned(), self.seen.len());
                    self.seen.push((name.as_ref().to_owned(), observed));
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &Observed)> {
        self.seen.iter().map(|(name, observed)| (name.as_str(), observed))
    }
}

impl Observed {
    fn add(&mut self, value: &JsonValue<'_>, depth: usize) {
        *self = match (std::mem::replace(self, Self::Nothing), value) {
            (seen, JsonValue::Null | JsonValue::BigInt(_)) => seen,
            (seen, JsonValue::Float(number)) if !number.is_finite() => seen,
            (Self::Json, _) => Self::Json,
            (Self::Nothing | Self::Boolean, JsonValue::Bool(_)) => Self::Boolean,
            (Self::Nothing | Self::Bigint, JsonValue::Int(_)) => Self::Bigint,
            (Self::Nothing | Self::Bigint | Self::Double, JsonValue::Float(_))
            | (Self::Double, JsonValue::Int(_)) => Self::Double,
            (Self::Nothing | Self::String, JsonValue::Str(_)) => Self::String,
            (seen @ (Self::Nothing | Self::Struct(_)), JsonValue::Object(object))
                if depth < DEPTH_MAX =>
            {
                let mut fields =
                    if let Self::Struct(fields) = seen { fields } else { Fields::default() };
                fields.observe(object, depth + 1);
                Self::Struct(fields)
            }
            (seen @ (Self::Nothing | Self::List(_)), JsonValue::Array(array))
                if depth < DEPTH_MAX =>
            {
                let mut element =
                    if let Self::List(element) = seen { element } else { Box::new(Self::Nothing) };
                for value in array.iter() {
                    element.add(value, depth + 1);
                }
                Self::List(element)
            }
            _ => Self::Json,
        };
    }

    /// The type of a column for it; `None` while there is nothing to tell.
    fn column_type(&self) -> Option<ColumnType> {
        Some(match self {
            Self::Nothing => return None,
            Self::Boolean => ColumnType::Boolean,
            Self::Bigint => ColumnType::Bigint,
            Self::Double => ColumnType::Double,
            Self::String => ColumnType::String,
            Self::Json => ColumnType::Json,
            Self::Struct(fields) => {
                let mut columns = Vec::new();
                for (field, observed) in fields.iter() {
                    let Some(kind) = observed.column_type() else { continue };
                    columns.extend(Column::new(field, kind, &columns));
                }
                // Parquet has no structure without a field.
                if columns.is_empty() {
                    return None;
                }
                ColumnType::Struct(columns)
            }
            Self::List(element) => ColumnType::List(Box::new(element.column_type()?)),
        })
    }
}

/// Values looked at for their format and their fields.
#[derive(Debug, Default)]
pub struct Sample {
    transform: Transform,
    fields: Fields,
    values: usize,
    /// Values that are JSON objects.
    objects: usize,
    /// Values that are UTF-8; objects are.
    texts: usize,
}

impl Sample {
    /// An empty one of values that are transformed before they are columns.
    #[must_use]
    pub fn new(transform: Transform) -> Self {
        Self { transform, ..Self::default() }
    }

    /// Looks at a value.
    pub fn add_value(&mut self, bytes: &[u8]) {
        self.values += 1;
        let Ok(value) = json::parse(bytes) else {
            self.texts += usize::from(str::from_utf8(bytes).is_ok());
            return;
        };
        self.objects += 1;
        self.texts += 1;
        // What cannot be transformed is no row, whatever the columns.
        if let Ok(value) = self.transform.apply(value) {
            self.add(&value);
        }
    }

    fn add(&mut self, value: &JsonValue<'_>) {
        if let JsonValue::Object(object) = value {
            self.fields.observe(object, 1);
        }
    }

    /// How the values are to be understood: as JSON where at least half of them are JSON objects,
    /// otherwise as text where all of them are, otherwise as bytes. `None` where there was none.
    #[must_use]
    pub fn format(&self) -> Option<ValueFormat> {
        let found = if self.objects * 2 >= self.values {
            ValueFormat::Json
        } else if self.texts == self.values {
            ValueFormat::String
        } else {
            ValueFormat::Raw
        };
        (self.values > 0).then_some(found)
    }

    /// The first schema for what was seen, within a limit of columns.
    #[must_use]
    pub fn first_schema(&self, rules: impl Into<Rules>, columns_max: usize) -> TableSchema {
        let mut empty = TableSchema::first(rules, Vec::new());
        if empty.rules.format != ValueFormat::Json {
            return empty;
        }
        empty.version = 0;
        self.evolve(&empty, columns_max).unwrap_or(TableSchema { version: 1, ..empty })
    }

    /// The next version of `schema`, if what was seen adds to it: columns for new fields, as long
    /// as there are not more than `columns_max`. Types that are there stay.
    #[must_use]
    pub fn evolve(&self, schema: &TableSchema, columns_max: usize) -> Option<TableSchema> {
        let mut columns = schema.columns.clone();
        let leaves = columns.iter().map(Column::leaves).sum::<usize>();
        let mut room = columns_max.saturating_sub(leaves);
        add_fields(&mut columns, &self.fields, &mut room);
        (columns != schema.columns).then(|| TableSchema {
            version: schema.version + 1,
            rules: schema.rules.clone(),
            columns,
        })
    }
}

fn add_fields(columns: &mut Vec<Column>, fields: &Fields, room: &mut usize) {
    for (field, observed) in fields.iter() {
        match columns.iter_mut().find(|column| column.field == field) {
            Some(column) => add_nested(&mut column.kind, observed, room),
            None => {
                let column =
                    observed.column_type().and_then(|kind| Column::new(field, kind, columns));
                if let Some(column) = column.filter(|column| column.leaves() <= *room) {
                    *room -= column.leaves();
                    columns.push(column);
                }
            }
        }
    }
}

fn add_nested(kind: &mut ColumnType, observed: &Observed, room: &mut usize) {
    match (kind, observed) {
        (ColumnType::Struct(columns), Observed::Struct(fields)) => {
            add_fields(columns, fields, room)
        }
        (ColumnType::List(element), Observed::List(observed)) => {
            add_nested(element, observed, room)
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    const ROOM: usize = 100;

    fn sample(values: &[&str]) -> Sample {
        let mut sample = Sample::default();
        for value in values {
            sample.add(&json::parse(value.as_bytes()).unwrap());
        }
        sample
    }

    /// `name type` of each column, as text.
    fn shown(schema: &TableSchema) -> String {
        let kind = |column: &Column| format!("{} {}", column.name, show(&column.kind));
        schema.columns.iter().map(kind).collect::<Vec<_>>().join(", ")
    }

    fn show(kind: &ColumnType) -> String {
        match kind {
            ColumnType::Struct(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|f| format!("{} {}", f.name, show(&f.kind))).collect();
                format!("struct<{}>", fields.join(", "))
            }
            ColumnType::List(element) => format!("list<{}>", show(element)),
            simple => format!("{simple:?}").to_lowercase(),
        }
    }

    #[test]
    fn types_are_settled_over_the_sample() {
        let values = [
            r#"{"i":1,"f":1,"b":true,"s":"x","n":null,"m":1,"e":[],"o":{"x":1},"l":[1]}"#,
            r#"{"f":1.5,"m":"one","n":null,"o":{"y":"z","x":2.5},"l":[2.5,null],"late":false}"#,
        ];
        let schema = sample(&values).first_schema(ValueFormat::Json, ROOM);
        assert_eq!(
            shown(&schema),
            "i bigint, f double, b boolean, s string, m json, o struct<x double, y string>, \
             l list<double>, late boolean"
        );
        assert_eq!(schema.version, 1);
    }

    #[test]
    fn always_null_fields_and_integers_beyond_64_bits_make_no_column() {
        let values = [r#"{"n":null,"big":18446744073709551616,"o":{},"i":1}"#];
        assert_eq!(shown(&sample(&values).first_schema(ValueFormat::Json, ROOM)), "i bigint");
    }

    #[test]
    fn new_fields_add_columns_and_types_stay() {
        let first =
            sample(&[r#"{"a":1,"o":{"x":1},"l":[{"p":1}]}"#]).first_schema(ValueFormat::Json, ROOM);
        let later = sample(&[r#"{"b":"x","a":"text","o":{"x":"t","y":1},"l":[{"q":true}]}"#]);
        let second = later.evolve(&first, ROOM).unwrap();
        assert_eq!(second.version, 2);
        assert_eq!(
            shown(&second),
            "a bigint, o struct<x bigint, y bigint>, l list<struct<p bigint, q boolean>>, b string"
        );
        assert!(later.evolve(&second, ROOM).is_none());
    }

    #[test]
    fn of_names_that_differ_by_case_only_the_first_has_a_column() {
        let schema = sample(&[r#"{"Id":1,"id":2,"kafka_x":3,"a b":4,"a_b":5}"#])
            .first_schema(ValueFormat::Json, ROOM);
        assert_eq!(shown(&schema), "Id bigint, value_kafka_x bigint, a_b bigint");
        assert_eq!(schema.columns[2].field, "a b");
    }

    #[test]
    fn the_format_is_what_most_values_are() {
        let format = |values: &[&[u8]]| {
            let mut sample = Sample::default();
            values.iter().for_each(|value| sample.add_value(value));
            sample.format()
        };
        assert_eq!(format(&[]), None);
        assert_eq!(format(&[b"{}", b"\xff"]), Some(ValueFormat::Json));
        assert_eq!(format(&[b"{}", b"x", b"[1]"]), Some(ValueFormat::String));
        assert_eq!(format(&[b"{}", b"x", b"\xff"]), Some(ValueFormat::Raw));
    }

    #[test]
    fn values_are_transformed_before_they_are_looked_at() {
        let mut sample = Sample::new(Transform::FlattenDebezium);
        sample.add_value(br#"{"op":"c","after":{"id":1}}"#);
        sample.add_value(br#"{"op":"t"}"#);
        let schema = sample.first_schema(ValueFormat::Json, ROOM);
        assert_eq!(shown(&schema), "id bigint, _cdc struct<op string>");
    }

    #[test]
    fn columns_have_a_limit() {
        let wide: Vec<_> = (0..50).map(|i| format!("\"f{i}\":{i}")).collect();
        let wide = format!("{{{}}}", wide.join(","));
        let schema = sample(&[&wide]).first_schema(ValueFormat::Json, 10);
        assert_eq!(schema.columns.len(), 10);
        assert!(sample(&[r#"{"more":1}"#]).evolve(&schema, 10).is_none());
    }

    #[test]
    fn what_is_nested_too_deeply_is_text() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(20), "}".repeat(20));
        let schema = sample(&[&deep]).first_schema(ValueFormat::Json, ROOM);
        assert!(shown(&schema).contains("a json>"), "{}", shown(&schema));
        assert_eq!(shown(&schema).matches("struct").count(), DEPTH_MAX - 1);
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<i32>().prop_map(|n| format!("{n}.5")),
            "[a-z]{0,3}".prop_map(|s| format!("\"{s}\"")),
            Just("99999999999999999999".to_owned()),
        ];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|v| format!("[{}]", v.join(","))),
                prop::collection::vec(("[abAB]", inner), 0..4).prop_map(object),
            ]
        });
        prop::collection::vec(("[a-dA-D]", value), 0..6).prop_map(object)
    }

    fn object(fields: Vec<(String, String)>) -> String {
        let fields: Vec<_> = fields.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    proptest! {
        /// Evolution keeps every column in its place, reaches an end, and names stay unique.
        #[test]
        fn schemas_only_grow(first in any_json(), later in prop::collection::vec(any_json(), 1..5)) {
            let mut schema = sample(&[&first]).first_schema(ValueFormat::Json, 12);
            for value in &later {
                let sample = sample(&[value]);
                let Some(next) = sample.evolve(&schema, 12) else { continue };
                prop_assert_eq!(next.version, schema.version + 1);
                for (old, new) in schema.columns.iter().zip(&next.columns) {
                    prop_assert_eq!(&old.name, &new.name);
                    if !matches!(old.kind, ColumnType::Struct(_) | ColumnType::List(_)) {
                        prop_assert_eq!(&old.kind, &new.kind);
                    }
                }
                prop_assert!(sample.evolve(&next, 12).is_none());
                let mut names: Vec<_> = next.columns.iter().map(|c| c.name.to_lowercase()).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), next.columns.len());
                prop_assert!(next.columns.iter().map(Column::leaves).sum::<usize>() <= 12);
                schema = next;
            }
        }
    }
}
