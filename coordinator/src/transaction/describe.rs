//! DescribeTransactions and ListTransactions: what is known, as tools ask for it.

use std::collections::BTreeSet;

use common::ProducerId;
use protocol::ErrorCode;
use regex::Regex;

use super::{metadata::TopicPartition, shard::TransactionShard, state::TransactionState};

/// One transactional id, as DescribeTransactions shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its producer's id.
    pub producer_id: ProducerId,
    /// Its producer's epoch.
    pub producer_epoch: i16,
    /// Where it stands.
    pub state: TransactionState,
    /// How long its transactions may stay open.
    pub timeout_ms: i32,
    /// When its transaction began, -1 for none.
    pub start_ms: i64,
    /// What its transaction touches; while it is being completed, what has no marker yet.
    pub partitions: BTreeSet<TopicPartition>,
}

/// One transactional id, as ListTransactions shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The id.
    pub transactional_id: String,
    /// Its producer's id.
    pub producer_id: ProducerId,
    /// Where it stands.
    pub state: TransactionState,
}

/// Which transactional ids are listed.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// Only these producers, unless empty.
    producer_ids: BTreeSet<ProducerId>,
    /// Only these states; `None` for any.
    states: Option<BTreeSet<TransactionState>>,
    /// Only what began longer ago than this, milliseconds.
    duration_ms: Option<i64>,
    /// Only ids that match as a whole.
    pattern: Option<Regex>,
    /// State filters that name no state.
    unknown_states: Vec<String>,
}

impl TransactionFilter {
    /// Reads what a request asks for. A negative duration and an empty pattern filter nothing.
    ///
    /// # Errors
    /// INVALID_REGULAR_EXPRESSION.
    pub fn new(
        producer_ids: impl IntoIterator<Item = ProducerId>,
        states: &[String],
        duration_ms: i64,
        pattern: Option<&str>,
    ) -> Result<Self, ErrorCode> {
        let known = |name: &String| TransactionState::from_name(name);
        let pattern = pattern.filter(|pattern| !pattern.is_empty()).map(|pattern| {
            // Alone first, so that `)(` is not made valid by what is put around it.
            Regex::new(pattern)
                .and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z")))
                .map_err(|_| ErrorCode::InvalidRegularExpression)
        });
        Ok(Self {
            producer_ids: producer_ids.into_iter().collect(),
            states: (!states.is_empty()).then(|| states.iter().filter_map(known).collect()),
            duration_ms: (duration_ms >= 0).then_some(duration_ms),
            pattern: pattern.transpose()?,
            unknown_states: states.iter().filter(|name| known(name).is_none()).cloned().collect(),
        })
    }

    /// The state filters that name no state.
    #[must_use]
    pub fn unknown_states(&self) -> &[String] {
        &self.unknown_states
    }
}

impl TransactionShard {
    /// Describes one id.
    ///
    /// # Errors
    /// TRANSACTIONAL_ID_NOT_FOUND.
    pub fn describe(&self, transactional_id: &str) -> Result<Description, ErrorCode> {
        let entry = self.transactional_ids.get(transactional_id);
        let entry = entry.ok_or(ErrorCode::TransactionalIdNotFound)?;
        let known = &entry.metadata;
        Ok(Description {
            producer_id: known.producer_id,
            producer_epoch: known.producer_epoch,
            state: known.state,
            timeout_ms: known.timeout_ms,
            start_ms: known.start_ms,
            partitions: entry.unmarked.as_ref().unwrap_or(&known.partitions).clone(),
        })
    }

    /// Lists ids.
    #[must_use]
    pub fn list(&self, filter: &TransactionFilter, now_ms: i64) -> Vec<Listing> {
        let matching = self.transactional_ids.iter().filter(|(transactional_id, entry)| {
            let known = &entry.metadata;
            let long_enough = |least: i64| now_ms.saturating_sub(known.start_ms) > least;
            (filter.producer_ids.is_empty() || filter.producer_ids.contains(&known.producer_id))
                && filter.states.as_ref().is_none_or(|states| states.contains(&known.state))
                && filter.duration_ms.is_none_or(long_enough)
                && filter.pattern.as_ref().is_none_or(|regex| regex.is_match(transactional_id))
        });
        matching
            .map(|(transactional_id, entry)| Listing {
                transactional_id: transactional_id.clone(),
                producer_id: entry.metadata.producer_id,
                state: entry.metadata.state,
            })
            .collect()
    }
}
