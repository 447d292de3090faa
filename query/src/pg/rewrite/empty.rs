//! Questions about what we never have (indexes, constraints, triggers…) are answered without a
//! plan: a SELECT whose FROM needs a row of a relation that has none, has none either.
//!
//! Clients ask these in SQL that DataFusion cannot plan, such as `unnest` over `generate_subscripts`
//! or subqueries that refer outwards. What is replaced here is known to be empty, not guessed.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::sql::sqlparser::{
    ast::{
        DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
        Ident, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, SetOperator,
        Statement, TableFactor, TableWithJoins, Value, Visit as _, VisitMut, Visitor, VisitorMut,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{is_call, last, names};
use crate::pg::catalog;

/// Functions that make one row of none.
const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "every",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
];

/// Replaces what has no rows.
pub(super) fn prune(statement: &mut Statement) {
    // The visitor does not break off.
    let _ = VisitMut::visit(statement, &mut Prune);
}

struct Prune;

impl VisitorMut for Prune {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        prune_unions(&mut query.body);
        if is_empty(&query.body)
            && let Some(replacement) = nothing(&query.body)
        {
            query.body = replacement;
            query.order_by = None;
            query.limit_clause = None;
            query.with = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) if is_empty(&query.body) || refers_outwards(query) => {
                *expr = Expr::Value(Value::Null.with_empty_span());
            }
            Expr::Exists { subquery, negated } if is_empty(&subquery.body) => {
                *expr = Expr::Value(Value::Boolean(*negated).with_empty_span());
            }
            // ARRAY(SELECT …)
            Expr::Function(function)
                if is_call(function, &["array"])
                    && matches!(function.args, FunctionArguments::Subquery(_)) =>
            {
                let null = Expr::Value(Value::Null.with_empty_span());
                *expr = super::cast(null, DataType::Text);
            }
            Expr::Function(function)
                if is_call(function, &["array_to_string"]) && joins_nothing(function) =>
            {
                let null = Expr::Value(Value::Null.with_empty_span());
                *expr = super::cast(null, DataType::Text);
            }
            // The relation that a row of the catalog is in; asked for to find its description.
            Expr::CompoundIdentifier(parts)
                if parts.last().is_some_and(|column| column.value == "tableoid") =>
            {
                *expr = Expr::Value(Value::Number("0".to_owned(), false).with_empty_span());
            }
            // Its name since PostgreSQL 17, whose catalog the crate shows.
            Expr::CompoundIdentifier(parts) => {
                if let Some(column) = parts.last_mut().filter(|c| c.value == "colliculocale") {
                    "colllocale".clone_into(&mut column.value);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether the first argument is ARRAY(SELECT …), or access privileges, of which there are none
/// and which are texts in some of the crate's tables.
fn joins_nothing(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    match list.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(array)))) => {
            is_call(array, &["array"]) && matches!(array.args, FunctionArguments::Subquery(_))
        }
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(list))) => names::of(list).ends_with("acl"),
        _ => false,
    }
}

/// A scalar subquery on rows of the statement around it, which cannot be planned. In questions
/// about the catalog they look for defaults and collations, of which there are none.
fn refers_outwards(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let mut own = BTreeSet::new();
    for from in &select.from {
        let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
        for factor in factors {
            if let TableFactor::Table { name, alias, .. } = factor {
                own.insert(last(name).to_owned());
                own.extend(alias.as_ref().map(|alias| alias.name.value.clone()));
            }
        }
    }
    struct Outwards(BTreeSet<String>);
    impl Visitor for Outwards {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
            let table = parts.len().checked_sub(2).and_then(|at| parts.get(at));
            match table.is_some_and(|table| !self.0.contains(&table.value)) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Outwards(own)).is_break()
}

/// Leaves empty branches out of unions, but for the first, which names the columns.
fn prune_unions(body: &mut SetExpr) {
    if let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = body {
        prune_unions(left);
        prune_unions(right);
        if is_empty(right) {
            *body = std::mem::replace(left, SetExpr::Values(no_values()));
        }
    }
}

fn no_values() -> datafusion::sql::sqlparser::ast::Values {
    datafusion::sql::sqlparser::ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: Vec::new(),
    }
}

fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_empty_select(select),
        SetExpr::Query(query) => is_empty(&query.body),
        SetExpr::SetOperation { op, left, right, .. } => match op {
            SetOperator::Union => is_empty(left) && is_empty(right),
            SetOperator::Intersect => is_empty(left) || is_empty(right),
            SetOperator::Except | SetOperator::Minus => is_empty(left),
        },
        _ => false,
    }
}

fn is_empty_select(select: &Select) -> bool {
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    select.from.iter().any(has_no_rows) && (is_grouped || !aggregates(select))
}

fn has_no_rows(from: &TableWithJoins) -> bool {
    let keeps_left = |join: &JoinOperator| {
        matches!(
            join,
            JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Anti(_)
                | JoinOperator::LeftAnti(_)
        )
    };
    let is_inner = |join: &JoinOperator| {
        matches!(join, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let joins = &from.joins;
    if !joins.iter().all(|join| keeps_left(&join.join_operator) || is_inner(&join.join_operator)) {
        return false;
    }
    is_empty_factor(&from.relation)
        || joins.iter().any(|join| is_inner(&join.join_operator) && is_empty_factor(&join.relation))
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => is_empty_table(name),
        TableFactor::Derived { subquery, .. } => is_empty(&subquery.body),
        TableFactor::NestedJoin { table_with_joins, .. } => has_no_rows(table_with_joins),
        _ => false,
    }
}

fn is_empty_table(name: &ObjectName) -> bool {
    super::is_catalog(name) && catalog::is_always_empty(last(name))
}

/// Whether it makes a row of none: an aggregate that is not within a subquery.
fn aggregates(select: &Select) -> bool {
    struct Aggregates {
        depth: usize,
    }
    impl Visitor for Aggregates {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function)
                    if self.depth == 0
                        && function.over.is_none()
                        && is_call(function, AGGREGATES) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    select.projection.iter().any(|item| item.visit(&mut Aggregates { depth: 0 }).is_break())
}

/// The same columns without rows; `None` where they are not spelled out.
fn nothing(body: &SetExpr) -> Option<Box<SetExpr>> {
    let select = first_select(body)?;
    let mut columns = Vec::new();
    for item in &select.projection {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, names::of(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            _ => return None,
        };
        let data_type = match expr {
            Expr::Cast { data_type, .. } if !matches!(data_type, DataType::Custom(..)) => {
                data_type.to_string()
            }
            _ => "TEXT".to_owned(),
        };
        columns.push(format!("CAST(NULL AS {data_type}) AS {}", Ident::with_quote('"', name)));
    }
    let sql = format!("SELECT {} WHERE false", columns.join(", "));
    let dialect = PostgreSqlDialect {};
    let query = Parser::new(&dialect).try_with_sql(&sql).ok()?.parse_query().ok()?;
    Some(query.body)
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}
