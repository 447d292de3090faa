//! What filters on Kafka's columns imply for the columns that a table's files are divided by.

use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Expr, Operator},
    prelude::{col, lit},
};
use table::{
    partition::{self, PartitionBy},
    schema::{KEY, TIMESTAMP},
};

/// Filters on partition columns that hold wherever the given ones do: with them whole partitions
/// are left out.
pub(crate) fn implied(partition_by: &[PartitionBy], filters: &[Expr]) -> Vec<Expr> {
    let mut found = Vec::new();
    if partition_by.is_empty() {
        return found;
    }
    for filter in filters {
        add(partition_by, filter, &mut found);
    }
    found
}

fn add(partition_by: &[PartitionBy], filter: &Expr, found: &mut Vec<Expr>) {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return };
    let (column, op, value) = match (left.as_ref(), *op, right.as_ref()) {
        (left, Operator::And, right) => {
            add(partition_by, left, found);
            add(partition_by, right, found);
            return;
        }
        (Expr::Column(column), op, Expr::Literal(value, _)) => (column, op, value),
        (Expr::Literal(value, _), op, Expr::Column(column)) => match op.swap() {
            Some(op) => (column, op, value),
            None => return,
        },
        _ => return,
    };
    let implied = |by: &PartitionBy| match by {
        PartitionBy::Day if column.name == TIMESTAMP => day(op, value),
        PartitionBy::Bucket(buckets) if column.name == KEY && op == Operator::Eq => {
            bytes(value).map(|key| col(partition::BUCKET).eq(lit(partition::bucket(key, *buckets))))
        }
        _ => None,
    };
    found.extend(partition_by.iter().filter_map(implied));
}

/// The days of the timestamps that pass.
fn day(op: Operator, value: &ScalarValue) -> Option<Expr> {
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = value else { return None };
    let day = lit(ScalarValue::Date32(Some(partition::day(*micros))));
    let column = col(partition::DAY);
    match op {
        Operator::Eq => Some(column.eq(day)),
        Operator::Gt | Operator::GtEq => Some(column.gt_eq(day)),
        Operator::Lt | Operator::LtEq => Some(column.lt_eq(day)),
        _ => None,
    }
}

fn bytes(value: &ScalarValue) -> Option<&[u8]> {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => Some(text.as_bytes()),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    #[test]
    fn ranges_of_timestamps_are_ranges_of_days() {
        let day = |n| lit(ScalarValue::Date32(Some(n)));
        let column = || col(partition::DAY);
        let filters = [
            col(TIMESTAMP)
                .gt(at(86_400_000_000 - 1))
                .and(at(3 * 86_400_000_000).gt(col(TIMESTAMP))),
            col("carrier").eq(lit("UA")),
            col(TIMESTAMP).not_eq(at(0)),
            col(TIMESTAMP).eq(at(5)).or(col("carrier").eq(lit("UA"))),
        ];
        let found = implied(&[PartitionBy::Day], &filters);
        assert_eq!(found, [column().gt_eq(day(0)), column().lt_eq(day(3))]);
        assert!(implied(&[], &filters).is_empty());
    }

    #[test]
    fn a_key_has_one_bucket() {
        for key in [ScalarValue::Binary, ScalarValue::BinaryView] {
            let key = col(KEY).eq(lit(key(Some(b"iceberg".to_vec()))));
            let found = implied(&[PartitionBy::Bucket(16)], &[key]);
            assert_eq!(found, [col(partition::BUCKET).eq(lit(partition::bucket(b"iceberg", 16)))]);
        }
        let range = col(KEY).gt(lit(ScalarValue::Binary(Some(b"a".to_vec()))));
        assert!(implied(&[PartitionBy::Bucket(16)], &[range]).is_empty());
    }
}
