//! Names: of tables, from topics, and of columns, from fields of JSON objects.

use std::fmt;

use crate::schema::RESERVED_PREFIX;

/// The namespace, and so the SQL schema, of tables that name none.
pub const DEFAULT_NAMESPACE: &str = "public";
/// What the name of a table's dead-letter table ends in where it has none of its own.
pub const DEAD_LETTERS_SUFFIX: &str = "__dlq";

/// What stands before a field's name where that is reserved.
const RESERVED_ESCAPE: &str = "value_";
/// Longest column name, characters.
pub const COLUMN_NAME_LEN_MAX: usize = 255;
/// Longest table name, bytes: it is the name of a directory.
pub const TABLE_NAME_LEN_MAX: usize = 200;

/// A table's name in SQL. Names that differ only by case are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The SQL schema.
    pub namespace: String,
    /// The name within it.
    pub name: String,
}

impl TableName {
    /// Whether it is in a namespace.
    #[must_use]
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.eq_ignore_ascii_case(namespace)
    }

    /// The directory of its table, without what tells it from others of the name.
    pub(crate) fn directory(&self) -> String {
        match self.is_in(DEFAULT_NAMESPACE) {
            true => self.name.clone(),
            false => format!("{}/{}", self.namespace, self.name),
        }
    }

    /// What two tables must not share.
    pub(crate) fn claim(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

/// As SQL has it, without the namespace where that is the default.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_in(DEFAULT_NAMESPACE) {
            write!(f, "{}.", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// The table of a topic that names none: its own name, with `_` for what an SQL identifier lacks.
/// Two topics may so claim one name; the first has it (see [`crate::catalog`]).
#[must_use]
pub fn table_name(topic: &str) -> String {
    topic.chars().map(|c| if is_identifier(c) { c } else { '_' }).collect()
}

/// Whether `name` can be given to a table with `table.name`.
#[must_use]
pub fn is_table_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= TABLE_NAME_LEN_MAX && name.chars().all(is_identifier)
}

/// Whether `name` can be given to a namespace with `table.namespace`: the catalog's own cannot.
#[must_use]
pub fn is_namespace(name: &str) -> bool {
    let is_system = |name: &str| name.starts_with("pg_") || name == "information_schema";
    is_table_name(name) && !is_system(&name.to_ascii_lowercase())
}

fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The column of a field: `_` for characters that Delta refuses in names (those that Parquet's
/// readers stumble over, and control characters), `_` for the empty name, and `value_` before
/// names that begin as Kafka's own columns do, in whatever case.
#[must_use]
pub fn column_name(field: &str) -> String {
    let legal = |c: char| !(c.is_control() || " ,;{}()\n\t=.`".contains(c));
    let mut name: String =
        field.chars().take(COLUMN_NAME_LEN_MAX).map(|c| if legal(c) { c } else { '_' }).collect();
    if name.is_empty() {
        name.push('_');
    }
    let begins = name.get(..RESERVED_PREFIX.len());
    if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(RESERVED_PREFIX)) {
        name.insert_str(0, RESERVED_ESCAPE);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_give_tables_their_names() {
        assert_eq!(table_name("flights"), "flights");
        assert_eq!(table_name("a.b"), "a_b");
        assert_eq!(table_name("a_b"), "a_b");
        assert_eq!(table_name("Orders-EU.v1"), "Orders_EU_v1");
    }

    #[test]
    fn names_of_tables_are_identifiers() {
        assert!(is_table_name("orders_2") && is_table_name("2024"));
        assert!(!is_table_name("") && !is_table_name("a.b") && !is_table_name("ü"));
        assert!(!is_table_name(&"x".repeat(TABLE_NAME_LEN_MAX + 1)));
        assert!(is_namespace("sales") && is_namespace("pgx"));
        assert!(!is_namespace("PG_catalog") && !is_namespace("information_schema"));
        let name = |namespace: &str| TableName {
            namespace: namespace.to_owned(),
            name: "Orders".to_owned(),
        };
        assert_eq!(name("Public").to_string(), "Orders");
        assert_eq!(name("EU").to_string(), "EU.Orders");
        assert_eq!((&*name("EU").directory(), &*name("EU").claim()), ("EU/Orders", "eu.orders"));
    }

    #[test]
    fn fields_give_columns_legal_names() {
        assert_eq!(column_name("dep_delay"), "dep_delay");
        assert_eq!(column_name("dep delay (min)"), "dep_delay__min_");
        assert_eq!(column_name("größe"), "größe");
        assert_eq!(column_name(""), "_");
        assert_eq!(column_name("a.b"), "a_b");
        assert_eq!(column_name("x\u{0}y"), "x_y");
        assert_eq!(column_name(&"y".repeat(300)).len(), COLUMN_NAME_LEN_MAX);
    }

    #[test]
    fn fields_named_as_kafkas_columns_are_set_apart() {
        assert_eq!(column_name("kafka_offset"), "value_kafka_offset");
        assert_eq!(column_name("Kafka_Offset"), "value_Kafka_Offset");
        assert_eq!(column_name("kafka"), "kafka");
        assert_eq!(column_name("käfka_"), "käfka_");
    }
}
