//! Questions that are known by heart, because no rule makes them something to plan.

use datafusion::sql::sqlparser::ast::Statement;

/// A name of a common table expression by which a question is known, and what is asked instead.
const KNOWN: &[(&str, &str)] = &[
    // asyncpg, of types that it does not know: for us, arrays.
    (
        "typeinfo_tree",
        "SELECT t.oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, \
         CAST(NULL AS integer) AS basetype, t.typelem AS elemtype, e.typdelim AS elemdelim, \
         CAST(NULL AS integer) AS range_subtype, CAST(NULL AS text) AS attrtypoids, \
         CAST(NULL AS text) AS attrnames, 0 AS depth, CAST(NULL AS text) AS basetype_name, \
         e.typname AS elemtype_name, CAST(NULL AS text) AS range_subtype_name \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.oid = ANY($1::oid[])",
    ),
];

/// What is asked in place of a statement, if it is known.
pub(super) fn instead_of(statement: &Statement) -> Option<&'static str> {
    let Statement::Query(query) = statement else { return None };
    let tables = &query.with.as_ref()?.cte_tables;
    let named = |name: &str| tables.iter().any(|table| table.alias.name.value == name);
    KNOWN.iter().find(|(name, _)| named(name)).map(|(_, sql)| *sql)
}
