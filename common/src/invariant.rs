//! The catalogue of invariants: the same names in production asserts, in the simulator's checks
//! and in the history checker.

use std::fmt;

/// A named property that must hold at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InvariantId {
    /// An acknowledged record is readable at its offset, up to retention and DeleteRecords.
    Log1,
    /// One value per (partition, offset).
    Log2,
    /// Offsets are dense in a batch and monotonic across batches.
    Log3,
    /// `log_start ≤ LSO ≤ high watermark ≤ log end`, and none moves back.
    Log4,
    /// WAL and objects cover `[log_start, log_end)` without gap or overlap.
    Log5,
    /// The bytes read are the bytes acknowledged.
    Log6,
    /// At most one writer per (partition, leader epoch).
    Fen1,
    /// A deposed owner never acknowledges.
    Fen2,
    /// No duplicate (producer id, epoch, sequence).
    Idm1,
    /// The order of a producer's batches is kept.
    Idm2,
    /// No sequence gap is accepted where producer state exists.
    Idm3,
    /// All or none of a transaction is visible.
    Txn1,
    /// No aborted or open data is visible to a reader of committed data.
    Txn2,
    /// Every transaction ends, and the last stable offset moves on.
    Txn3,
    /// No record of one transaction counts in the next.
    Txn4,
    /// A partition has at most one owner per generation of a group.
    Grp1,
    /// A fetch of offsets sees the last durable commit.
    Grp2,
    /// A stale member or generation cannot commit.
    Grp3,
    /// Every referenced object exists with its checksum.
    Obj1,
    /// Orphans go after their grace time; GC never deletes what is referenced.
    Obj2,
    /// Memory in use stays within the budget.
    Mem1,
}

impl InvariantId {
    /// The id as `docs/` and reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log1 => "LOG-1",
            Self::Log2 => "LOG-2",
            Self::Log3 => "LOG-3",
            Self::Log4 => "LOG-4",
            Self::Log5 => "LOG-5",
            Self::Log6 => "LOG-6",
            Self::Fen1 => "FEN-1",
            Self::Fen2 => "FEN-2",
            Self::Idm1 => "IDM-1",
            Self::Idm2 => "IDM-2",
            Self::Idm3 => "IDM-3",
            Self::Txn1 => "TXN-1",
            Self::Txn2 => "TXN-2",
            Self::Txn3 => "TXN-3",
            Self::Txn4 => "TXN-4",
            Self::Grp1 => "GRP-1",
            Self::Grp2 => "GRP-2",
            Self::Grp3 => "GRP-3",
            Self::Obj1 => "OBJ-1",
            Self::Obj2 => "OBJ-2",
            Self::Mem1 => "MEM-1",
        }
    }
}

impl fmt::Display for InvariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Panics, naming the invariant, where its condition does not hold. On in production: a broker
/// that has lost an invariant must stop rather than acknowledge (design D16).
#[macro_export]
macro_rules! invariant {
    ($id:ident, $condition:expr, $($context:tt)+) => {
        if !$condition {
            panic!(
                "invariant {} violated: {}",
                $crate::invariant::InvariantId::$id,
                format_args!($($context)+)
            );
        }
    };
}
