//! The states of a transactional id, with Kafka's numbers and names.

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum TransactionState {
    /// A producer has its epoch, and no transaction has begun.
    Empty = 0,
    /// A transaction is open.
    Ongoing = 1,
    /// It will be committed: markers are being written.
    PrepareCommit = 2,
    /// It will be aborted: markers are being written.
    PrepareAbort = 3,
    /// It was committed, in every partition.
    CompleteCommit = 4,
    /// It was aborted, in every partition.
    CompleteAbort = 5,
    /// The id is being forgotten. Never in the log: its tombstone is.
    Dead = 6,
    /// A producer is being fenced. Never in the log: the abort that follows is.
    PrepareEpochFence = 7,
}

/// All of them, by number.
const ALL: [TransactionState; 8] = [
    TransactionState::Empty,
    TransactionState::Ongoing,
    TransactionState::PrepareCommit,
    TransactionState::PrepareAbort,
    TransactionState::CompleteCommit,
    TransactionState::CompleteAbort,
    TransactionState::Dead,
    TransactionState::PrepareEpochFence,
];

impl TransactionState {
    /// The number in the log.
    #[must_use]
    pub const fn id(self) -> i8 {
        self as i8
    }

    /// The state with this number.
    #[must_use]
    pub fn from_id(id: i8) -> Option<Self> {
        ALL.into_iter().find(|state| state.id() == id)
    }

    /// The name that DescribeTransactions and ListTransactions use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state with this name, as filters give it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the transaction's end is decided and its markers are not all written: whatever
    /// comes meanwhile is told CONCURRENT_TRANSACTIONS.
    #[must_use]
    pub const fn is_completing(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether an id in this state may be forgotten after `transactional.id.expiration.ms`.
    #[must_use]
    pub const fn may_expire(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    /// Whether Kafka allows the step from this state to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty | Self::Dead => {
                matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
            }
            Self::Ongoing => {
                matches!(
                    self,
                    Self::Ongoing | Self::Empty | Self::CompleteCommit | Self::CompleteAbort
                )
            }
            Self::PrepareCommit | Self::PrepareEpochFence => matches!(self, Self::Ongoing),
            Self::PrepareAbort => matches!(
                self,
                Self::Ongoing
                    | Self::Empty
                    | Self::CompleteCommit
                    | Self::CompleteAbort
                    | Self::PrepareEpochFence
            ),
            Self::CompleteCommit => matches!(self, Self::PrepareCommit),
            Self::CompleteAbort => matches!(self, Self::PrepareAbort),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_kafkas_and_unique() {
        for (number, state) in ALL.into_iter().enumerate() {
            assert_eq!(i8::try_from(number), Ok(state.id()));
            assert_eq!(TransactionState::from_id(state.id()), Some(state));
            assert_eq!(TransactionState::from_name(state.name()), Some(state));
        }
        assert_eq!(TransactionState::from_id(8), None);
        assert_eq!(TransactionState::from_name("ongoing"), None);
    }

    #[test]
    fn only_a_transaction_that_is_open_can_be_committed() {
        let from = |next| ALL.into_iter().filter(move |state| state.may_become(next));
        assert!(from(TransactionState::PrepareCommit).eq([TransactionState::Ongoing]));
        assert!(from(TransactionState::CompleteCommit).eq([TransactionState::PrepareCommit]));
        assert!(from(TransactionState::CompleteAbort).eq([TransactionState::PrepareAbort]));
    }

    #[test]
    fn nothing_expires_while_a_transaction_is_open_or_being_completed() {
        let expiring: Vec<_> = ALL.into_iter().filter(|state| state.may_expire()).collect();
        let dying: Vec<_> =
            ALL.into_iter().filter(|state| state.may_become(TransactionState::Dead)).collect();
        assert_eq!(expiring, dying);
        assert!(!TransactionState::Ongoing.may_expire());
        assert!(!TransactionState::PrepareAbort.may_expire());
    }
}
