//! Typed configuration values: Kafka's `ConfigDef` types, validators and messages.
//!
//! Invariant: a [`Value`] exists only if its text parsed as its type and passed its validator, and
//! [`Value::to_text`] gives the text that Kafka's `ConfigDef.convertToString` would give.

use std::fmt;

use super::secret::Secret;

/// The type of a key, with Kafka's wire ids (`DescribeConfigsResponse.ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`, case-insensitive.
    Boolean = 1,
    /// Text, trimmed.
    String = 2,
    /// 32 bits, signed.
    Int = 3,
    /// 16 bits, signed.
    Short = 4,
    /// 64 bits, signed.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Items separated by commas.
    List = 7,
    /// The name of a Java class; only ever stored.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

impl ConfigType {
    /// Kafka's name of the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// What a key accepts beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validator {
    /// Anything of the type.
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number in this closed range.
    Between(i64, i64),
    /// A gzip level: 1 to 9, or -1 for the default.
    GzipLevel,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of these words; may be empty.
    ListOf(&'static [&'static str]),
    /// A list with at least one item.
    NonEmptyList,
    /// `*` or `partition:broker,…` (the replication throttles).
    ThrottledReplicas,
}

impl fmt::Display for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::AtLeast(min) => write!(f, "[{min},...]"),
            Self::Between(min, max) => write!(f, "[{min},...,{max}]"),
            Self::GzipLevel => f.write_str("[1,...,9] or -1"),
            Self::OneOf(words) | Self::ListOf(words) => write!(f, "[{}]", words.join(", ")),
            Self::OneOfAnyCase(words) => write!(f, "(case insensitive) [{}]", words.join(", ")),
            Self::NonEmptyList => f.write_str("non-empty list"),
            Self::ThrottledReplicas => {
                f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],...")
            }
        }
    }
}

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// See [`ConfigType::Boolean`].
    Boolean(bool),
    /// See [`ConfigType::String`] and [`ConfigType::Class`].
    String(String),
    /// All integer types; the range was checked at parsing.
    Number(i64),
    /// See [`ConfigType::Double`].
    Double(f64),
    /// See [`ConfigType::List`].
    List(Vec<String>),
    /// See [`ConfigType::Password`].
    Password(Secret<String>),
}

impl Value {
    /// Parses and validates `text` as the value of `name`.
    ///
    /// # Errors
    /// With Kafka's own message for the type or the range.
    pub fn parse(
        name: &str,
        kind: ConfigType,
        validator: Validator,
        text: &str,
    ) -> Result<Self, ValueError> {
        let value = Self::parse_type(name, kind, text)?;
        value.validate(name, validator)?;
        Ok(value)
    }

    fn parse_type(name: &str, kind: ConfigType, text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let number = |min: i64, max: i64| match text.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Self::Number(number)),
            _ => Err(invalid(name, text, &format!("Not a number of type {}", kind.name()))),
        };
        match kind {
            ConfigType::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Self::Boolean(true)),
                "false" => Ok(Self::Boolean(false)),
                _ => Err(invalid(name, text, "Expected value to be either true or false")),
            },
            ConfigType::Int => number(i64::from(i32::MIN), i64::from(i32::MAX)),
            ConfigType::Short => number(i64::from(i16::MIN), i64::from(i16::MAX)),
            ConfigType::Long => number(i64::MIN, i64::MAX),
            ConfigType::Double => match text.parse::<f64>() {
                Ok(number) => Ok(Self::Double(number)),
                Err(_) => Err(invalid(name, text, "Not a number of type DOUBLE")),
            },
            ConfigType::String | ConfigType::Class => Ok(Self::String(text.to_owned())),
            ConfigType::Password => Ok(Self::Password(Secret::new(text.to_owned()))),
            ConfigType::List => Ok(Self::List(split_list(text))),
        }
    }

    fn validate(&self, name: &str, validator: Validator) -> Result<(), ValueError> {
        match (validator, self) {
            (Validator::AtLeast(min), _) => self.check_range(name, Some(min), None),
            (Validator::Between(min, max), _) => self.check_range(name, Some(min), Some(max)),
            (Validator::GzipLevel, Self::Number(level)) => {
                if *level == -1 || (1..=9).contains(level) {
                    return Ok(());
                }
                let why = "Value must be between 1 and 9 or equal to -1";
                Err(invalid(name, &level.to_string(), why))
            }
            (Validator::OneOf(words), Self::String(text)) => one_of(name, text, words),
            (Validator::OneOfAnyCase(words), Self::String(text)) => {
                if words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Ok(());
                }
                let why = format!("String must be one of (case insensitive): {}", words.join(", "));
                Err(invalid(name, text, &why))
            }
            (Validator::ListOf(words), Self::List(items)) => {
                if items.iter().any(String::is_empty) {
                    let why = format!("Configuration '{name}' values must not be empty.");
                    return Err(ValueError(why));
                }
                items.iter().try_for_each(|item| one_of(name, item, words))
            }
            (Validator::NonEmptyList, Self::List(items)) if items.is_empty() => {
                Err(ValueError(format!(
                    "Configuration '{name}' must not be empty. Valid values include: \
                     any non-empty value"
                )))
            }
            (Validator::ThrottledReplicas, Self::List(items)) => throttled_replicas(name, items),
            _ => Ok(()),
        }
    }

    fn check_range(
        &self,
        name: &str,
        min: Option<i64>,
        max: Option<i64>,
    ) -> Result<(), ValueError> {
        let below = |bound: i64| match self {
            Self::Number(number) => *number < bound,
            #[allow(clippy::cast_precision_loss, reason = "bounds of doubles are small")]
            Self::Double(number) => *number < bound as f64,
            _ => false,
        };
        let above = |bound: i64| match self {
            Self::Number(number) => *number > bound,
            #[allow(clippy::cast_precision_loss, reason = "bounds of doubles are small")]
            Self::Double(number) => *number > bound as f64,
            _ => false,
        };
        if let Some(min) = min.filter(|min| below(*min)) {
            let why = format!("Value must be at least {min}");
            return Err(invalid(name, &self.to_text(), &why));
        }
        if let Some(max) = max.filter(|max| above(*max)) {
            let why = format!("Value must be no more than {max}");
            return Err(invalid(name, &self.to_text(), &why));
        }
        Ok(())
    }

    /// The canonical text, as DescribeConfigs shows it. A password's is `***`.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::String(value) => value.clone(),
            Self::Number(value) => value.to_string(),
            Self::Double(value) => java_double(*value),
            Self::List(items) => items.join(","),
            Self::Password(secret) => secret.to_string(),
        }
    }
}

/// A value that a key does not accept: Kafka's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

/// Kafka's `ConfigException(name, value, message)`.
pub(crate) fn invalid(name: &str, text: &str, why: &str) -> ValueError {
    ValueError(format!("Invalid value {text} for configuration {name}: {why}"))
}

/// Splits as `ConfigDef` does: blanks around commas vanish, empty text is an empty list.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn one_of(name: &str, text: &str, words: &[&str]) -> Result<(), ValueError> {
    if words.contains(&text) {
        return Ok(());
    }
    Err(invalid(name, text, &format!("String must be one of: {}", words.join(", "))))
}

fn throttled_replicas(name: &str, items: &[String]) -> Result<(), ValueError> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_pair = |item: &String| {
        item.split_once(':').is_some_and(|(left, right)| is_number(left) && is_number(right))
    };
    if items.is_empty() || matches!(items, [star] if star == "*") || items.iter().all(is_pair) {
        return Ok(());
    }
    let why = format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    Err(invalid(name, &format!("[{}]", items.join(", ")), &why))
}

/// `Double.toString` of Java: scientific from 10^7 on and below 10^-3.
fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) || !value.is_finite() {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(name: &str, kind: ConfigType, validator: Validator, text: &str) -> String {
        Value::parse(name, kind, validator, text).unwrap_err().to_string()
    }

    #[test]
    fn messages_are_those_of_kafka() {
        let at_least = Validator::AtLeast(-1);
        assert_eq!(
            message("retention.ms", ConfigType::Long, at_least, "abc"),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            message("retention.ms", ConfigType::Long, at_least, "-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(
            message("segment.bytes", ConfigType::Int, at_least, "99999999999"),
            "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT"
        );
        assert_eq!(
            message("preallocate", ConfigType::Boolean, Validator::Any, "yes"),
            "Invalid value yes for configuration preallocate: \
             Expected value to be either true or false"
        );
        let policy = Validator::ListOf(&["compact", "delete"]);
        assert_eq!(
            message("cleanup.policy", ConfigType::List, policy, "foo"),
            "Invalid value foo for configuration cleanup.policy: \
             String must be one of: compact, delete"
        );
        assert_eq!(
            message("cleanup.policy", ConfigType::List, policy, "delete,"),
            "Configuration 'cleanup.policy' values must not be empty."
        );
        assert_eq!(
            message("d", ConfigType::Double, Validator::Between(0, 1), "1.5"),
            "Invalid value 1.5 for configuration d: Value must be no more than 1"
        );
        assert_eq!(
            message("g", ConfigType::Int, Validator::GzipLevel, "0"),
            "Invalid value 0 for configuration g: Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            message("t", ConfigType::List, Validator::ThrottledReplicas, "xx"),
            "Invalid value [xx] for configuration t: t must be the literal '*' or a list of \
             replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
    }

    #[test]
    fn text_is_canonical() {
        let text = |kind, text| Value::parse("k", kind, Validator::Any, text).unwrap().to_text();
        assert_eq!(text(ConfigType::Boolean, " TRUE "), "true");
        assert_eq!(text(ConfigType::List, " a , b "), "a,b");
        assert_eq!(text(ConfigType::Int, "+5"), "5");
        assert_eq!(text(ConfigType::Double, "1"), "1.0");
        assert_eq!(text(ConfigType::Double, "0.5"), "0.5");
        assert_eq!(text(ConfigType::Double, "1.7976931348623157E308"), "1.7976931348623157E308");
        assert_eq!(text(ConfigType::Double, "10000000"), "1.0E7");
        assert_eq!(text(ConfigType::Password, "hush"), "***");
    }

    #[test]
    fn throttles_take_a_star_pairs_or_nothing() {
        for text in ["*", "1:2,3:4", ""] {
            Value::parse("t", ConfigType::List, Validator::ThrottledReplicas, text).unwrap();
        }
    }
}
