//! Names: of tables, from topics, and of columns, from fields of JSON objects.

use crate::schema::RESERVED_PREFIX;

/// What stands before a field's name where that is reserved.
const RESERVED_ESCAPE: &str = "value_";
/// Longest column name, characters.
pub const COLUMN_NAME_LEN_MAX: usize = 255;
/// Longest table name, bytes: it is the name of a directory.
pub const TABLE_NAME_LEN_MAX: usize = 200;

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
