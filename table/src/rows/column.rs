//! One column being built, of any type that a schema knows.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListArray,
        NullBufferBuilder, StringBuilder, StructArray,
    },
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Fields},
    error::ArrowError,
};
use jiter::JsonValue;

use super::{fits, rescue::Rescue};
use crate::{
    json::{self, Object},
    schema::{Column, ColumnType},
};

/// A column under construction.
#[derive(Debug)]
pub(super) enum ColumnBuilder {
    Boolean(BooleanBuilder),
    Bigint(Int64Builder),
    Double(Float64Builder),
    String(StringBuilder),
    Json(StringBuilder),
    Binary(BinaryBuilder),
    Struct {
        columns: Vec<Column>,
        fields: Vec<Self>,
        hints: Vec<usize>,
        validity: NullBufferBuilder,
    },
    List {
        kind: ColumnType,
        element: Box<Self>,
        /// How many elements there were after each row.
        ends: Vec<i32>,
        elements: i32,
        validity: NullBufferBuilder,
    },
}

impl ColumnBuilder {
    pub(super) fn new(kind: &ColumnType) -> Self {
        match kind {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Bigint => Self::Bigint(Int64Builder::new()),
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::String => Self::String(StringBuilder::new()),
            ColumnType::Json => Self::Json(StringBuilder::new()),
            ColumnType::Binary => Self::Binary(BinaryBuilder::new()),
            ColumnType::Struct(columns) => Self::Struct {
                fields: columns.iter().map(|column| Self::new(&column.kind)).collect(),
                hints: vec![0; columns.len()],
                columns: columns.clone(),
                validity: NullBufferBuilder::new(0),
            },
            ColumnType::List(element) => Self::List {
                kind: element.as_ref().clone(),
                element: Box::new(Self::new(element)),
                ends: Vec::new(),
                elements: 0,
                validity: NullBufferBuilder::new(0),
            },
        }
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Bigint(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::String(builder) | Self::Json(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Struct { fields, validity, .. } => {
                fields.iter_mut().for_each(Self::append_null);
                validity.append_null();
            }
            Self::List { ends, elements, validity, .. } => {
                ends.push(*elements);
                validity.append_null();
            }
        }
    }

    /// Appends bytes to a column of bytes.
    pub(super) fn append_bytes(&mut self, bytes: &[u8]) {
        match self {
            Self::Binary(builder) => builder.append_value(bytes),
            other => other.append_null(),
        }
    }

    /// Appends a value, or null where it does not fit; then it returns false, and the caller
    /// keeps the value. Of an object the misfits are kept in `rescue` one by one.
    pub(super) fn append(&mut self, value: &JsonValue<'_>, rescue: &mut Rescue) -> bool {
        match (self, value) {
            (Self::Boolean(builder), JsonValue::Bool(value)) => builder.append_value(*value),
            (Self::Bigint(builder), JsonValue::Int(value)) => builder.append_value(*value),
            #[allow(clippy::cast_precision_loss)] // What a column of doubles is.
            (Self::Double(builder), JsonValue::Int(value)) => builder.append_value(*value as f64),
            (Self::Double(builder), JsonValue::Float(value)) if value.is_finite() => {
                builder.append_value(*value);
            }
            (Self::String(builder) | Self::Json(builder), JsonValue::Str(text)) => {
                builder.append_value(text);
            }
            (Self::Json(builder), value) if *value != JsonValue::Null => {
                let mut text = String::new();
                json::write(value, &mut text);
                builder.append_value(text);
            }
            (Self::Struct { columns, fields, hints, validity }, JsonValue::Object(object)) => {
                append_fields(columns, fields, hints, object, rescue);
                validity.append_non_null();
            }
            (Self::List { kind, element, ends, elements, validity }, JsonValue::Array(values)) => {
                let is_fitting = values.iter().all(|value| fits(kind, value));
                // Arrow counts the elements of a batch in 32 bits.
                let end = i32::try_from(values.len()).ok().and_then(|n| elements.checked_add(n));
                let Some(end) = end.filter(|_| is_fitting) else {
                    ends.push(*elements);
                    validity.append_null();
                    rescue.note_unknown();
                    return false;
                };
                for value in values.iter() {
                    element.append(value, rescue);
                }
                *elements = end;
                ends.push(end);
                validity.append_non_null();
            }
            (column, value) => {
                column.append_null();
                return *value == JsonValue::Null;
            }
        }
        true
    }

    pub(super) fn finish(self, kind: &ColumnType) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Bigint(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
            Self::String(mut builder) | Self::Json(mut builder) => Arc::new(builder.finish()),
            Self::Binary(mut builder) => Arc::new(builder.finish()),
            Self::Struct { columns, fields, mut validity, .. } => {
                let arrow: Fields = columns.iter().map(Column::arrow).collect();
                let mut arrays = Vec::with_capacity(fields.len());
                for (column, field) in columns.iter().zip(fields) {
                    arrays.push(field.finish(&column.kind)?);
                }
                Arc::new(StructArray::try_new(arrow, arrays, validity.finish())?)
            }
            Self::List { kind: element_kind, element, ends, mut validity, .. } => {
                let DataType::List(field) = kind.arrow() else {
                    return Err(ArrowError::SchemaError("a list's type is no list".to_owned()));
                };
                let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let values = element.finish(&element_kind)?;
                Arc::new(ListArray::try_new(field, offsets, values, validity.finish())?)
            }
        })
    }
}

/// Appends an object's fields to their columns, null to those that it has no field for.
pub(super) fn append_fields(
    columns: &[Column],
    builders: &mut [ColumnBuilder],
    hints: &mut [usize],
    object: &Object<'_>,
    rescue: &mut Rescue,
) {
    let mut taken = 0_usize;
    for ((column, builder), hint) in columns.iter().zip(builders).zip(hints) {
        let Some((at, value)) = find(object, &column.field, hint) else {
            builder.append_null();
            continue;
        };
        taken += 1;
        let is_object = matches!(value, JsonValue::Object(_));
        if is_object {
            rescue.enter(&column.field);
        }
        let is_kept = builder.append(value, rescue);
        if is_object {
            rescue.leave();
        }
        if !is_kept {
            rescue.misfit(&column.field, value);
        }
        *hint = at;
    }
    if taken == object.len() {
        return;
    }
    for (name, value) in object {
        let is_known = columns.iter().any(|column| column.field == *name);
        if !is_known && *value != JsonValue::Null {
            rescue.unknown(name, value);
        }
    }
}

/// The value of a field. Looks at `hint` first.
fn find<'a, 'j>(
    object: &'a Object<'j>,
    field: &str,
    hint: &usize,
) -> Option<(usize, &'a JsonValue<'j>)> {
    let is_field = |at: &usize| object.get(*at).is_some_and(|(name, _)| name == field);
    let at = Some(*hint)
        .filter(is_field)
        .or_else(|| object.iter().position(|(name, _)| name == field))?;
    object.get(at).map(|(_, value)| (at, value))
}
