//! Values in PostgreSQL's text and binary formats.
//!
//! A column is first brought into one of a few shapes ([`types::shape`]), batch by batch, and
//! then written cell by cell.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, StringBuilder, new_null_array,
        timezone::Tz,
        types::{
            Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
            IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
        },
    },
    compute::cast,
    datatypes::{DataType, DecimalType as _, Field, FieldRef},
    error::ArrowError,
    json::writer::{EncoderOptions, make_encoder},
};
use bytes::{BufMut as _, BytesMut};

use super::{
    text,
    types::{self, Shape},
};

/// Days and microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Writes the cells of a column.
#[derive(Debug)]
pub(super) struct Writer {
    field: FieldRef,
    shape: Shape,
    /// The type of the elements, for arrays in the binary format.
    element: u32,
    /// Where points in time are shown; `None` is UTC.
    zone: Option<Tz>,
}

impl Writer {
    /// A writer for a column; points in time are shown in `zone`.
    pub(super) fn new(field: &FieldRef, zone: Option<Tz>) -> Self {
        let shape = types::shape(field.data_type());
        let kind = types::of_field(field);
        let element = types::element_of(&kind).map_or(0, |element| element.oid());
        Self { field: Arc::clone(field), shape, element, zone }
    }

    /// Brings a batch's column into shape.
    pub(super) fn prepare(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match &self.shape {
            Shape::Json => json(&self.field, array),
            Shape::Values(to) if to == array.data_type() => Ok(Arc::clone(array)),
            Shape::Values(to) if array.data_type() == &DataType::Null => {
                Ok(new_null_array(to, array.len()))
            }
            Shape::Values(to) => cast(array, to),
        }
    }

    /// Writes a cell that is not null, of a column that was prepared.
    pub(super) fn text(
        &self,
        array: &dyn Array,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<(), ArrowError> {
        match array.data_type() {
            DataType::Boolean => {
                out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' })
            }
            DataType::Int16 => text::display(out, array.as_primitive::<Int16Type>().value(row)),
            DataType::Int32 => text::display(out, array.as_primitive::<Int32Type>().value(row)),
            DataType::Int64 => text::display(out, array.as_primitive::<Int64Type>().value(row)),
            DataType::Float32 => text::float32(out, array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => text::float64(out, array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(precision, scale) => {
                let value = array.as_primitive::<Decimal128Type>().value(row);
                text::display(out, Decimal128Type::format_decimal(value, *precision, *scale));
            }
            DataType::Binary | DataType::BinaryView => text::hex(out, bytes(array, row)),
            DataType::Date32 => {
                let array = array.as_primitive::<Date32Type>();
                text::optional(out, array.value_as_date(row))?;
            }
            DataType::Time64(_) => {
                text::time(out, array.as_primitive::<Time64MicrosecondType>().value(row));
            }
            DataType::Timestamp(_, zone) => {
                let array = array.as_primitive::<TimestampMicrosecondType>();
                let zone = match (zone, self.zone) {
                    (None, _) => text::Zone::None,
                    (Some(_), None) => text::Zone::Utc,
                    (Some(_), Some(zone)) => text::Zone::Other(zone),
                };
                text::timestamp(out, array, row, zone)?;
            }
            DataType::Interval(_) => {
                text::interval(out, array.as_primitive::<IntervalMonthDayNanoType>().value(row));
            }
            DataType::List(_) => self.list_text(&array.as_list::<i32>().value(row), out)?,
            _ => out.extend_from_slice(string(array, row)?.as_bytes()),
        }
        Ok(())
    }

    /// The same in the binary format.
    pub(super) fn binary(
        &self,
        array: &dyn Array,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<(), ArrowError> {
        match array.data_type() {
            DataType::Boolean => out.put_u8(array.as_boolean().value(row).into()),
            DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
            DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
            DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(precision, scale) => {
                let value = array.as_primitive::<Decimal128Type>().value(row);
                let digits = Decimal128Type::format_decimal(value, *precision, *scale);
                super::numeric::write(out, &digits);
            }
            DataType::Binary | DataType::BinaryView => out.extend_from_slice(bytes(array, row)),
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>().value(row);
                out.put_i32(days.saturating_sub(EPOCH_DAYS));
            }
            DataType::Time64(_) => {
                out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row));
            }
            DataType::Timestamp(..) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                out.put_i64(micros.saturating_sub(EPOCH_MICROS));
            }
            DataType::Interval(_) => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                out.put_i64(value.nanoseconds / 1000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            DataType::List(_) => self.list_binary(&array.as_list::<i32>().value(row), out)?,
            _ => out.extend_from_slice(string(array, row)?.as_bytes()),
        }
        Ok(())
    }

    fn list_text(&self, values: &ArrayRef, out: &mut BytesMut) -> Result<(), ArrowError> {
        out.put_u8(b'{');
        for row in 0..values.len() {
            if row > 0 {
                out.put_u8(b',');
            }
            if values.is_null(row) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            let mut element = BytesMut::new();
            self.text(values, row, &mut element)?;
            text::array_element(out, &element);
        }
        out.put_u8(b'}');
        Ok(())
    }

    fn list_binary(&self, values: &ArrayRef, out: &mut BytesMut) -> Result<(), ArrowError> {
        let length = i32::try_from(values.len())
            .map_err(|_| ArrowError::ComputeError("the array is too long".to_owned()))?;
        out.put_i32((length > 0).into());
        out.put_i32((values.null_count() > 0).into());
        out.put_u32(self.element);
        if length == 0 {
            return Ok(());
        }
        // The length of its one dimension, which begins at one.
        out.put_i32(length);
        out.put_i32(1);
        for row in 0..values.len() {
            sized(out, values.is_null(row), |out| self.binary(values, row, out))?;
        }
        Ok(())
    }
}

/// A value behind its length; −1 is null.
pub(super) fn sized(
    out: &mut BytesMut,
    is_null: bool,
    write: impl FnOnce(&mut BytesMut) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    let start = out.len();
    out.put_i32(-1);
    if is_null {
        return Ok(());
    }
    write(out)?;
    let length = i32::try_from(out.len() - start - 4)
        .map_err(|_| ArrowError::ComputeError("the value is too large".to_owned()))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::BinaryView => array.as_binary_view().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

fn string(array: &dyn Array, row: usize) -> Result<&str, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => Ok(array.as_string_view().value(row)),
        DataType::Utf8 => Ok(array.as_string::<i32>().value(row)),
        other => Err(ArrowError::NotYetImplemented(format!("values of type {other}"))),
    }
}

/// Values as JSON.
fn json(field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    // A dictionary's or a union's field may say another type than the array has.
    let field: FieldRef = match field.data_type() == array.data_type() {
        true => Arc::clone(field),
        false => Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
    };
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    let (mut builder, mut text) = (StringBuilder::new(), Vec::new());
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        builder.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests;
