//! THE table of Kafka's APIs: key, name, the versions that Apache Kafka 4.3.1 advertises, and the first
//! flexible version (KIP-482).
//!
//! A range here is what a broker of that release prints for itself, and what ours answers once the
//! API works; what is advertised is the broker's decision, never more than a row says. The range of
//! the message definitions can be wider (`InitProducerId` 6 is unstable) or narrower (`Produce` 0-2
//! is advertised for librdkafka's sake and refused when it comes, KAFKA-18659).
//! `GetTelemetrySubscriptions` and `PushTelemetry` are advertised only by a broker with a telemetry
//! receiver; their rows hold the definitions' ranges.

macro_rules! api_keys {
    ($($key:literal $name:ident $min:literal ..= $max:literal $(flexible $flexible:literal)? $(never)?;)*) => {
        /// A Kafka API that a broker may serve to clients, under Kafka's own name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every key, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$name => $key,)*
                }
            }

            /// Kafka's name, such as `Produce`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The lowest version that Kafka 4.3.1 advertises.
            pub const fn min_version(self) -> i16 {
                match self {
                    $(Self::$name => $min,)*
                }
            }

            /// The highest version that Kafka 4.3.1 advertises.
            pub const fn max_version(self) -> i16 {
                match self {
                    $(Self::$name => $max,)*
                }
            }

            /// The first version with compact lengths and tagged fields, if any version has them.
            pub const fn first_flexible_version(self) -> Option<i16> {
                match self {
                    $(Self::$name => api_keys!(@flexible $($flexible)?),)*
                }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = UnknownApiKey;

            fn try_from(code: i16) -> Result<Self, UnknownApiKey> {
                match code {
                    $($key => Ok(Self::$name),)*
                    other => Err(UnknownApiKey(other)),
                }
            }
        }
    };
    (@flexible $flexible:literal) => { Some($flexible) };
    (@flexible) => { None };
}

api_keys! {
     0 Produce 0..=13 flexible 9;
     1 Fetch 4..=18 flexible 12;
     2 ListOffsets 1..=11 flexible 6;
     3 Metadata 0..=13 flexible 9;
     8 OffsetCommit 2..=10 flexible 8;
     9 OffsetFetch 1..=10 flexible 6;
    10 FindCoordinator 0..=6 flexible 3;
    11 JoinGroup 0..=9 flexible 6;
    12 Heartbeat 0..=4 flexible 4;
    13 LeaveGroup 0..=5 flexible 4;
    14 SyncGroup 0..=5 flexible 4;
    15 DescribeGroups 0..=6 flexible 5;
    16 ListGroups 0..=5 flexible 3;
    17 SaslHandshake 0..=1 never;
    18 ApiVersions 0..=4 flexible 3;
    19 CreateTopics 2..=7 flexible 5;
    20 DeleteTopics 1..=6 flexible 4;
    21 DeleteRecords 0..=2 flexible 2;
    22 InitProducerId 0..=5 flexible 2;
    23 OffsetForLeaderEpoch 2..=4 flexible 4;
    24 AddPartitionsToTxn 0..=5 flexible 3;
    25 AddOffsetsToTxn 0..=4 flexible 3;
    26 EndTxn 0..=5 flexible 3;
    27 WriteTxnMarkers 1..=2 flexible 1;
    28 TxnOffsetCommit 0..=5 flexible 3;
    29 DescribeAcls 1..=3 flexible 2;
    30 CreateAcls 1..=3 flexible 2;
    31 DeleteAcls 1..=3 flexible 2;
    32 DescribeConfigs 1..=4 flexible 4;
    33 AlterConfigs 0..=2 flexible 2;
    34 AlterReplicaLogDirs 1..=2 flexible 2;
    35 DescribeLogDirs 1..=5 flexible 2;
    36 SaslAuthenticate 0..=2 flexible 2;
    37 CreatePartitions 0..=3 flexible 2;
    38 CreateDelegationToken 1..=3 flexible 2;
    39 RenewDelegationToken 1..=2 flexible 2;
    40 ExpireDelegationToken 1..=2 flexible 2;
    41 DescribeDelegationToken 1..=3 flexible 2;
    42 DeleteGroups 0..=2 flexible 2;
    43 ElectLeaders 0..=2 flexible 2;
    44 IncrementalAlterConfigs 0..=1 flexible 1;
    45 AlterPartitionReassignments 0..=1 flexible 0;
    46 ListPartitionReassignments 0..=0 flexible 0;
    47 OffsetDelete 0..=0 never;
    48 DescribeClientQuotas 0..=1 flexible 1;
    49 AlterClientQuotas 0..=1 flexible 1;
    50 DescribeUserScramCredentials 0..=0 flexible 0;
    51 AlterUserScramCredentials 0..=0 flexible 0;
    55 DescribeQuorum 0..=2 flexible 0;
    57 UpdateFeatures 0..=2 flexible 0;
    60 DescribeCluster 0..=2 flexible 0;
    61 DescribeProducers 0..=0 flexible 0;
    64 UnregisterBroker 0..=0 flexible 0;
    65 DescribeTransactions 0..=0 flexible 0;
    66 ListTransactions 0..=2 flexible 0;
    68 ConsumerGroupHeartbeat 0..=1 flexible 0;
    69 ConsumerGroupDescribe 0..=1 flexible 0;
    71 GetTelemetrySubscriptions 0..=0 flexible 0;
    72 PushTelemetry 0..=0 flexible 0;
    74 ListConfigResources 0..=1 flexible 0;
    75 DescribeTopicPartitions 0..=0 flexible 0;
    76 ShareGroupHeartbeat 1..=1 flexible 0;
    77 ShareGroupDescribe 1..=1 flexible 0;
    78 ShareFetch 1..=2 flexible 0;
    79 ShareAcknowledge 1..=2 flexible 0;
    80 AddRaftVoter 0..=1 flexible 0;
    81 RemoveRaftVoter 0..=0 flexible 0;
    83 InitializeShareGroupState 0..=0 flexible 0;
    84 ReadShareGroupState 0..=0 flexible 0;
    85 WriteShareGroupState 0..=1 flexible 0;
    86 DeleteShareGroupState 0..=0 flexible 0;
    87 ReadShareGroupStateSummary 0..=1 flexible 0;
    88 StreamsGroupHeartbeat 0..=0 flexible 0;
    89 StreamsGroupDescribe 0..=0 flexible 0;
    90 DescribeShareGroupOffsets 0..=1 flexible 0;
    91 AlterShareGroupOffsets 0..=0 flexible 0;
    92 DeleteShareGroupOffsets 0..=0 flexible 0;
}

/// A key that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown api key {0}")]
pub struct UnknownApiKey(pub i16);

impl ApiKey {
    /// Whether Kafka 4.3.1 advertises `version`.
    pub const fn supports(self, version: i16) -> bool {
        self.min_version() <= version && version <= self.max_version()
    }

    /// Whether `version` uses compact lengths and tagged fields, advertised or not.
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.first_flexible_version() {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// The version of the header in front of a request: 1, or 2 when flexible. (Header 0 belonged to
    /// `ControlledShutdown` 0 alone, which Kafka 4 has dropped.)
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header in front of a response: 0, or 1 when flexible, but always 0 for
    /// `ApiVersions`, whose client does not know yet what the broker speaks (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_ascend_and_name_themselves() {
        assert!(ApiKey::ALL.is_sorted());
        for api_key in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(api_key.code()).unwrap(), *api_key);
            assert!(api_key.min_version() <= api_key.max_version(), "{api_key}");
            assert_eq!(api_key.name(), format!("{api_key:?}"));
        }
    }

    #[test]
    fn keys_that_kafka_4_has_dropped_or_never_had_are_unknown() {
        // LeaderAndIsr to ControlledShutdown, Vote, Envelope, and what lies outside of the table.
        for code in [-1, 4, 5, 6, 7, 52, 58, 93, i16::MAX, i16::MIN] {
            assert_eq!(ApiKey::try_from(code), Err(UnknownApiKey(code)));
        }
    }

    #[test]
    fn ranges_are_those_that_kafka_advertises() {
        assert!(ApiKey::Produce.supports(0) && ApiKey::Produce.supports(13));
        assert!(!ApiKey::Produce.supports(14) && !ApiKey::Produce.supports(-1));
        assert!(!ApiKey::Fetch.supports(3) && ApiKey::Fetch.supports(18));
        assert!(!ApiKey::InitProducerId.supports(6));
    }
}
