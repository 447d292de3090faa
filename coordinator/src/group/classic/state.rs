//! The states of a classic group, by Kafka's names.

use std::fmt;

/// Where a classic group stands between two rebalances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No members. It lingers while it has offsets.
    Empty,
    /// Members are asked to join again; those that have done so wait.
    PreparingRebalance,
    /// Members know their generation and wait for the leader's assignment.
    CompletingRebalance,
    /// Members work.
    Stable,
}

impl State {
    /// The name in DescribeGroups and ListGroups.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    /// Whether a rebalance may begin here: one that is being prepared takes more members as it is.
    #[must_use]
    pub const fn can_rebalance(self) -> bool {
        !matches!(self, Self::PreparingRebalance)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
