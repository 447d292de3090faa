//! The settings of a session: what SET changes, SHOW shows, and clients are told.
//!
//! Some act: the time zone, the timeout, the name of the application. The others are there
//! because clients set them; those that cannot be changed say so.

use std::{collections::BTreeMap, time::Duration};

use arrow::array::timezone::Tz;

use super::error::PgError;
use crate::engine::TIMEOUT_DEFAULT;

/// The version of PostgreSQL whose catalog and wire format clients find.
pub(super) const SERVER_VERSION: &str = "15.0";

/// How a setting behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any value is kept.
    Free,
    /// Only its default is accepted.
    Fixed,
    /// A name of a time zone.
    Zone,
    /// Milliseconds, or a number with a unit.
    Time,
    /// UTF-8 under any of its names.
    Encoding,
    /// ISO, whatever comes behind it.
    DateStyle,
}

use Kind::{DateStyle, Encoding, Fixed, Free, Time, Zone};

/// Name as it is spelled, default, kind, and whether clients are told of its changes.
const SETTINGS: &[(&str, &str, Kind, bool)] = &[
    ("application_name", "", Free, true),
    ("bytea_output", "hex", Fixed, false),
    ("client_encoding", "UTF8", Encoding, true),
    ("client_min_messages", "notice", Free, false),
    ("DateStyle", "ISO, MDY", DateStyle, true),
    ("default_transaction_isolation", "read committed", Free, false),
    ("default_transaction_read_only", "on", Free, true),
    ("enable_seqscan", "on", Free, false),
    ("extra_float_digits", "1", Free, false),
    ("idle_in_transaction_session_timeout", "0", Free, false),
    ("in_hot_standby", "off", Fixed, true),
    ("integer_datetimes", "on", Fixed, true),
    ("IntervalStyle", "postgres", Fixed, true),
    ("is_superuser", "off", Fixed, true),
    ("jit", "off", Free, false),
    ("lc_collate", "C", Fixed, false),
    ("lc_ctype", "C", Fixed, false),
    ("lc_messages", "C", Free, false),
    ("lc_monetary", "C", Free, false),
    ("lc_numeric", "C", Free, false),
    ("lc_time", "C", Free, false),
    ("lock_timeout", "0", Free, false),
    ("max_identifier_length", "63", Fixed, false),
    ("max_index_keys", "32", Fixed, false),
    ("max_parallel_workers_per_gather", "0", Free, false),
    ("row_security", "on", Free, false),
    ("search_path", "\"$user\", public", Free, false),
    ("server_encoding", "UTF8", Fixed, true),
    ("server_version", SERVER_VERSION, Fixed, true),
    ("server_version_num", "150000", Fixed, false),
    ("session_authorization", "", Fixed, true),
    ("standard_conforming_strings", "on", Fixed, true),
    ("statement_timeout", "", Time, false),
    ("synchronize_seqscans", "on", Free, false),
    ("TimeZone", "UTC", Zone, true),
    ("transaction_isolation", "read committed", Free, false),
    ("transaction_read_only", "on", Free, false),
    ("work_mem", "4MB", Free, false),
];

/// A setting of a session, in full.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) default: String,
    /// It cannot be changed.
    pub(super) is_fixed: bool,
    /// It has another value than its default.
    pub(super) is_changed: bool,
}

/// The settings of one session.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Values by name in lower case, where they are not the default.
    values: BTreeMap<String, String>,
    user: String,
}

impl Settings {
    pub(super) fn new(user: &str) -> Self {
        Self { values: BTreeMap::new(), user: user.to_owned() }
    }

    /// What a client is told at its start, by name.
    pub(super) fn reported(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let reported = SETTINGS.iter().filter(|(.., is_reported)| *is_reported);
        reported.filter_map(|(name, ..)| Some((*name, self.get(name)?)))
    }

    /// All, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        SETTINGS.iter().filter_map(|(name, ..)| Some((*name, self.get(name)?)))
    }

    /// All, for `pg_settings`.
    pub(super) fn described(&self) -> impl Iterator<Item = Described> + '_ {
        SETTINGS.iter().map(|(name, default, kind, _)| {
            let changed = self.values.get(&name.to_ascii_lowercase());
            let default = self.default_of(name, default);
            Described {
                name,
                value: changed.cloned().unwrap_or_else(|| default.clone()),
                default,
                is_fixed: *kind == Fixed,
                is_changed: changed.is_some(),
            }
        })
    }

    /// A setting's value; `None` where there is no such setting.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        if let Some(value) = self.values.get(&name) {
            return Some(value.clone());
        }
        let (_, default, ..) = find(&name)?;
        Some(self.default_of(&name, default))
    }

    fn default_of(&self, name: &str, default: &str) -> String {
        match name {
            "statement_timeout" => show_millis(TIMEOUT_DEFAULT),
            "session_authorization" => self.user.clone(),
            _ => default.to_owned(),
        }
    }

    /// Changes a setting, to its default without a value. Returns its name and new value if the
    /// client has to be told.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<(&'static str, String)>, PgError> {
        let key = name.to_ascii_lowercase();
        let Some((spelled, default, kind, is_reported)) = find(&key) else {
            // Anybody's own, such as `myapp.user`.
            if !key.contains('.') {
                return Err(unknown(name));
            }
            match value {
                Some(value) => self.values.insert(key, value.to_owned()),
                None => self.values.remove(&key),
            };
            return Ok(None);
        };
        match value {
            None => {
                self.values.remove(&key);
            }
            Some(value) => {
                self.values.insert(key, check(spelled, default, *kind, value)?);
            }
        }
        let value = self.get(spelled).unwrap_or_default();
        Ok(is_reported.then_some((*spelled, value)))
    }

    /// Everything to its default. Returns what the client has to be told.
    pub(super) fn reset(&mut self) -> Vec<(&'static str, String)> {
        self.values.clear();
        self.reported().collect()
    }

    /// The time zone in which points in time are shown; `None` is UTC.
    pub(super) fn zone(&self) -> Option<Tz> {
        self.values.get("timezone").and_then(|name| name.parse().ok())
    }

    /// How long a statement may take; `None` is as long as it likes.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self.values.get("statement_timeout") {
            None => Some(TIMEOUT_DEFAULT),
            Some(value) => millis(value).filter(|millis| *millis > 0).map(Duration::from_millis),
        }
    }
}

fn find(key: &str) -> Option<&'static (&'static str, &'static str, Kind, bool)> {
    // As clients of old call it.
    let key = if key == "time zone" { "timezone" } else { key };
    SETTINGS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(key))
}

/// A setting's name as PostgreSQL spells it.
pub(super) fn spelled(name: &str) -> String {
    find(name).map_or_else(|| name.to_owned(), |(spelled, ..)| (*spelled).to_owned())
}

/// An error as PostgreSQL words it.
pub(super) fn unknown(name: &str) -> PgError {
    PgError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

/// The value as it is kept.
fn check(name: &str, default: &str, kind: Kind, value: &str) -> Result<String, PgError> {
    let is_right = match kind {
        Free => true,
        Fixed if value.eq_ignore_ascii_case(default) => true,
        Fixed => {
            return Err(PgError::new(
                "55P02",
                format!("parameter \"{name}\" cannot be changed from {default}"),
            ));
        }
        Zone => return check_zone(name, value),
        Time => return millis(value).map(show).ok_or_else(|| invalid(name, value)),
        Encoding => {
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            ["utf8", "unicode", "sqlascii"].iter().any(|name| plain.eq_ignore_ascii_case(name))
        }
        DateStyle => value.to_ascii_lowercase().starts_with("iso"),
    };
    if is_right { Ok(value.to_owned()) } else { Err(invalid(name, value)) }
}

fn invalid(name: &str, value: &str) -> PgError {
    PgError::new("22023", format!("invalid value for parameter \"{name}\": \"{value}\""))
}

fn check_zone(name: &str, value: &str) -> Result<String, PgError> {
    // Some name it in capitals, and so does PostgreSQL.
    let is_utc = ["utc", "gmt", "z", "default"].iter().any(|utc| value.eq_ignore_ascii_case(utc));
    let value = if is_utc { "UTC" } else { value };
    value.parse::<Tz>().map(|_| value.to_owned()).map_err(|_| invalid(name, value))
}

/// A time such as `5000`, `5s` or `1 min`, in milliseconds.
fn millis(value: &str) -> Option<u64> {
    let value = value.trim();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..end].parse().ok()?;
    let unit = match value[end..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// In the largest unit that fits, as PostgreSQL shows it.
fn show(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    match units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0".to_owned(),
        None => format!("{millis}ms"),
    }
}

fn show_millis(time: Duration) -> String {
    show(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_is_shown_and_reported_where_clients_want_it() {
        let mut settings = Settings::new("me");
        let told = settings.set("timezone", Some("Europe/Berlin")).unwrap();
        assert_eq!(told, Some(("TimeZone", "Europe/Berlin".to_owned())));
        assert!(settings.zone().is_some());
        assert_eq!(settings.set("statement_timeout", Some("5000")).unwrap(), None);
        assert_eq!(settings.get("statement_timeout").unwrap(), "5s");
        assert_eq!(settings.timeout(), Some(Duration::from_secs(5)));
        settings.set("statement_timeout", Some("0")).unwrap();
        assert_eq!(settings.timeout(), None);
        settings.reset();
        assert_eq!(settings.timeout(), Some(TIMEOUT_DEFAULT));
        assert_eq!(settings.get("session_authorization").unwrap(), "me");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut settings = Settings::new("me");
        for (name, value, state) in [
            ("nonsense", "1", "42704"),
            ("client_encoding", "LATIN1", "22023"),
            ("DateStyle", "German", "22023"),
            ("TimeZone", "Nowhere", "22023"),
            ("standard_conforming_strings", "off", "55P02"),
            ("statement_timeout", "soon", "22023"),
        ] {
            let error = settings.set(name, Some(value)).unwrap_err();
            assert_eq!(error.state(), state, "{name}");
        }
        settings.set("client_encoding", Some("UTF-8")).unwrap();
        settings.set("my.own", Some("1")).unwrap();
        assert_eq!(settings.get("my.own").unwrap(), "1");
    }
}
