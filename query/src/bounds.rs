//! What filters say of Kafka's columns: ranges that the log need not be read outside of.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
};
use storage::IsolationLevel;
use table::schema::{OFFSET, PARTITION, TIMESTAMP};

use crate::{error::external, tail::Range};

/// Closed ranges by column: partitions, offsets, and timestamps in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bounds(BTreeMap<&'static str, (i64, i64)>);

/// What no filter speaks of.
const WHOLE: (i64, i64) = (i64::MIN, i64::MAX);

impl Bounds {
    /// What all of these say.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        filters.iter().fold(Self::default(), |bounds, filter| bounds.and(Self::of_one(filter)))
    }

    fn of_one(filter: &Expr) -> Self {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::of_one(left).and(Self::of_one(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Self::of_one(left).or(&Self::of_one(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => {
                        Self::compared(&column.name, *op, value)
                    }
                    (Expr::Literal(value, _), Expr::Column(column)) => {
                        op.swap().and_then(|op| Self::compared(&column.name, op, value))
                    }
                    _ => None,
                }
                .unwrap_or_default()
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let Expr::Column(column) = expr.as_ref() else { return Self::default() };
                let one = |value: &Expr| match value {
                    Expr::Literal(value, _) => {
                        Self::compared(&column.name, Operator::Eq, value).unwrap_or_default()
                    }
                    _ => Self::default(),
                };
                list.iter().map(one).reduce(|all, one| all.or(&one)).unwrap_or_default()
            }
            _ => Self::default(),
        }
    }

    fn compared(column: &str, op: Operator, value: &ScalarValue) -> Option<Self> {
        let name = [OFFSET, PARTITION, TIMESTAMP].into_iter().find(|name| *name == column)?;
        let value = match value {
            ScalarValue::Int64(Some(value)) => *value,
            ScalarValue::Int32(Some(value)) => i64::from(*value),
            ScalarValue::TimestampMicrosecond(Some(value), _) => *value,
            _ => return None,
        };
        let range = match op {
            Operator::Eq => (value, value),
            Operator::Gt => (value.saturating_add(1), i64::MAX),
            Operator::GtEq => (value, i64::MAX),
            Operator::Lt => (i64::MIN, value.saturating_sub(1)),
            Operator::LtEq => (i64::MIN, value),
            _ => return None,
        };
        Some(Self(BTreeMap::from([(name, range)])))
    }

    /// What both say.
    fn and(mut self, other: Self) -> Self {
        for (name, (low, high)) in other.0 {
            let bound = self.0.entry(name).or_insert(WHOLE);
            *bound = (bound.0.max(low), bound.1.min(high));
        }
        self
    }

    /// What holds if one of them does.
    fn or(mut self, other: &Self) -> Self {
        self.0.retain(|name, (low, high)| {
            let Some(bound) = other.0.get(name) else { return false };
            (*low, *high) = ((*low).min(bound.0), (*high).max(bound.1));
            true
        });
        self
    }

    fn get(&self, name: &str) -> (i64, i64) {
        self.0.get(name).copied().unwrap_or(WHOLE)
    }

    /// What of a range can pass; `None` where nothing can.
    pub(crate) async fn cut(&self, range: &Range) -> Result<Option<Range>> {
        let (low, high) = self.get(PARTITION);
        if !(low..=high).contains(&i64::from(range.partition.key().partition)) {
            return Ok(None);
        }
        let (low, high) = self.get(OFFSET);
        let (mut from, to) = (range.from.max(low), range.to.min(high.saturating_add(1)));
        let (since, until) = self.get(TIMESTAMP);
        if from >= to || since > until {
            return Ok(None);
        }
        if since != i64::MIN {
            // Timestamps need not be in order, so that there is no such end.
            let committed = IsolationLevel::ReadCommitted;
            let first = range.partition.offset_for_timestamp(since.div_euclid(1000), committed);
            let Some(first) = first.await.map_err(external)? else { return Ok(None) };
            from = from.max(first.offset);
        }
        let partition = Arc::clone(&range.partition);
        Ok((from < to).then_some(Range { partition, from, to }))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn filters_on_partitions_and_offsets_are_understood() {
        let bounds = Bounds::of(&[
            col("kafka_partition").eq(lit(3)),
            col("kafka_offset").gt_eq(lit(10_i64)).and(lit(20_i64).gt(col("kafka_offset"))),
            col("carrier").eq(lit("UA")),
            col("kafka_offset").lt(lit(30_i64)).or(col("carrier").eq(lit("UA"))),
        ]);
        let expected = BTreeMap::from([(PARTITION, (3, 3)), (OFFSET, (10, 19))]);
        assert_eq!(bounds, Bounds(expected));
    }

    #[test]
    fn alternatives_are_bounded_by_all_of_them() {
        let partition = || col("kafka_partition");
        let bounds = Bounds::of(&[partition().eq(lit(3)).or(partition().eq(lit(5)))]);
        assert_eq!(bounds, Bounds(BTreeMap::from([(PARTITION, (3, 5))])));
        let list = partition().in_list(vec![lit(7), lit(2)], false);
        assert_eq!(Bounds::of(&[list]), Bounds(BTreeMap::from([(PARTITION, (2, 7))])));
        let not = partition().in_list(vec![lit(7), lit(2)], true);
        assert_eq!(Bounds::of(&[not]), Bounds::default());
    }
}
