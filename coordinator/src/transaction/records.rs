//! The records of `__transaction_state`, in the version that Apache Kafka 4.3 writes.

use bytes::Bytes;
use protocol::coordinator_records::transaction_log::{TransactionLogKey, TransactionLogValue};

use crate::{
    records::coordinator_records,
    shard::{EncodedRecord, LogRecord, RecordError},
};

coordinator_records! {
    /// A record of `__transaction_state`: its key, and its value or a tombstone.
    TransactionRecord {
        /// A transactional id and where its transaction stands.
        TransactionLog(TransactionLogKey, TransactionLogValue) in |_| 1,
    }
}
