//! AddPartitionsToTxn, and what a Produce or TxnOffsetCommit does by itself with KIP-890: partitions
//! become part of a transaction before anything is written to them, or are verified to be.

use std::collections::{BTreeMap, BTreeSet};

use common::ProducerId;
use protocol::ErrorCode;

use super::{
    metadata::{TopicPartition, TransactionMetadata, TransactionVersion},
    records::TransactionRecord,
    shard::{Ctx, TransactionShard},
    state::TransactionState,
};
use crate::shard::Outcome;

/// Partitions, and the producer whose transaction they are to be or to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddPartitions {
    /// Its transactional id.
    pub transactional_id: String,
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The partitions.
    pub partitions: BTreeSet<TopicPartition>,
    /// What the client speaks.
    pub client_version: TransactionVersion,
}

impl TransactionShard {
    /// Adds partitions to the open transaction, or begins one with them. All or none.
    pub fn add_partitions(
        &mut self,
        context: Ctx<'_, '_>,
        request: &AddPartitions,
    ) -> Outcome<Result<(), ErrorCode>, TransactionRecord> {
        let known = match self.known_to(request) {
            Ok(known) => known,
            Err(error) => return Outcome::read(Err(error)),
        };
        if known.state == TransactionState::Ongoing
            && request.partitions.is_subset(&known.partitions)
        {
            return Outcome::read(Ok(()));
        }
        let added = request.partitions.iter().cloned();
        let next = known.with_partitions(added, request.client_version, context.now_ms);
        Outcome::write(vec![self.step(context, &request.transactional_id, next)], Ok(()))
    }

    /// A transaction that is being completed comes first: what a producer names may be the
    /// identity that it gets by that.
    fn known_to(&self, request: &AddPartitions) -> Result<&TransactionMetadata, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let known = self.metadata(&request.transactional_id);
        let known = known.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if known.state.is_completing() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        check_identity(known, request)?;
        Ok(known)
    }

    /// Says which of the partitions are in the producer's transaction.
    ///
    /// # Errors
    /// Where the producer has no such transaction.
    pub fn verify_partitions(
        &self,
        request: &AddPartitions,
    ) -> Result<BTreeMap<TopicPartition, Result<(), ErrorCode>>, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let known = self.metadata(&request.transactional_id);
        let known = known.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_identity(known, request)?;
        if known.state.is_completing() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let verify = |partition: &TopicPartition| {
            let verified = if known.partitions.contains(partition) {
                Ok(())
            } else {
                Err(ErrorCode::TransactionAbortable)
            };
            (partition.clone(), verified)
        };
        Ok(request.partitions.iter().map(verify).collect())
    }
}

fn check_identity(known: &TransactionMetadata, request: &AddPartitions) -> Result<(), ErrorCode> {
    if known.producer_id != request.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if known.producer_epoch != request.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}
