//! Prepared statements: what they need and what they give, found out by planning them once.
//!
//! A plan is not kept: it stands for the moment when it was made, and a statement that is run
//! sees what is there then.

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use datafusion::{
    common::ScalarValue, logical_expr::LogicalPlan, prelude::SessionContext,
    sql::parser::Statement as Planned,
};
use pgwire::api::Type;

use super::{
    command::Command,
    error::PgError,
    out::Column,
    params,
    rewrite::{cast_parameters, declared},
    rows::{self, Formats},
    types,
    wire::Bind,
};
use crate::{engine, error::QueryError};

/// A parameter of a statement.
#[derive(Debug, Clone)]
struct Parameter {
    kind: Type,
    /// What its value is brought into: where the client left the type to us.
    fit: Option<Field>,
}

/// A statement that waits for its parameters.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// `None` is an empty one.
    pub(super) command: Option<Command>,
    parameters: Vec<Parameter>,
    /// `None` where it gives no rows.
    pub(super) columns: Option<Vec<Column>>,
    /// How long its text was.
    pub(super) bytes: usize,
}

impl Prepared {
    /// A statement that is not planned.
    pub(super) fn simple(
        command: Option<Command>,
        columns: Option<Vec<Column>>,
        bytes: usize,
    ) -> Self {
        Self { command, parameters: Vec::new(), columns, bytes }
    }

    /// Plans a statement for its types; `hints` are those that the client named.
    pub(super) async fn planned(
        context: &SessionContext,
        mut command: Command,
        hints: &[Type],
        bytes: usize,
    ) -> Result<Self, PgError> {
        let (Command::Rows { statement, .. } | Command::Copy { statement, .. }) = &mut command
        else {
            return Ok(Self::simple(Some(command), None, bytes));
        };
        let declared = match statement.as_ref() {
            Planned::Statement(statement) => declared(statement),
            _ => BTreeMap::new(),
        };
        let (plan, fields) = described(context, statement, hints, &declared).await?;
        let count = fields.len().max(hints.len());
        let parameters = (0..count).map(|index| {
            let field = fields.get(index).cloned().flatten();
            match hint(hints, index).or_else(|| declared.get(&index).cloned()) {
                Some(kind) => Parameter { kind, fit: None },
                None => Parameter {
                    kind: field.as_ref().map_or(Type::TEXT, types::of_field),
                    fit: field,
                },
            }
        });
        let parameters = parameters.collect();
        let columns = match command {
            Command::Rows { .. } => Some(rows::columns(plan.schema().as_arrow())),
            _ => None,
        };
        Ok(Self { command: Some(command), parameters, columns, bytes })
    }

    /// The types of its parameters.
    pub(super) fn parameters(&self) -> Vec<Type> {
        self.parameters.iter().map(|parameter| parameter.kind.clone()).collect()
    }

    /// The values of a Bind message.
    pub(super) fn values(&self, bind: &Bind) -> Result<Vec<ScalarValue>, PgError> {
        self.check_count(bind.parameters.len())?;
        let formats = Formats(bind.parameter_formats.clone());
        formats.check(bind.parameters.len(), "parameter")?;
        let values = self.parameters.iter().zip(&bind.parameters).enumerate();
        let values = values.map(|(index, (parameter, bytes))| {
            let binary = formats.of(index) == 1;
            let value = params::decode(index, &parameter.kind, binary, bytes.as_deref())?;
            params::fit(value, parameter.fit.as_ref())
        });
        values.collect()
    }

    /// Values that come from elsewhere, brought into the types of the parameters.
    pub(super) fn fit(&self, values: Vec<ScalarValue>) -> Result<Vec<ScalarValue>, PgError> {
        self.check_count(values.len())?;
        let values = values.into_iter().zip(&self.parameters).map(|(value, parameter)| {
            let declared = Field::new("", types::arrow_of(&parameter.kind), true);
            params::fit(value, Some(parameter.fit.as_ref().unwrap_or(&declared)))
        });
        values.collect()
    }

    fn check_count(&self, found: usize) -> Result<(), PgError> {
        let wanted = self.parameters.len();
        if found == wanted {
            return Ok(());
        }
        let message = format!(
            "bind message supplies {found} parameters, but prepared statement requires {wanted}"
        );
        Err(PgError::protocol(message))
    }
}

fn hint(hints: &[Type], index: usize) -> Option<Type> {
    hints.get(index).filter(|kind| **kind != Type::UNKNOWN).cloned()
}

/// Plans a statement, with casts for the parameters whose type it does not show: to what the
/// client named, or to text.
async fn described(
    context: &SessionContext,
    statement: &mut Box<Planned>,
    hints: &[Type],
    declared: &BTreeMap<usize, Type>,
) -> Result<(LogicalPlan, Vec<Option<Field>>), PgError> {
    let known = |index: usize| hint(hints, index).or_else(|| declared.get(&index).cloned());
    let first = inferred(context, statement).await;
    let open: Vec<Option<Type>> = match &first {
        Ok((_, fields)) if fields.iter().all(Option::is_some) => return first.map_err(Into::into),
        Ok((_, fields)) => {
            let kind = |index, field: &Option<Field>| match field {
                Some(_) => None,
                None => Some(known(index).unwrap_or(Type::TEXT)),
            };
            fields.iter().enumerate().map(|(index, field)| kind(index, field)).collect()
        }
        // It may have failed for want of types.
        Err(_) => (0..hints.len()).map(|index| hint(hints, index)).collect(),
    };
    if let Planned::Statement(statement) = statement.as_mut() {
        cast_parameters(statement, &open);
    }
    match (inferred(context, statement).await, first) {
        (Err(_), Err(error)) => Err(error.into()),
        (second, _) => second.map_err(Into::into),
    }
}

async fn inferred(
    context: &SessionContext,
    statement: &Planned,
) -> Result<(LogicalPlan, Vec<Option<Field>>), QueryError> {
    let plan = engine::plan(context, statement.clone()).await?;
    let fields = params::inferred(&plan).map_err(QueryError::Plan)?;
    Ok((plan, fields))
}
