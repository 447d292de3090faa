//! Which PostgreSQL type a column of Arrow is, and how its values are brought into few shapes.
//!
//! What PostgreSQL has no type for (structs, maps, lists of them) is JSON. The system catalog
//! says the same of a table's columns as a result does: clients decode by what it says.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use arrow_pg::datatypes::{PG_OID_ALIAS_KEY, is_pg_char_field};
use pgwire::api::Type;

/// The type of a column.
pub(super) fn of_field(field: &Field) -> Type {
    // Numbers by which the catalog's rows refer to each other; some are names already.
    if field.data_type() == &DataType::Int32 && field.metadata().contains_key(PG_OID_ALIAS_KEY) {
        return Type::OID;
    }
    if is_pg_char_field(field) {
        return Type::CHAR;
    }
    of(field.data_type())
}

/// The type of values.
pub(super) fn of(data_type: &DataType) -> Type {
    match shape(data_type) {
        Shape::Json => Type::JSON,
        Shape::Values(DataType::List(element)) => array_of(&of(element.data_type())),
        Shape::Values(DataType::Boolean) => Type::BOOL,
        Shape::Values(DataType::Int16) => Type::INT2,
        Shape::Values(DataType::Int32) => Type::INT4,
        Shape::Values(DataType::Int64) => Type::INT8,
        Shape::Values(DataType::Float32) => Type::FLOAT4,
        Shape::Values(DataType::Float64) => Type::FLOAT8,
        Shape::Values(DataType::Decimal128(..)) => Type::NUMERIC,
        Shape::Values(DataType::Binary | DataType::BinaryView) => Type::BYTEA,
        Shape::Values(DataType::Date32) => Type::DATE,
        Shape::Values(DataType::Time64(_)) => Type::TIME,
        Shape::Values(DataType::Timestamp(_, None)) => Type::TIMESTAMP,
        Shape::Values(DataType::Timestamp(_, Some(_))) => Type::TIMESTAMPTZ,
        Shape::Values(DataType::Interval(_)) => Type::INTERVAL,
        Shape::Values(_) => Type::TEXT,
    }
}

/// What values are brought into before they are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Values of this type.
    Values(DataType),
    /// Text of JSON.
    Json,
}

/// The shape of a type.
pub(super) fn shape(data_type: &DataType) -> Shape {
    let micros = TimeUnit::Microsecond;
    Shape::Values(match data_type {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::BinaryView
        | DataType::Date32 => data_type.clone(),
        DataType::Null | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
        DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(micros),
        DataType::Timestamp(_, zone) => DataType::Timestamp(micros, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Dictionary(_, values) => return shape(values),
        DataType::RunEndEncoded(_, values) => return shape(values.data_type()),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => match shape(element.data_type()) {
            Shape::Values(DataType::List(_)) | Shape::Json => return Shape::Json,
            Shape::Values(inner) => DataType::new_list(inner, true),
        },
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => return Shape::Json,
    })
}

/// Types and the types of their arrays.
const ARRAYS: [(Type, Type); 16] = [
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
    (Type::OID, Type::OID_ARRAY),
];

/// The type of arrays of a type.
pub(super) fn array_of(element: &Type) -> Type {
    let found = ARRAYS.iter().find(|(one, _)| one == element);
    found.map_or(Type::TEXT_ARRAY, |(_, array)| array.clone())
}

/// The type of an array's elements.
pub(super) fn element_of(kind: &Type) -> Option<Type> {
    ARRAYS.iter().find(|(_, array)| array == kind).map(|(element, _)| element.clone())
}

/// What a parameter of a PostgreSQL type is in Arrow.
pub(super) fn arrow_of(kind: &Type) -> DataType {
    if let Some(element) = element_of(kind) {
        return DataType::new_list(arrow_of(&element), true);
    }
    match *kind {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGNAMESPACE => DataType::Int32,
        _ => DataType::Utf8,
    }
}

/// A type's size in bytes; −1 where it varies.
pub(super) fn length(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::REGCLASS | Type::REGTYPE | Type::REGNAMESPACE | Type::REGPROC => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        Type::NAME => 64,
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Fields;

    use super::*;

    #[test]
    fn what_postgres_does_not_have_is_json() {
        let fields = Fields::from(vec![Field::new("a", DataType::Int64, true)]);
        assert_eq!(of(&DataType::Struct(fields.clone())), Type::JSON);
        assert_eq!(of(&DataType::new_list(DataType::Struct(fields), true)), Type::JSON);
        let nested = DataType::new_list(DataType::new_list(DataType::Int64, true), true);
        assert_eq!(of(&nested), Type::JSON);
    }

    #[test]
    fn lists_of_values_are_arrays_of_their_type() {
        assert_eq!(of(&DataType::new_list(DataType::Int64, true)), Type::INT8_ARRAY);
        assert_eq!(of(&DataType::new_list(DataType::Utf8View, true)), Type::TEXT_ARRAY);
    }

    #[test]
    fn a_parameter_of_a_columns_type_fits_the_column() {
        for data_type in [
            DataType::Boolean,
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Utf8,
            DataType::Binary,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::new_list(DataType::Int64, true),
        ] {
            assert_eq!(arrow_of(&of(&data_type)), data_type);
        }
    }
}
