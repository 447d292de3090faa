//! Feature levels (KIP-584) as ApiVersions reports them: those of Apache Kafka 4.3.1, each only
//! once it is built.
//!
//! `metadata.version` says which requests a broker of that release understands; tools read it.
//! `group.version` and `transaction.version` make clients switch protocols, so each is added with the
//! coordinator that speaks it (design D15).

/// A feature and its levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level supported.
    pub min_level: i16,
    /// Highest level supported.
    pub max_level: i16,
    /// The level in force in this cluster.
    pub finalized_level: i16,
}

/// The features of this release.
pub const FEATURES: &[Feature] = &[
    // 3.3-IV3 to 4.3-IV0.
    Feature { name: "metadata.version", min_level: 7, max_level: 30, finalized_level: 30 },
    // Groups of KIP-848.
    Feature { name: "group.version", min_level: 0, max_level: 1, finalized_level: 1 },
    // KIP-890: every end of a transaction bumps the epoch.
    Feature { name: "transaction.version", min_level: 0, max_level: 2, finalized_level: 2 },
];

/// The epoch of the finalized levels: they are those of the release and never change in it.
pub const FINALIZED_FEATURES_EPOCH: i64 = 0;
