//! A table at another moment than now: `t VERSION AS OF 3`, `t TIMESTAMP AS OF '…'`,
//! `t AS OF OFFSET '0:12,1:9'`, `t AT LEAST OFFSET '0:12'`.
//!
//! The parser knows none of these. Among the statement's tokens, so that strings and comments are
//! safe, a clause is taken out behind its table's name and put into the name: `t@version=3`, with
//! the alias `t` where there is none. `@` is in no name of a table or topic. To the planner these
//! are tables like any other; [`Travel::of`] reads the name when one is looked up. A client that
//! can only name tables may write `"t@version=3"` itself.

use std::{fmt, ops::ControlFlow, str::FromStr};

use arrow::{array::timezone::Tz, compute::kernels::cast_utils::string_to_datetime};
use datafusion::{
    common::TableReference,
    logical_expr::Expr,
    prelude::{col, lit},
    sql::{
        parser::Statement,
        sqlparser::{
            ast::{self, Ident, TableAlias, TableFactor, VisitMut as _, VisitorMut},
            keywords::Keyword,
            tokenizer::{Token, TokenWithSpan, Word},
        },
    },
};
use table::{
    schema::{OFFSET, PARTITION},
    table::Offsets,
};

use crate::{
    error::{QueryError, ViewError},
    tail::Range,
};

/// What stands between a table's name and the moment.
const SEPARATOR: char = '@';

/// The moment that a query sees a table at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Travel {
    /// The committed rows of a version of the Delta table.
    Version(u64),
    /// The committed rows of the version in force at a time, milliseconds since the Unix epoch.
    Time {
        ms: i64,
        /// As it was written.
        text: String,
    },
    /// The rows below these offsets, table and tail; none of partitions that are not named.
    Below(Offsets),
    /// As usual, once the records at these offsets are there.
    AtLeast(Offsets),
}

impl Travel {
    /// Takes the name of a table apart.
    ///
    /// # Errors
    /// Where what stands behind `@` is no moment.
    pub(crate) fn of(name: &str) -> Result<(&str, Option<Self>), ViewError> {
        match name.split_once(SEPARATOR) {
            Some((table, moment)) => Ok((table, Some(moment.parse()?))),
            None => Ok((name, None)),
        }
    }
}

impl FromStr for Travel {
    type Err = ViewError;

    fn from_str(moment: &str) -> Result<Self, ViewError> {
        let (kind, value) = moment.split_once('=').unwrap_or((moment, ""));
        match kind {
            "version" => value.parse().map(Self::Version).map_err(|_| {
                ViewError::Parameter(format!("VERSION AS OF {value}: expected a version's number"))
            }),
            "timestamp" => {
                let utc = Tz::from_str("+00:00");
                let time = utc.and_then(|utc| string_to_datetime(&utc, value)).map_err(|_| {
                    ViewError::Parameter(format!(
                        "TIMESTAMP AS OF '{value}': expected a time such as \
                         '2026-11-26T10:00:00Z'"
                    ))
                })?;
                Ok(Self::Time { ms: time.timestamp_millis(), text: value.to_owned() })
            }
            "offset" => Ok(Self::Below(offsets(value)?)),
            "at_least" => Ok(Self::AtLeast(offsets(value)?)),
            _ => Err(ViewError::Parameter(format!(
                "@{moment}: expected @version=, @timestamp=, @offset= or @at_least="
            ))),
        }
    }
}

/// Offsets by partition, as `0:12,1:9`.
fn offsets(text: &str) -> Result<Offsets, ViewError> {
    let wrong = || {
        let right = "expected 'PARTITION:OFFSET,…', each partition once";
        ViewError::Parameter(format!("OFFSET '{text}': {right}"))
    };
    let mut offsets = Offsets::new();
    for pair in text.split(',') {
        let (partition, offset) = pair.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
        let partition = number(partition).and_then(|number| i32::try_from(number).ok());
        let (Some(partition), Some(offset)) = (partition, number(offset)) else {
            return Err(wrong());
        };
        if offsets.insert(partition, offset).is_some() {
            return Err(wrong());
        }
    }
    Ok(offsets)
}

/// What of some ranges lies below these offsets.
pub(crate) fn below(ranges: Vec<Range>, offsets: &Offsets) -> Vec<Range> {
    let cut = |range: Range| {
        let end = offsets.get(&range.partition.key().partition).copied().unwrap_or(0);
        Range { to: range.to.min(end), ..range }
    };
    ranges.into_iter().map(cut).filter(|range| range.from < range.to).collect()
}

/// The condition for committed rows to lie below these offsets; `None` where all do that are
/// below `progress`.
pub(crate) fn only(progress: &Offsets, offsets: &Offsets) -> Option<Expr> {
    let end = |partition: &i32| offsets.get(partition).copied().unwrap_or(0);
    if progress.iter().all(|(partition, next)| *next <= end(partition)) {
        return None;
    }
    let mut parts: Vec<Expr> = progress
        .keys()
        .filter(|partition| end(partition) > 0)
        .map(|partition| {
            let offsets = col(OFFSET).lt(lit(end(partition)));
            col(PARTITION).eq(lit(*partition)).and(offsets)
        })
        .collect();
    // As a balanced tree: planners walk it recursively.
    while parts.len() > 1 {
        let pairs = parts.chunks(2).map(|pair| pair.iter().cloned().reduce(Expr::or));
        parts = pairs.flatten().collect();
    }
    Some(parts.pop().unwrap_or_else(|| lit(false)))
}

/// Offsets as they are written.
pub(crate) struct Written<'a>(pub(crate) &'a Offsets);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (partition, offset)) in self.0.iter().enumerate() {
            write!(f, "{}{partition}:{offset}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// The clauses: their words, what stands for them in a name, and whether a number or a string
/// follows. None of these sequences is anything else in SQL. Those with FOR are what Trino and the
/// SQL standard call the same.
const CLAUSES: [(&[&str], &str, Argument); 10] = [
    (&["VERSION", "AS", "OF"], "version", Argument::Number),
    (&["FOR", "VERSION", "AS", "OF"], "version", Argument::Number),
    (&["TIMESTAMP", "AS", "OF"], "timestamp", Argument::String),
    (&["TIMESTAMP", "AS", "OF", "TIMESTAMP"], "timestamp", Argument::String),
    (&["FOR", "TIMESTAMP", "AS", "OF"], "timestamp", Argument::String),
    (&["FOR", "TIMESTAMP", "AS", "OF", "TIMESTAMP"], "timestamp", Argument::String),
    (&["FOR", "SYSTEM_TIME", "AS", "OF"], "timestamp", Argument::String),
    (&["FOR", "SYSTEM_TIME", "AS", "OF", "TIMESTAMP"], "timestamp", Argument::String),
    (&["AT", "LEAST", "OFFSET"], "at_least", Argument::String),
    (&["AS", "OF", "OFFSET"], "offset", Argument::String),
];

#[derive(Debug, Clone, Copy)]
enum Argument {
    Number,
    String,
}

/// Puts clauses into the names before them.
///
/// # Errors
/// Where a clause stands behind anything but the name of a table, or its moment is none.
pub(crate) fn fold(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>, QueryError> {
    let mut folded: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let Some((kind, value, len)) = tokens.get(at..).and_then(clause) else {
            folded.push(token.clone());
            at += 1;
            continue;
        };
        let place = token.span.start;
        let name = folded.iter().rposition(|token| !is_space(&token.token));
        let name = name.filter(|name| is_relation(folded.get(..*name).unwrap_or_default()));
        let name = name.and_then(|name| folded.get_mut(name)).map(|name| &mut name.token);
        let Some(Token::Word(word)) = name else {
            return Err(misplaced(place.line, place.column));
        };
        let table = match word.quote_style {
            Some(_) => word.value.clone(),
            // As the planner would.
            None => word.value.to_lowercase(),
        };
        let moment = format!("{kind}={value}");
        moment.parse::<Travel>().map_err(|error| QueryError::Plan(error.into()))?;
        let value = format!("{table}{SEPARATOR}{moment}");
        *word = Word { value, quote_style: Some('"'), ..word.clone() };
        at += len;
    }
    Ok(folded)
}

/// Whether what follows these tokens names a relation, as far as tokens can tell.
fn is_relation(before: &[TokenWithSpan]) -> bool {
    let mut visible = before.iter().rev().map(|token| &token.token).filter(|t| !is_space(t));
    loop {
        match visible.next() {
            // The rest of a qualified name.
            Some(Token::Period) => {
                if !matches!(visible.next(), Some(Token::Word(_))) {
                    return false;
                }
            }
            Some(Token::Comma | Token::LParen) => return true,
            Some(Token::Word(word)) => {
                let keywords =
                    [Keyword::FROM, Keyword::JOIN, Keyword::ONLY, Keyword::LATERAL, Keyword::TABLE];
                return keywords.contains(&word.keyword);
            }
            _ => return false,
        }
    }
}

fn misplaced(line: u64, column: u64) -> QueryError {
    QueryError::Syntax(format!(
        "the clause at line {line}, column {column} has to stand behind the name of a table, \
         before its alias"
    ))
}

/// The clause that these tokens begin with, its argument, and how many tokens it takes.
fn clause(tokens: &[TokenWithSpan]) -> Option<(&'static str, &str, usize)> {
    if !matches!(tokens.first()?.token, Token::Word(_)) {
        return None;
    }
    let visible = tokens.iter().enumerate().filter(|(_, token)| !is_space(&token.token));
    for (words, kind, argument) in CLAUSES {
        let mut visible = visible.clone();
        let is_it = words.iter().all(|word| {
            visible.next().is_some_and(|(_, token)| match &token.token {
                Token::Word(found) => {
                    found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
                }
                _ => false,
            })
        });
        let Some((at, token)) = visible.next().filter(|_| is_it) else { continue };
        match (argument, &token.token) {
            (Argument::Number, Token::Number(value, _))
            | (Argument::String, Token::SingleQuotedString(value)) => {
                return Some((kind, value, at + 1));
            }
            _ => {}
        }
    }
    None
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// Gives tables at a moment their plain names as aliases, where they have none.
pub(crate) fn alias(statement: &mut Statement) {
    match statement {
        Statement::Explain(explain) => alias(&mut explain.statement),
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Aliases);
        }
        _ => {}
    }
}

struct Aliases;

impl VisitorMut for Aliases {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias: alias @ None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let last = name.0.last().and_then(|part| part.as_ident());
        if let Some((table, _)) = last.and_then(|last| last.value.split_once(SEPARATOR)) {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', table),
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

/// A name as the planner understands it.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// The tables that a statement has to wait for, and up to which offsets.
pub(crate) fn waits(statement: &Statement) -> Result<Vec<(TableReference, Offsets)>, ViewError> {
    let inner = match statement {
        Statement::Explain(explain) => return waits(&explain.statement),
        Statement::Statement(inner) => inner,
        _ => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    let flow = ast::visit_relations(inner.as_ref(), |name| {
        let last = name.0.last().and_then(|part| part.as_ident());
        match last.map(|last| Travel::of(&last.value)) {
            Some(Ok((table, Some(Travel::AtLeast(offsets))))) => {
                let before = name.0.iter().rev().nth(1).and_then(|part| part.as_ident());
                found.push((
                    match before {
                        Some(schema) => TableReference::partial(folded(schema), table),
                        None => TableReference::bare(table),
                    },
                    offsets,
                ));
                ControlFlow::Continue(())
            }
            Some(Err(error)) => ControlFlow::Break(error),
            _ => ControlFlow::Continue(()),
        }
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(found),
    }
}

#[cfg(test)]
mod tests;
