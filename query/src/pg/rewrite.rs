//! Statements as clients of PostgreSQL write them, made ready for DataFusion's planner.
//!
//! For every statement: spellings that the planner does not know (`pg_catalog.lower(x)`,
//! `x = ANY(array)`, COLLATE) and the names of result columns. For statements on the system
//! catalog also `datafusion-pg-catalog`'s parser, which knows what psql, DBeaver and others ask,
//! and [`empty`]. Both change what a statement means where the catalog has nothing to show, so
//! statements on tables are kept away from them.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use datafusion::sql::sqlparser::{
    ast::{
        Array, ArrayElemTypeDef, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
        FunctionArguments, ObjectName, SetExpr, Statement, Value, ValueWithSpan, Visit, VisitMut,
        Visitor, VisitorMut, visit_relations,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};
use datafusion_pg_catalog::sql::{
    PostgresCompatibilityParser,
    rules::{
        CurrentUserVariableToSessionUserFunctionCall, RewriteArrayAnyAllOperation,
        RewritePgCatalogOperator, RewriteRegCastToSubquery, SqlStatementRewriteRule,
        StripCallableQualifier, StripCollate,
    },
};
use pgwire::api::Type;

use super::{catalog, error::PgError, params};
use crate::engine::SCHEMA;

mod empty;
mod known;
mod names;

pub(super) use names::shown;

/// Rewrites statements.
#[derive(Debug)]
pub(super) struct Rewriter {
    known: PostgresCompatibilityParser,
    rules: Vec<Arc<dyn SqlStatementRewriteRule>>,
    casts: RewriteRegCastToSubquery,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self {
            known: PostgresCompatibilityParser::new(),
            rules: vec![
                Arc::new(RewriteArrayAnyAllOperation),
                Arc::new(StripCallableQualifier),
                Arc::new(CurrentUserVariableToSessionUserFunctionCall),
                Arc::new(StripCollate),
                Arc::new(RewritePgCatalogOperator),
                Arc::new(RewriteRegCastToSubquery::new()),
            ],
            casts: RewriteRegCastToSubquery::new(),
        }
    }
}

impl Rewriter {
    /// Parses a message by `parse`, or by what is known of questions to the catalog.
    pub(super) fn parse(
        &self,
        sql: &str,
        parse: impl Fn(&str) -> Result<Vec<Statement>, PgError>,
    ) -> Result<Vec<Statement>, PgError> {
        let parsed = parse(sql);
        if let Ok([statement]) = parsed.as_deref()
            && let Some(known) = known::instead_of(statement)
        {
            let statements = parse(known)?.into_iter();
            return Ok(statements.map(|statement| self.statement(statement)).collect());
        }
        let is_catalog = match &parsed {
            Ok(statements) => statements.iter().any(reads_catalog),
            Err(_) => sql.contains("pg_catalog"),
        };
        if !is_catalog {
            let statements = parsed?.into_iter();
            return Ok(statements.map(|statement| self.statement(statement)).collect());
        }
        let statements = match self.known.parse(sql) {
            Ok(statements) => statements,
            Err(_) => parsed?,
        };
        Ok(statements.into_iter().map(|statement| self.on_catalog(statement)).collect())
    }

    fn statement(&self, mut statement: Statement) -> Statement {
        // Neither visitor breaks off.
        let _ = VisitMut::visit(&mut statement, &mut Qualify);
        let _ = VisitMut::visit(&mut statement, &mut Arrays);
        let mut statement =
            self.rules.iter().fold(statement, |statement, rule| rule.rewrite(statement));
        names::name(&mut statement);
        statement
    }

    fn on_catalog(&self, mut statement: Statement) -> Statement {
        // Neither visitor breaks off.
        let _ = VisitMut::visit(&mut statement, &mut Qualify);
        empty::prune(&mut statement);
        let mut statement = self.casts.rewrite(statement);
        names::name(&mut statement);
        statement
    }
}

/// Whether a statement is about the catalog.
fn reads_catalog(statement: &Statement) -> bool {
    visit_relations(statement, |name| match is_catalog(name) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
    .is_break()
}

fn is_catalog(name: &ObjectName) -> bool {
    let parts: Vec<_> = name.0.iter().rev().filter_map(|part| part.as_ident()).collect();
    match parts.as_slice() {
        [table] => catalog::is_system_table(&table.value),
        [_, schema, ..] => ["pg_catalog", "information_schema"]
            .iter()
            .any(|system| schema.value.eq_ignore_ascii_case(system)),
        [] => false,
    }
}

/// Columns that are numbers of functions in PostgreSQL, and their names in the crate.
const FUNCTIONS: &[&str] = &["typinput", "typoutput", "typreceive", "typsend"];

/// Puts the schema before the catalog's tables that the crate does not know, casts in place of
/// `to_regclass('…')`, and the name of no function in place of its number.
struct Qualify;

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if let [part] = name.0.as_slice()
            && part.as_ident().is_some_and(|ident| catalog::is_system_table(&ident.value))
        {
            name.0.insert(0, ObjectName::from(vec!["pg_catalog".into()]).0.remove(0));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let FunctionArguments::List(list) = &function.args
                    && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(name))] =
                        list.args.as_slice()
                    && let Some(found) = looked_up(last(&function.name), name)
                {
                    *expr = found;
                }
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                if let Some(escape) = escape_char.take_if(|escape| !is_backslash(&escape.value))
                    && let Some(with_backslashes) = unescaped(pattern, &escape.to_string())
                {
                    **pattern = with_backslashes;
                }
            }
            // The types of a function's arguments, which the crate does not know as a list.
            Expr::Cast { expr: list, data_type, .. }
                if text_of(list).is_none()
                    && data_type.to_string().eq_ignore_ascii_case("regtype[]") =>
            {
                **list = Expr::Value(Value::Null.with_empty_span());
                let element = Box::new(DataType::Text);
                *data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(element, None));
            }
            Expr::BinaryOp { left, right, .. } if is_function_column(left) => {
                if let Some(function) = function_named(right) {
                    **right = function;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A string, with parentheses around it or without.
fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => text_of(inner),
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

/// Makes arrays of texts such as `'{1,2}'`, where arrays are asked for: `x = ANY('{1,2}')` and
/// `'{1,2}'::int[]`.
struct Arrays;

impl VisitorMut for Arrays {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let array = match expr {
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => right,
            Expr::Cast { expr, data_type: DataType::Array(_), .. } => expr,
            _ => return ControlFlow::Continue(()),
        };
        if let Some(elements) = text_of(array).and_then(params::split_array) {
            let elements = elements.into_iter().map(|element| {
                let value = element.map_or(Value::Null, Value::SingleQuotedString);
                Expr::Value(value.with_empty_span())
            });
            **array = Expr::Array(Array { elem: elements.collect(), named: true });
        }
        ControlFlow::Continue(())
    }
}

/// `'pg_catalog.array_in'::regproc`, or the crate's query for its number, as the name alone; of
/// the number 0, the name of none.
fn function_named(expr: &Expr) -> Option<Expr> {
    let name = match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) if number == "0" => "-",
        Expr::Cast { expr, data_type, .. }
            if data_type.to_string().eq_ignore_ascii_case("regproc") =>
        {
            text_of(expr)?
        }
        Expr::Subquery(query) => {
            let SetExpr::Select(select) = query.body.as_ref() else { return None };
            match select.selection.as_ref()? {
                Expr::BinaryOp { left, right, .. } if left.to_string() == "proname" => {
                    text_of(right)?
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name).to_owned();
    Some(Expr::Value(Value::SingleQuotedString(name).with_empty_span()))
}

fn is_function_column(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    name.is_some_and(|name| FUNCTIONS.contains(&name.value.as_str()))
}

fn is_backslash(value: &Value) -> bool {
    matches!(value, Value::SingleQuotedString(text) if text == "\\")
}

/// A pattern with backslashes in place of another escape character, which stays where it was
/// doubled.
fn unescaped(pattern: &Expr, escape: &str) -> Option<Expr> {
    let sql = format!(
        "replace(replace(replace(replace({pattern}, '\\', '\\\\'), {escape} || {escape}, chr(31)), \
         {escape}, '\\'), chr(31), {escape})"
    );
    parse_expr(&sql)
}

/// The number of what a name stands for; nothing where it stands for nothing.
fn looked_up(function: &str, name: &Expr) -> Option<Expr> {
    let (table, column) = match function.to_ascii_lowercase().as_str() {
        "to_regclass" => ("pg_class", "relname"),
        "to_regnamespace" => ("pg_namespace", "nspname"),
        "to_regproc" => ("pg_proc", "proname"),
        "to_regtype" => ("pg_type", "typname"),
        _ => return None,
    };
    if table == "pg_class" && text_of(name).is_some() {
        return relation_named(name);
    }
    // Whatever its schema.
    let name = format!("split_part({name}, '.', -1)");
    parse_expr(&format!("(SELECT max(x.oid) FROM pg_catalog.{table} x WHERE x.{column} = {name})"))
}

/// The number of the relation of a name, with its schema or in the search path.
fn relation_named(name: &Expr) -> Option<Expr> {
    parse_expr(&format!(
        "(SELECT max(c.oid) FROM pg_catalog.pg_class c \
          JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid \
          CROSS JOIN (SELECT parse_ident({name}) AS parts) \
          WHERE (array_length(parts, 1) = 1 AND n.nspname IN ('{SCHEMA}', 'pg_catalog') \
                 AND c.relname = parts[1]) \
             OR (array_length(parts, 1) = 2 AND n.nspname = parts[1] AND c.relname = parts[2]))"
    ))
}

fn parse_expr(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?.parse_expr().ok()
}

fn last(name: &ObjectName) -> &str {
    name.0.last().and_then(|part| part.as_ident()).map_or("", |ident| ident.value.as_str())
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// The types to which a statement casts its parameters, by their index. What a value is looked
/// for in (`x = ANY($1)`) is an array; of text, if nobody says otherwise.
pub(super) fn declared(statement: &Statement) -> BTreeMap<usize, Type> {
    struct Casts(BTreeMap<usize, Type>);
    impl Visitor for Casts {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && is_call(function, &["array_contains"])
                && let FunctionArguments::List(list) = &function.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) =
                    list.args.first()
                && let Some(index) = index(&value.value)
            {
                self.0.entry(index).or_insert(Type::TEXT_ARRAY);
            }
            if let Expr::Cast { expr, data_type, .. } = expr
                && let Expr::Value(value) = expr.as_ref()
                && let Some(index) = index(&value.value)
            {
                self.0.insert(index, params::sql_type(data_type));
            }
            ControlFlow::Continue(())
        }
    }
    let mut casts = Casts(BTreeMap::new());
    // The visitor does not break off.
    let _ = Visit::visit(statement, &mut casts);
    casts.0.retain(|_, kind| *kind != Type::UNKNOWN);
    casts.0
}

/// Of `$n`, from zero.
fn index(value: &Value) -> Option<usize> {
    let Value::Placeholder(name) = value else { return None };
    name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Gives parameters whose type the statement does not show the one that the client named: casts
/// them.
pub(super) fn cast_parameters(statement: &mut Statement, kinds: &[Option<Type>]) {
    // The visitor does not break off.
    let _ = VisitMut::visit(statement, &mut CastParameters { kinds });
}

struct CastParameters<'a> {
    kinds: &'a [Option<Type>],
}

impl VisitorMut for CastParameters<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Some(Some(kind)) = index(&value.value).and_then(|index| self.kinds.get(index))
            && let Some(data_type) = sql_type(kind)
        {
            *expr = cast(expr.clone(), data_type);
        }
        ControlFlow::Continue(())
    }
}

/// A type as SQL writes it.
fn sql_type(kind: &Type) -> Option<DataType> {
    let name = match super::types::element_of(kind) {
        Some(element) => format!("{}[]", plain_name(&element)),
        None => plain_name(kind).to_owned(),
    };
    let dialect = PostgreSqlDialect {};
    Parser::new(&dialect).try_with_sql(&name).ok()?.parse_data_type().ok()
}

fn plain_name(kind: &Type) -> &'static str {
    match *kind {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 | Type::OID => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::NUMERIC => "numeric(38, 10)",
        Type::BYTEA => "bytea",
        Type::DATE => "date",
        Type::TIME => "time",
        Type::TIMESTAMP => "timestamp",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::INTERVAL => "interval",
        _ => "text",
    }
}

/// Whether an expression calls a function of one of these names.
fn is_call(function: &Function, names: &[&str]) -> bool {
    names.iter().any(|name| last(&function.name).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pg::command::parse_statements;

    fn rewritten(sql: &str) -> String {
        let mut statements = Rewriter::default().parse(sql, parse_statements).unwrap();
        assert_eq!(statements.len(), 1);
        statements.remove(0).to_string().replace('\u{1f}', "~")
    }

    #[test]
    fn statements_on_tables_keep_their_meaning() {
        let sql = "SELECT (SELECT max(x.a) AS \"max\" FROM x WHERE x.b = t.b) AS m FROM t";
        assert_eq!(rewritten(sql), sql);
    }

    #[test]
    fn spellings_are_understood_everywhere() {
        assert_eq!(
            rewritten("SELECT pg_catalog.lower(a) AS a FROM t WHERE b = ANY(ARRAY[1, 2])"),
            "SELECT lower(a) AS a FROM t WHERE array_contains(ARRAY[1, 2], b)"
        );
        assert_eq!(
            rewritten("SELECT a FROM t WHERE b = ANY(('{x,\"y z\",NULL}'))"),
            "SELECT a FROM t WHERE array_contains(ARRAY['x', 'y z', NULL], b)"
        );
    }

    #[test]
    fn system_tables_are_found_without_their_schema() {
        assert_eq!(
            rewritten("SELECT indexname FROM pg_indexes JOIN pg_namespace ON schemaname = nspname"),
            "SELECT CAST(NULL AS TEXT) AS \"indexname\" WHERE false"
        );
        assert_eq!(
            rewritten("SELECT relname FROM pg_class"),
            "SELECT relname FROM pg_catalog.pg_class"
        );
    }

    #[test]
    fn parameters_get_the_types_that_clients_name() {
        let mut statements = parse_statements("SELECT $1, $2, $3").unwrap();
        cast_parameters(&mut statements[0], &[Some(Type::INT8), None, Some(Type::TEXT_ARRAY)]);
        assert_eq!(statements[0].to_string(), "SELECT $1::BIGINT, $2, $3::TEXT[]");
    }
}
