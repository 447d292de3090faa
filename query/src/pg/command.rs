//! What a message of SQL asks for: statements that are planned, and those that concern the
//! session.
//!
//! Everything that is not on this list, or that [`statement::check`] does not let through, is
//! refused as a write.

use datafusion::sql::{
    parser::Statement as Planned,
    sqlparser::{
        ast::{
            self, Expr, ObjectName, Query, Reset, Set, SetExpr, Statement, Value, ValueWithSpan,
        },
        dialect::PostgreSqlDialect,
        keywords::Keyword,
        parser::Parser,
        tokenizer::{Token, Tokenizer},
    },
};

use super::{copy::CopyOptions, error::PgError, rewrite::Rewriter};
use crate::{error::QueryError, statement, travel};

/// One statement.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Rows, under a tag such as SELECT or EXPLAIN.
    Rows {
        statement: Box<Planned>,
        tag: &'static str,
    },
    /// Rows as a file.
    Copy {
        statement: Box<Planned>,
        options: CopyOptions,
    },
    /// Change settings; without a value to the default.
    Set {
        name: String,
        value: Option<String>,
    },
    /// All settings to their defaults.
    ResetAll,
    /// Show one setting, or all.
    Show(Option<String>),
    Begin,
    Commit,
    /// With its savepoint, it leaves the block open.
    Rollback {
        to_savepoint: bool,
    },
    Discard {
        all: bool,
        tag: &'static str,
    },
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        command: Box<Self>,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// One prepared statement, or all.
    Deallocate(Option<String>),
    /// A portal by SQL.
    Declare {
        name: String,
        statement: Box<Planned>,
        binary: bool,
    },
    /// Its next rows; all of them for 0.
    Fetch {
        name: String,
        rows_max: usize,
    },
    /// One portal, or all.
    CloseCursor(Option<String>),
    /// What a session that only reads has no need of; the tag is its answer.
    Nothing(&'static str),
}

/// Takes a message apart.
pub(super) fn parse(sql: &str, rewriter: &Rewriter) -> Result<Vec<Command>, PgError> {
    let statements = rewriter.parse(sql, parse_statements)?;
    statements.into_iter().map(command).collect()
}

/// The statements of a message.
pub(super) fn parse_statements(sql: &str) -> Result<Vec<Statement>, PgError> {
    let syntax = |message: String| PgError::from(QueryError::Syntax(message)).within(sql);
    let dialect = PostgreSqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax(error.to_string()))?;
    // ABORT is ROLLBACK by another name, which the parser does not know.
    let mut is_first = true;
    for token in &mut tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if is_first && word.keyword == Keyword::ABORT => {
                token.token = Token::make_keyword("ROLLBACK");
            }
            _ => {}
        }
        is_first = token.token == Token::SemiColon;
    }
    // `t VERSION AS OF 3` and its like.
    let tokens = travel::fold(&tokens).map_err(|error| PgError::from(error).within(sql))?;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    parser.parse_statements().map_err(|error| syntax(error.to_string()))
}

fn command(statement: Statement) -> Result<Command, PgError> {
    Ok(match statement {
        Statement::Copy {
            source,
            to: true,
            target: ast::CopyTarget::Stdout,
            options,
            legacy_options,
            ..
        } => {
            let query = match source {
                ast::CopySource::Query(query) => query,
                ast::CopySource::Table { table_name, columns } => {
                    copied_table(&table_name, &columns)?
                }
            };
            let options = CopyOptions::new(&options, &legacy_options)?;
            Command::Copy { statement: planned(Statement::Query(query))?, options }
        }
        Statement::Set(set) => set_command(set)?,
        Statement::Reset(reset) => match reset.reset {
            Reset::ALL => Command::ResetAll,
            Reset::ConfigurationParameter(name) => Command::Set { name: plain(&name), value: None },
        },
        Statement::ShowVariable { variable } => show(&variable),
        Statement::StartTransaction { .. } => Command::Begin,
        Statement::Commit { .. } => Command::Commit,
        Statement::Rollback { savepoint, .. } => {
            Command::Rollback { to_savepoint: savepoint.is_some() }
        }
        Statement::Savepoint { .. } => Command::Nothing("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Command::Nothing("RELEASE"),
        Statement::UNLISTEN { .. } => Command::Nothing("UNLISTEN"),
        Statement::Discard { object_type } => match object_type {
            ast::DiscardObject::ALL => Command::Discard { all: true, tag: "DISCARD ALL" },
            ast::DiscardObject::PLANS => Command::Discard { all: false, tag: "DISCARD PLANS" },
            ast::DiscardObject::SEQUENCES => {
                Command::Discard { all: false, tag: "DISCARD SEQUENCES" }
            }
            ast::DiscardObject::TEMP => Command::Discard { all: false, tag: "DISCARD TEMP" },
        },
        Statement::Prepare { name, data_types, statement } => Command::Prepare {
            name: name.value,
            types: data_types,
            command: Box::new(command(*statement)?),
        },
        Statement::Execute { name: Some(name), parameters, immediate: false, .. } => {
            Command::Execute { name: plain(&name), arguments: parameters }
        }
        Statement::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Command::Deallocate((!is_all).then_some(name.value))
        }
        Statement::Declare { mut stmts } if stmts.len() == 1 => declare(stmts.remove(0))?,
        Statement::Fetch { name, direction, into: None, .. } => {
            Command::Fetch { name: name.value, rows_max: fetched(&direction)? }
        }
        Statement::Close { cursor } => Command::CloseCursor(match cursor {
            ast::CloseCursor::All => None,
            ast::CloseCursor::Specific { name } => Some(name.value),
        }),
        Statement::Explain { .. } | Statement::ExplainTable { .. } => {
            Command::Rows { statement: planned(statement)?, tag: "EXPLAIN" }
        }
        Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowFunctions { .. } => {
            Command::Rows { statement: planned(statement)?, tag: "SHOW" }
        }
        other => Command::Rows { statement: planned(other)?, tag: "SELECT" },
    })
}

/// A statement that may be planned.
fn planned(statement: Statement) -> Result<Box<Planned>, PgError> {
    let mut statement = Planned::Statement(Box::new(statement));
    travel::alias(&mut statement);
    statement::check(&statement)?;
    Ok(Box::new(statement))
}

/// A table, or some of its columns, as a query.
fn copied_table(table: &ObjectName, columns: &[ast::Ident]) -> Result<Box<Query>, PgError> {
    let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
    let sql = format!("SELECT {columns} FROM {table}");
    match parse_statements(&sql)?.pop() {
        Some(Statement::Query(query)) if matches!(*query.body, SetExpr::Select(_)) => Ok(query),
        _ => Err(PgError::new("42601", format!("COPY {table}: this is no table"))),
    }
}

fn declare(declare: ast::Declare) -> Result<Command, PgError> {
    let ast::Declare { mut names, for_query: Some(query), binary, scroll, hold, .. } = declare
    else {
        return Err(PgError::new("42601", "DECLARE needs a query"));
    };
    if scroll == Some(true) || hold == Some(true) {
        return Err(PgError::new("0A000", "cursors go forward, and end with their transaction"));
    }
    let Some(name) = names.pop() else {
        return Err(PgError::new("42601", "DECLARE needs a name"));
    };
    let statement = planned(Statement::Query(query))?;
    Ok(Command::Declare { name: name.value, statement, binary: binary == Some(true) })
}

/// How many rows FETCH wants; 0 is all.
fn fetched(direction: &ast::FetchDirection) -> Result<usize, PgError> {
    use ast::FetchDirection::{All, Count, Forward, ForwardAll, Next};
    let count = match direction {
        All | ForwardAll => return Ok(0),
        Next | Forward { limit: None } => Some(1),
        Count { limit } | Forward { limit: Some(limit) } => limit.to_string().parse().ok(),
        _ => None,
    };
    let count = count.filter(|count| *count > 0);
    count.ok_or_else(|| PgError::new("0A000", format!("cursors only go forward, not {direction}")))
}

fn set_command(set: Set) -> Result<Command, PgError> {
    Ok(match set {
        Set::SingleAssignment { variable, values, .. } => {
            Command::Set { name: plain(&variable), value: setting_value(&values)? }
        }
        Set::SetTimeZone { value, .. } => {
            let value = setting_value(&[value])?;
            let is_default = value.as_deref().is_some_and(|v| v.eq_ignore_ascii_case("local"));
            Command::Set { name: "TimeZone".to_owned(), value: value.filter(|_| !is_default) }
        }
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".to_owned(), value: Some(charset_name.value) }
        }
        Set::SetNamesDefault {} => Command::Set { name: "client_encoding".to_owned(), value: None },
        // Isolation and access mode: a transaction only reads, and each statement sees what is
        // there when it begins.
        Set::SetTransaction { .. } => Command::Nothing("SET"),
        Set::SetRole { role_name: None, .. } => Command::Nothing("SET"),
        other => return Err(PgError::read_only(&other.to_string())),
    })
}

/// `None` is DEFAULT.
fn setting_value(values: &[Expr]) -> Result<Option<String>, PgError> {
    let mut texts = Vec::new();
    for value in values {
        texts.push(match value {
            Expr::Value(ValueWithSpan { value, .. }) => match value {
                Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
                Value::Number(number, _) => number.clone(),
                Value::Boolean(true) => "on".to_owned(),
                Value::Boolean(false) => "off".to_owned(),
                other => other.to_string(),
            },
            Expr::Identifier(name) if name.quote_style.is_none() => {
                if name.value.eq_ignore_ascii_case("default") {
                    return Ok(None);
                }
                name.value.clone()
            }
            Expr::Identifier(name) => name.value.clone(),
            Expr::UnaryOp { .. } | Expr::CompoundIdentifier(_) | Expr::Interval(_) => {
                value.to_string()
            }
            other => {
                return Err(PgError::new("42601", format!("SET takes no expression: {other}")));
            }
        });
    }
    Ok(Some(texts.join(", ")))
}

fn show(variable: &[ast::Ident]) -> Command {
    let words: Vec<_> = variable.iter().map(|ident| ident.value.as_str()).collect();
    let joined = words.join(".");
    let name = match joined.to_ascii_lowercase().as_str() {
        "all" => None,
        "transaction.isolation.level" => Some("transaction_isolation".to_owned()),
        "session.authorization" => Some("session_authorization".to_owned()),
        "time.zone" => Some("TimeZone".to_owned()),
        _ => Some(joined),
    };
    Command::Show(name)
}

fn plain(name: &ObjectName) -> String {
    let parts = name.0.iter().map(|part| match part.as_ident() {
        Some(ident) => ident.value.clone(),
        None => part.to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(sql: &str) -> Command {
        let mut commands = parse(sql, &Rewriter::default()).unwrap();
        assert_eq!(commands.len(), 1, "{sql}");
        commands.remove(0)
    }

    #[test]
    fn what_reads_is_taken() {
        for sql in [
            "select 1",
            "with x as (select 1) select * from x",
            "values (1)",
            "explain select 1",
            "explain analyze select 1",
            "explain (costs off) select 1",
            "show tables",
        ] {
            assert!(matches!(one(sql), Command::Rows { .. }), "{sql}");
        }
        assert!(matches!(one("copy (select 1) to stdout"), Command::Copy { .. }));
        assert!(matches!(one("copy t (a, b) to stdout with csv header"), Command::Copy { .. }));
    }

    #[test]
    fn what_writes_is_refused() {
        for sql in [
            "insert into t values (1)",
            "create table t (a int)",
            "create temporary table t as select 1",
            "drop table t",
            "copy t from stdin",
            "copy (select 1) to '/tmp/x'",
            "copy (select 1) to program 'cat'",
            "copy (insert into t values (1) returning *) to stdout",
            "explain analyze delete from t",
            "prepare p as insert into t values (1)",
            "set role postgres",
            "listen x",
            "truncate t",
            "vacuum",
            "begin; delete from t",
        ] {
            let error = parse(sql, &Rewriter::default()).unwrap_err();
            assert_eq!(error.state(), "25006", "{sql}: {error}");
        }
    }

    #[test]
    fn settings_have_many_spellings() {
        let set = |sql: &str| match one(sql) {
            Command::Set { name, value } => (name, value),
            other => panic!("{sql}: {other:?}"),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(set("set datestyle to iso, mdy"), pair("datestyle", "iso, mdy"));
        assert_eq!(set("set session a.b = 'c'"), pair("a.b", "c"));
        assert_eq!(set("set statement_timeout = 5000"), pair("statement_timeout", "5000"));
        assert_eq!(set("set time zone 'UTC'"), pair("TimeZone", "UTC"));
        assert_eq!(set("set names 'UTF8'"), pair("client_encoding", "UTF8"));
        assert_eq!(set("set extra_float_digits to default").1, None);
        assert_eq!(set("reset search_path"), ("search_path".to_owned(), None));
        let shown = |sql: &str| match one(sql) {
            Command::Show(name) => name,
            other => panic!("{sql}: {other:?}"),
        };
        assert_eq!(shown("show transaction isolation level").unwrap(), "transaction_isolation");
        assert_eq!(shown("show search_path").unwrap(), "search_path");
        assert_eq!(shown("show all"), None);
    }

    #[test]
    fn a_message_may_have_many_statements_or_none() {
        let count = |sql: &str| parse(sql, &Rewriter::default()).unwrap().len();
        assert_eq!(count(""), 0);
        assert_eq!(count(" ;; -- nothing\n"), 0);
        assert_eq!(count("begin read only; select 1; abort"), 3);
        let error = parse("select 1;\nselec 2", &Rewriter::default()).unwrap_err();
        assert_eq!(error.state(), "42601");
    }
}
