//! The names of result columns: as PostgreSQL gives them, and apart from each other.
//!
//! DataFusion names a column by its expression and takes no two of one name; PostgreSQL names
//! `count(*)` `count`, and does not mind a second one. So columns without a name get
//! PostgreSQL's, the second of one name is marked, and the mark is taken off on the way out.

use std::{collections::BTreeMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, VisitMut as _, VisitorMut,
};

use super::last;

/// Stands between a name and the number that tells it apart.
const MARK: char = '\u{1f}';
/// The name of what has none.
const NAMELESS: &str = "?column?";

/// Names the columns of every SELECT.
pub(super) fn name(statement: &mut Statement) {
    // The visitor does not break off.
    let _ = statement.visit(&mut Names);
}

/// A name as clients see it.
pub(in crate::pg) fn shown(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_body(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn name_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            name_body(left);
            name_body(right);
        }
        // Visited as a query of its own.
        _ => {}
    }
}

fn name_select(select: &mut Select) {
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for item in &mut select.projection {
        let (name, is_plain) = match item {
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(_)) => (of(expr), true),
            // Told apart by its table, unless there are two of it.
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(_)) => (expr.to_string(), true),
            SelectItem::UnnamedExpr(expr) => (of(expr), false),
            SelectItem::ExprWithAlias { alias, .. } => (alias.value.clone(), true),
            _ => continue,
        };
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        // A wildcard may have a column of the same name.
        let is_double = *count > 1 || (has_wildcard && is_plain);
        if is_plain && !is_double {
            continue;
        }
        let name = match item {
            SelectItem::UnnamedExpr(expr) => of(expr),
            _ => name,
        };
        let alias = if is_double { format!("{name}{MARK}{count}") } else { name };
        let alias = Ident::with_quote('"', alias);
        match item {
            SelectItem::UnnamedExpr(expr) => {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            SelectItem::ExprWithAlias { alias: old, .. } if *count > 1 => *old = alias,
            _ => {}
        }
    }
}

/// PostgreSQL's name for a column without one.
pub(super) fn of(expr: &Expr) -> String {
    named(expr).unwrap_or_else(|| NAMELESS.to_owned())
}

fn named(expr: &Expr) -> Option<String> {
    let folded = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    Some(match expr {
        Expr::Identifier(ident) => folded(ident),
        Expr::CompoundIdentifier(parts) => folded(parts.last()?),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return named(inner),
        Expr::Function(function) => last(&function.name).to_lowercase(),
        Expr::Cast { expr, data_type, .. } => {
            return named(expr).or_else(|| Some(type_name(data_type)));
        }
        Expr::Case { else_result, .. } => {
            let otherwise = else_result.as_ref().and_then(|expr| named(expr));
            otherwise.unwrap_or_else(|| "case".to_owned())
        }
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => return named(expr),
                SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                _ => return None,
            },
            _ => return None,
        },
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::CompoundFieldAccess { root, .. } => return named(root),
        _ => return None,
    })
}

fn type_name(data_type: &DataType) -> String {
    let name = data_type.to_string().to_lowercase();
    let name = name.split('(').next().unwrap_or_default().trim();
    match name.strip_prefix("pg_catalog.").unwrap_or(name) {
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "double precision" | "double" => "float8",
        "real" => "float4",
        "boolean" => "bool",
        "decimal" => "numeric",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pg::command::parse_statements;

    fn rewritten(sql: &str) -> String {
        let mut statements = parse_statements(sql).unwrap();
        name(&mut statements[0]);
        statements[0].to_string().replace(MARK, "~")
    }

    #[test]
    fn columns_are_named_as_postgres_names_them() {
        assert_eq!(
            rewritten("SELECT a, COUNT(*), 1, 'x'::TEXT, b::BIGINT, (c + 1) FROM t"),
            "SELECT a, COUNT(*) AS \"count\", 1 AS \"?column?\", 'x'::TEXT AS \"text\", \
             b::BIGINT AS \"b\", (c + 1) AS \"?column?~2\" FROM t"
        );
    }

    #[test]
    fn names_are_told_apart_and_shown_alike() {
        assert_eq!(
            rewritten("SELECT count(a), count(b), t.id, u.id FROM t, u"),
            "SELECT count(a) AS \"count\", count(b) AS \"count~2\", t.id, u.id FROM t, u"
        );
        assert_eq!(rewritten("SELECT a, a FROM t"), "SELECT a, a AS \"a~2\" FROM t");
        assert_eq!(rewritten("SELECT a, * FROM t"), "SELECT a AS \"a~1\", * FROM t");
        assert_eq!(shown("a\u{1f}2"), "a");
        assert_eq!(shown("a"), "a");
    }

    #[test]
    fn queries_within_are_named_too() {
        assert_eq!(
            rewritten("SELECT max FROM (SELECT max(a) FROM t) AS x"),
            "SELECT max FROM (SELECT max(a) AS \"max\" FROM t) AS x"
        );
    }
}
