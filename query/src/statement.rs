//! Which statements are run: those that read.

use std::collections::VecDeque;

use datafusion::sql::{
    parser::{DFParserBuilder, Statement},
    sqlparser::{ast, dialect::PostgreSqlDialect, tokenizer::Tokenizer},
};

use crate::{error::QueryError, travel};

/// Parses one statement that only reads.
///
/// # Errors
/// [`QueryError::Syntax`], [`QueryError::NotOne`], and [`QueryError::ReadOnly`] for the rest.
pub(crate) fn parse(sql: &str) -> Result<Statement, QueryError> {
    let mut statements = statements(sql)?;
    let count = statements.len();
    match (statements.pop_front(), count) {
        (Some(statement), 1) => {
            check(&statement)?;
            Ok(statement)
        }
        _ => Err(QueryError::NotOne(count)),
    }
}

/// All statements of a text, whatever they do. Tables at another moment have the names of
/// [`travel`].
pub(crate) fn statements(sql: &str) -> Result<VecDeque<Statement>, QueryError> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| QueryError::Syntax(error.to_string()))?;
    let mut statements = DFParserBuilder::new(travel::fold(&tokens)?)
        .with_dialect(&dialect)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| QueryError::Syntax(error.strip_backtrace()))?;
    statements.iter_mut().for_each(travel::alias);
    Ok(statements)
}

/// What else the planner would let through is refused by the session: it has nothing to write to.
pub(crate) fn check(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Explain(explain) => check(&explain.statement),
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(query) => check_query(query),
            ast::Statement::Explain { statement, .. } => {
                check(&Statement::Statement(statement.clone()))
            }
            ast::Statement::ExplainTable { .. }
            | ast::Statement::ShowTables { .. }
            | ast::Statement::ShowColumns { .. }
            | ast::Statement::ShowVariable { .. }
            | ast::Statement::ShowFunctions { .. } => Ok(()),
            other => Err(refused(&other.to_string())),
        },
        other => Err(refused(&other.to_string())),
    }
}

fn check_query(query: &ast::Query) -> Result<(), QueryError> {
    match query.body.as_ref() {
        ast::SetExpr::Select(select) if select.into.is_some() => Err(refused("SELECT INTO")),
        ast::SetExpr::Insert(statement)
        | ast::SetExpr::Update(statement)
        | ast::SetExpr::Delete(statement) => Err(refused(&statement.to_string())),
        _ => Ok(()),
    }
}

/// By its first words.
pub(crate) fn refused(statement: &str) -> QueryError {
    let words: Vec<_> = statement.split_whitespace().take(2).collect();
    QueryError::ReadOnly(words.join(" "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_reads_is_taken() {
        for sql in [
            "select 1",
            "SELECT a FROM t WHERE b = 'x';",
            "with x as (select 1) select * from x",
            "values (1), (2)",
            "explain select 1",
            "explain analyze select 1",
            "show tables",
            "select * from a union all select * from b",
        ] {
            parse(sql).unwrap();
        }
    }

    #[test]
    fn what_writes_is_refused() {
        for (sql, shown) in [
            ("insert into t values (1)", "INSERT INTO"),
            ("delete from t", "DELETE FROM"),
            ("update t set a = 1", "UPDATE t"),
            ("create table t (a int)", "CREATE TABLE"),
            ("create external table t stored as csv location '/etc/passwd'", "CREATE EXTERNAL"),
            ("copy (select 1) to '/tmp/x'", "COPY"),
            ("drop table t", "DROP TABLE"),
            ("select 1 into x", "SELECT INTO"),
            ("explain analyze insert into t values (1)", "INSERT INTO"),
            ("with x as (select 1) insert into t select * from x", "INSERT INTO"),
        ] {
            let error = parse(sql).unwrap_err();
            assert_eq!(error.sql_state(), "25006", "{sql}: {error}");
            assert!(error.to_string().starts_with(shown), "{sql}: {error}");
        }
    }

    #[test]
    fn what_is_no_statement_is_said() {
        assert_eq!(parse("selec 1").unwrap_err().sql_state(), "42601");
        assert!(matches!(parse(""), Err(QueryError::NotOne(0))));
        assert!(matches!(parse("select 1; select 2"), Err(QueryError::NotOne(2))));
    }
}
