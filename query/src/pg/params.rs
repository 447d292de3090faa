//! Parameters: their types, as a statement shows them, and their values, as clients send them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, IntervalMonthDayNano};
use datafusion::{
    common::{
        ParamValues, ScalarValue,
        tree_node::{TreeNode as _, TreeNodeRecursion},
    },
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan},
    sql::sqlparser::ast,
};
use pgwire::api::Type;

use super::{error::PgError, numeric, types};

/// Days and microseconds from 1970 to 2000, from where PostgreSQL counts.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// As many as a Bind message can count.
const PARAMETERS_MAX: usize = 65_535;

/// The parameters of a plan, from `$1` on: what it compares them with or casts them to; `None`
/// where nothing says so.
pub(super) fn inferred(plan: &LogicalPlan) -> Result<Vec<Option<Field>>, DataFusionError> {
    let mut found: BTreeMap<usize, Option<Field>> = BTreeMap::new();
    for (name, field) in plan.get_parameter_fields()? {
        found.insert(index(&name)?, field.map(|field| field.as_ref().clone()));
    }
    for (name, data_type) in casts(plan)? {
        let entry = found.entry(index(&name)?).or_default();
        if entry.is_none() {
            *entry = Some(Field::new("", data_type, true));
        }
    }
    let count = found.keys().next_back().map_or(0, |last| last + 1);
    Ok((0..count).map(|index| found.remove(&index).flatten()).collect())
}

/// From `$n`, counted from zero.
fn index(name: &str) -> Result<usize, DataFusionError> {
    let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
    let number = number.filter(|number| (1..=PARAMETERS_MAX).contains(number));
    number.map(|number| number - 1).ok_or_else(|| {
        DataFusionError::Plan(format!("there is no parameter {name}: they are $1, $2, …"))
    })
}

/// What parameters are cast to; those of LIMIT and OFFSET count.
fn casts(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>, DataFusionError> {
    let mut casts = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            let counts = [&limit.skip, &limit.fetch].into_iter().flatten();
            casts.extend(counts.filter_map(|count| match count.as_ref() {
                Expr::Placeholder(placeholder) => Some((placeholder.id.clone(), DataType::Int64)),
                _ => None,
            }));
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                {
                    casts.push((placeholder.id.clone(), cast.field.data_type().clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(casts)
}

/// Values for a plan.
pub(super) fn list(values: Vec<ScalarValue>) -> ParamValues {
    ParamValues::List(values.into_iter().map(Into::into).collect())
}

/// A value as a client sent it.
pub(super) fn decode(
    index: usize,
    kind: &Type,
    binary: bool,
    bytes: Option<&[u8]>,
) -> Result<ScalarValue, PgError> {
    let data_type = types::arrow_of(kind);
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(&data_type).map_err(|error| invalid(index, kind, &error));
    };
    if binary {
        return binary_value(kind, bytes).ok_or_else(|| {
            let message = format!("incorrect binary data format in bind parameter {}", index + 1);
            PgError::new("22P03", message)
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(index, kind, &error))?;
    text_value(kind, text).map_err(|error| invalid(index, kind, &error))
}

fn invalid(index: usize, kind: &Type, why: &dyn std::fmt::Display) -> PgError {
    let message = format!("invalid input for parameter ${} of type {kind}: {why}", index + 1);
    PgError::new("22P02", message)
}

fn text_value(kind: &Type, text: &str) -> Result<ScalarValue, DataFusionError> {
    if let Some(element) = types::element_of(kind) {
        let elements = split_array(text).ok_or_else(|| {
            DataFusionError::Execution(format!("malformed array literal: {text}"))
        })?;
        let element_type = types::arrow_of(&element);
        let values = elements.iter().map(|value| match value {
            Some(value) => text_value(&element, value),
            None => ScalarValue::try_from(&element_type),
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        return Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &element_type)));
    }
    match *kind {
        Type::BYTEA => Ok(ScalarValue::Binary(Some(bytea(text)))),
        Type::NUMERIC => numeric_value(text).ok_or_else(|| {
            DataFusionError::Execution(format!("invalid input syntax for type numeric: {text}"))
        }),
        _ => match types::arrow_of(kind) {
            DataType::Utf8 => Ok(ScalarValue::Utf8(Some(text.to_owned()))),
            data_type => ScalarValue::try_from_string(text.trim().to_owned(), &data_type),
        },
    }
}

/// `\x…` in hex; anything else as it stands, without the escapes of old.
fn bytea(text: &str) -> Vec<u8> {
    let hex = text.strip_prefix("\\x").and_then(|digits| {
        let pairs = digits.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        (digits.len() % 2 == 0).then(|| pairs.map(byte).collect::<Option<Vec<_>>>())?
    });
    hex.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// A decimal with as many digits as the text has.
fn numeric_value(text: &str) -> Option<ScalarValue> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        // With an exponent, or not finite.
        return text.parse().ok().map(|value| ScalarValue::Float64(Some(value)));
    }
    let significant = all.trim_start_matches('0').len().max(fraction.len()).max(1);
    match (all.parse::<i128>(), u8::try_from(significant), i8::try_from(fraction.len())) {
        (Ok(value), Ok(precision), Ok(scale)) if precision <= 38 => {
            Some(ScalarValue::Decimal128(Some(sign * value), precision, scale))
        }
        _ => text.parse().ok().map(|value| ScalarValue::Float64(Some(value))),
    }
}

fn binary_value(kind: &Type, bytes: &[u8]) -> Option<ScalarValue> {
    if let Some(element) = types::element_of(kind) {
        return binary_array(&element, bytes);
    }
    Some(match *kind {
        Type::BOOL => ScalarValue::Boolean(Some(*fixed::<1>(bytes)?.first()? != 0)),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGNAMESPACE => {
            ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?)))
        }
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes)?))),
        Type::NUMERIC => numeric_value(&numeric::read(bytes)?)?,
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => {
            let days = i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_DAYS)?;
            ScalarValue::Date32(Some(days))
        }
        Type::TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(micros(bytes)?), None),
        Type::TIMESTAMPTZ => {
            ScalarValue::TimestampMicrosecond(Some(micros(bytes)?), Some("UTC".into()))
        }
        Type::INTERVAL => {
            let (time, rest) = bytes.split_at_checked(8)?;
            let (days, months) = rest.split_at_checked(4)?;
            let nanos = i64::from_be_bytes(fixed(time)?).checked_mul(1000)?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
                i32::from_be_bytes(fixed(months)?),
                i32::from_be_bytes(fixed(days)?),
                nanos,
            )))
        }
        Type::UUID => ScalarValue::Utf8(Some(uuid(fixed(bytes)?))),
        // Behind the number of its format.
        Type::JSONB => ScalarValue::Utf8(Some(String::from_utf8(bytes.get(1..)?.to_vec()).ok()?)),
        _ => ScalarValue::Utf8(Some(String::from_utf8(bytes.to_vec()).ok()?)),
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn micros(bytes: &[u8]) -> Option<i64> {
    i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_MICROS)
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// An array of one dimension.
fn binary_array(element: &Type, bytes: &[u8]) -> Option<ScalarValue> {
    let mut at = 0;
    let mut next = || {
        let word = bytes.get(at..at + 4).and_then(fixed).map(i32::from_be_bytes);
        at += 4;
        word
    };
    let (dimensions, _has_nulls, _oid) = (next()?, next()?, next()?);
    let mut values = Vec::new();
    let data_type = types::arrow_of(element);
    if dimensions == 1 {
        let (count, _first) = (next()?, next()?);
        let mut rest = bytes.get(20..)?;
        for _ in 0..count {
            let (length, after) = rest.split_at_checked(4)?;
            rest = after;
            match usize::try_from(i32::from_be_bytes(fixed(length)?)) {
                Ok(length) => {
                    let (value, after) = rest.split_at_checked(length)?;
                    values.push(binary_value(element, value)?);
                    rest = after;
                }
                Err(_) => values.push(ScalarValue::try_from(&data_type).ok()?),
            }
        }
    } else if dimensions != 0 {
        return None;
    }
    // Numbers may have come out as different decimals.
    let data_type = values.first().map_or(data_type, ScalarValue::data_type);
    let values = values.into_iter().map(|value| value.cast_to(&data_type).ok());
    let values = values.collect::<Option<Vec<_>>>()?;
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&values, &data_type)))
}

/// The elements of `{a,"b c",NULL}`.
pub(super) fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut elements, mut element) = (Vec::new(), String::new());
    let (mut is_quoted, mut in_quotes) = (false, false);
    let mut finish = |element: &mut String, is_quoted: &mut bool| {
        let text = std::mem::take(element);
        let is_null = !*is_quoted && text.trim().eq_ignore_ascii_case("null");
        let text = if *is_quoted { text } else { text.trim().to_owned() };
        elements.push((!is_null).then_some(text));
        *is_quoted = false;
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => element.push(chars.next()?),
            '"' => {
                if !in_quotes && element.trim().is_empty() {
                    element.clear();
                }
                in_quotes = !in_quotes;
                is_quoted = true;
            }
            c if is_quoted && !in_quotes && c.is_whitespace() => {}
            ',' if !in_quotes => finish(&mut element, &mut is_quoted),
            '{' | '}' if !in_quotes => return None,
            other => element.push(other),
        }
    }
    if !inner.trim().is_empty() {
        finish(&mut element, &mut is_quoted);
    }
    Some(elements)
}

/// A value of a parameter for which the statement, not the client, knows the type.
pub(super) fn fit(value: ScalarValue, field: Option<&Field>) -> Result<ScalarValue, PgError> {
    match field {
        Some(field) if value.data_type() != *field.data_type() => value
            .cast_to(field.data_type())
            .map_err(|error| PgError::new("22P02", error.strip_backtrace())),
        _ => Ok(value),
    }
}

/// The type that a statement names; one that we do not have is left to be inferred.
pub(super) fn sql_type(kind: &ast::DataType) -> Type {
    let text = kind.to_string().to_ascii_lowercase();
    let (name, is_array) = match text.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (text.as_str(), false),
    };
    let name = name.split('(').next().unwrap_or_default().trim();
    let found = match name {
        "boolean" | "bool" => Type::BOOL,
        "smallint" | "int2" => Type::INT2,
        "integer" | "int" | "int4" => Type::INT4,
        "bigint" | "int8" => Type::INT8,
        "real" | "float4" => Type::FLOAT4,
        "double precision" | "float8" | "float" => Type::FLOAT8,
        "numeric" | "decimal" => Type::NUMERIC,
        "text" | "varchar" | "character varying" => Type::TEXT,
        "bytea" => Type::BYTEA,
        "date" => Type::DATE,
        "time" => Type::TIME,
        "timestamp" => Type::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => Type::TIMESTAMPTZ,
        "interval" => Type::INTERVAL,
        "oid" | "regclass" | "regtype" | "regnamespace" | "regproc" => Type::OID,
        _ => Type::UNKNOWN,
    };
    if is_array && found != Type::UNKNOWN { types::array_of(&found) } else { found }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn text(kind: &Type, value: &str) -> ScalarValue {
        decode(0, kind, false, Some(value.as_bytes())).unwrap()
    }

    #[test]
    fn text_is_read_by_its_type() {
        assert_eq!(text(&Type::INT8, " 7 "), ScalarValue::Int64(Some(7)));
        assert_eq!(text(&Type::BOOL, "t"), ScalarValue::Boolean(Some(true)));
        assert_eq!(text(&Type::TEXT, " a "), ScalarValue::Utf8(Some(" a ".to_owned())));
        assert_eq!(text(&Type::BYTEA, "\\x0aff"), ScalarValue::Binary(Some(vec![10, 255])));
        assert_eq!(text(&Type::NUMERIC, "-1.50"), ScalarValue::Decimal128(Some(-150), 3, 2));
        assert_eq!(text(&Type::DATE, "1970-01-02"), ScalarValue::Date32(Some(1)));
        let error = decode(1, &Type::INT4, false, Some(b"x")).unwrap_err();
        assert_eq!(error.state(), "22P02");
        assert!(error.to_string().contains("$2"), "{error}");
    }

    #[test]
    fn arrays_are_taken_apart() {
        let split = |text: &str| split_array(text).unwrap();
        assert_eq!(split("{}"), []);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            split(r#"{a, "b,\"c" ,NULL,"null",""}"#),
            [some("a"), some("b,\"c"), None, some("null"), some("")]
        );
        assert!(split_array("{{1},{2}}").is_none());
    }

    #[test]
    fn binary_times_count_from_2000() {
        let value = decode(0, &Type::TIMESTAMP, true, Some(&0_i64.to_be_bytes())).unwrap();
        assert_eq!(value, ScalarValue::TimestampMicrosecond(Some(EPOCH_MICROS), None));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            kind in prop_oneof![
                Just(Type::INT8_ARRAY), Just(Type::NUMERIC), Just(Type::TIMESTAMPTZ),
                Just(Type::TEXT_ARRAY), Just(Type::INTERVAL), Just(Type::UUID), Just(Type::JSONB),
            ],
            binary: bool,
        ) {
            let _ = decode(0, &kind, binary, Some(&bytes));
        }
    }
}
