//! Numbers, bytes and times in PostgreSQL's text format.

use std::fmt::{Display, Write as _};

use arrow::{
    array::{PrimitiveArray, timezone::Tz, types::TimestampMicrosecondType},
    datatypes::IntervalMonthDayNano,
    error::ArrowError,
};
use bytes::{BufMut as _, BytesMut};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Anything as it shows itself.
pub(super) fn display(out: &mut BytesMut, value: impl Display) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}

pub(super) fn optional(out: &mut BytesMut, value: Option<impl Display>) -> Result<(), ArrowError> {
    display(out, value.ok_or_else(out_of_range)?);
    Ok(())
}

fn out_of_range() -> ArrowError {
    ArrowError::CastError("date or time out of range".to_owned())
}

/// The shortest digits that mean the same number; with an exponent where PostgreSQL has one.
pub(super) fn float64(out: &mut BytesMut, value: f64) {
    if value.is_finite() {
        shortest(out, &format!("{value}"), &format!("{value:e}"), 15);
    } else {
        not_finite(out, value.is_nan(), value > 0.0);
    }
}

pub(super) fn float32(out: &mut BytesMut, value: f32) {
    if value.is_finite() {
        shortest(out, &format!("{value}"), &format!("{value:e}"), 6);
    } else {
        not_finite(out, value.is_nan(), value > 0.0);
    }
}

fn not_finite(out: &mut BytesMut, is_nan: bool, is_positive: bool) {
    display(
        out,
        if is_nan {
            "NaN"
        } else if is_positive {
            "Infinity"
        } else {
            "-Infinity"
        },
    );
}

fn shortest(out: &mut BytesMut, plain: &str, scientific: &str, digits: i32) {
    let parts = scientific.split_once('e');
    let exponent = parts.and_then(|(mantissa, e)| Some((mantissa, e.parse::<i32>().ok()?)));
    match exponent {
        Some((mantissa, exponent)) if exponent < -4 || exponent >= digits => {
            let sign = if exponent < 0 { '-' } else { '+' };
            display(out, format_args!("{mantissa}e{sign}{:02}", exponent.abs()));
        }
        _ => display(out, plain),
    }
}

pub(super) fn hex(out: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + bytes.len() * 2);
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

/// A time of day, in microseconds.
pub(super) fn time(out: &mut BytesMut, micros: i64) {
    let seconds = micros / MICROS_PER_SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    display(out, format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    fraction(out, micros % MICROS_PER_SECOND);
}

/// Behind the seconds, without the zeros at its end.
fn fraction(out: &mut BytesMut, micros: i64) {
    if micros != 0 {
        let digits = format!("{:06}", micros.abs());
        display(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

/// How a point in time is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    /// As it stands, without an offset.
    None,
    Utc,
    Other(Tz),
}

/// A point in time.
pub(super) fn timestamp(
    out: &mut BytesMut,
    array: &PrimitiveArray<TimestampMicrosecondType>,
    row: usize,
    zone: Zone,
) -> Result<(), ArrowError> {
    const SECONDS: &str = "%Y-%m-%d %H:%M:%S";
    let micros = array.value(row).rem_euclid(MICROS_PER_SECOND);
    if let Zone::Other(zone) = zone {
        let local = array.value_as_datetime_with_tz(row, zone).ok_or_else(out_of_range)?;
        display(out, local.format(SECONDS));
        fraction(out, micros);
        let offset = local.format("%:z").to_string();
        display(out, offset.strip_suffix(":00").unwrap_or(&offset));
        return Ok(());
    }
    let local = array.value_as_datetime(row).ok_or_else(out_of_range)?;
    display(out, local.format(SECONDS));
    fraction(out, micros);
    if matches!(zone, Zone::Utc) {
        display(out, "+00");
    }
    Ok(())
}

/// `1 year 2 mons -3 days +04:05:06.789`: a plus follows a minus.
pub(super) fn interval(out: &mut BytesMut, value: IntervalMonthDayNano) {
    let (mut is_first, mut is_after_minus) = (true, false);
    let parts = [("year", value.months / 12), ("mon", value.months % 12), ("day", value.days)];
    for (unit, count) in parts.into_iter().filter(|(_, count)| *count != 0) {
        let space = if is_first { "" } else { " " };
        let plus = if is_after_minus && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        display(out, format_args!("{space}{plus}{count} {unit}{plural}"));
        is_first = false;
        is_after_minus = count < 0;
    }
    let micros = value.nanoseconds / 1000;
    if micros != 0 || is_first {
        let space = if is_first { "" } else { " " };
        let sign = if micros < 0 {
            "-"
        } else if is_after_minus {
            "+"
        } else {
            ""
        };
        display(out, format_args!("{space}{sign}"));
        time(out, micros.saturating_abs());
    }
}

/// An element between an array's braces, quoted where it must be.
pub(super) fn array_element(out: &mut BytesMut, element: &[u8]) {
    let is_special =
        |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || byte.is_ascii_whitespace();
    let is_plain = !element.is_empty()
        && !element.eq_ignore_ascii_case(b"null")
        && !element.iter().any(is_special);
    if is_plain {
        out.extend_from_slice(element);
        return;
    }
    out.put_u8(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn floats_are_as_postgres_shows_them() {
        for (value, text) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(shown(|out| float64(out, value)), text);
        }
        assert_eq!(shown(|out| float32(out, 0.1)), "0.1");
        assert_eq!(shown(|out| float32(out, 1e6)), "1e+06");
    }

    #[test]
    fn intervals_are_as_postgres_shows_them() {
        for ((months, days, micros), text) in [
            ((0, 0, 0), "00:00:00"),
            ((14, 1, 0), "1 year 2 mons 1 day"),
            ((0, 0, -1_500_000), "-00:00:01.5"),
            ((-1, 3, 4 * 3_600_000_000), "-1 mons +3 days 04:00:00"),
            ((0, -1, 60_000_000), "-1 days +00:01:00"),
        ] {
            let value = IntervalMonthDayNano::new(months, days, micros * 1000);
            assert_eq!(shown(|out| interval(out, value)), text);
        }
    }

    #[test]
    fn elements_that_could_be_mistaken_are_quoted() {
        for (element, text) in
            [("a", "a"), ("", "\"\""), ("NULL", "\"NULL\""), ("a b", "\"a b\""), ("\"", "\"\\\"\"")]
        {
            assert_eq!(shown(|out| array_element(out, element.as_bytes())), text);
        }
    }
}
