//! A shard, topics that can be changed, and members that speak to it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::TopicId;
use protocol::{
    ErrorCode,
    messages::consumer_group_heartbeat::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

use super::super::{
    ClientIdentity, ConsumerGroup, GroupOverrides, GroupOverridesSource, member::ConsumerMember,
};
use crate::{
    group::{Group, GroupConfig, GroupRecord, GroupShard},
    shard::{EncodedRecord, LogRecord as _},
    testing::Driver,
    topics::{TopicDescription, TopicImage, TopicSource},
};

pub(super) const GROUP: &str = "g";
pub(super) const CLIENT: ClientIdentity<'_> =
    ClientIdentity { client_id: "client", client_host: "/127.0.0.1" };

/// Topics by name, with a number of partitions; ids follow from names.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    topics: BTreeMap<String, i32>,
    version: u64,
    /// How often somebody looked a topic up.
    looked_up: Arc<AtomicUsize>,
}

pub(super) fn topic_id(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    TopicId(Uuid::from_bytes(bytes))
}

impl TopicImage for Image {
    fn by_name(&self, name: &str) -> Option<TopicDescription> {
        self.looked_up.fetch_add(1, Ordering::Relaxed);
        let partitions = *self.topics.get(name)?;
        Some(TopicDescription { id: topic_id(name), name: name.to_owned(), partitions })
    }

    fn by_id(&self, id: TopicId) -> Option<TopicDescription> {
        let name = self.topics.keys().find(|name| topic_id(name) == id)?;
        self.by_name(name)
    }

    fn names(&self) -> Vec<String> {
        self.looked_up.fetch_add(self.topics.len(), Ordering::Relaxed);
        self.topics.keys().cloned().collect()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn racks(&self, _: TopicId, _: i32) -> Vec<String> {
        Vec::new()
    }
}

/// Settings of single groups that tests change.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides(pub(super) Arc<Mutex<BTreeMap<String, GroupOverrides>>>);

impl GroupOverridesSource for Overrides {
    fn overrides(&self, group_id: &str) -> GroupOverrides {
        self.0.lock().unwrap().get(group_id).copied().unwrap_or_default()
    }
}

/// The world of a test.
#[derive(Debug)]
pub(super) struct World {
    pub(super) driver: Driver<GroupShard>,
    pub(super) config: Arc<GroupConfig>,
    pub(super) overrides: Overrides,
    image: Image,
    images: watch::Sender<Arc<dyn TopicImage>>,
}

impl World {
    /// A new shard with these topics, and an assignment at every change.
    pub(super) fn new(topics: &[(&str, i32)]) -> Self {
        Self::with(topics, |_| {})
    }

    pub(super) fn with(topics: &[(&str, i32)], adjust: impl FnOnce(&mut GroupConfig)) -> Self {
        let mut config = GroupConfig { consumer_assignment_interval_ms: 0, ..Default::default() };
        adjust(&mut config);
        let config = Arc::new(config);
        let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let image = Image { topics, version: 1, looked_up: Arc::default() };
        let (images, receiver) = watch::channel(Arc::new(image.clone()) as Arc<dyn TopicImage>);
        let overrides = Overrides::default();
        let shard = GroupShard::new(Arc::clone(&config), TopicSource::new(receiver))
            .with_overrides(Arc::new(overrides.clone()));
        Self { driver: Driver::new(shard), config, overrides, image, images }
    }

    /// Creates, grows or (with no partitions) deletes a topic.
    pub(super) fn set_topic(&mut self, name: &str, partitions: Option<i32>) {
        match partitions {
            Some(count) => self.image.topics.insert(name.to_owned(), count),
            None => self.image.topics.remove(name),
        };
        self.image.version += 1;
        self.images.send_replace(Arc::new(self.image.clone()));
    }

    /// How often a topic was looked up.
    pub(super) fn looked_up(&self) -> usize {
        self.image.looked_up.load(Ordering::Relaxed)
    }

    pub(super) fn topics(&self) -> Vec<(String, i32)> {
        self.image.topics.iter().map(|(name, count)| (name.clone(), *count)).collect()
    }

    /// The shard is lost and loaded again from its log.
    pub(super) fn reload(&mut self) {
        let source = TopicSource::new(self.images.subscribe());
        let fresh = GroupShard::new(Arc::clone(&self.config), source)
            .with_overrides(Arc::new(self.overrides.clone()));
        self.driver = self.driver.reloaded(fresh);
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Vec<GroupRecord>) {
        let (response, records) = self
            .driver
            .run(|shard, context| shard.consumer_group_heartbeat(context, CLIENT, request, 1));
        (response, decoded(&records))
    }

    /// A heartbeat that has to be accepted.
    pub(super) fn accepted(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let (response, _) = self.heartbeat(request);
        assert_eq!(response.error_code, 0, "{response:?}");
        response
    }

    /// A heartbeat that has to be refused; returns why.
    pub(super) fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let (response, records) = self.heartbeat(request);
        assert!(records.is_empty(), "a refused heartbeat writes {records:?}");
        let code = ErrorCode::try_from(response.error_code).unwrap();
        assert_ne!(code, ErrorCode::None);
        assert!(response.error_message.is_some_and(|message| !message.is_empty()));
        code
    }

    pub(super) fn advance(&mut self, ms: u64) -> Vec<GroupRecord> {
        decoded(&self.driver.advance(Duration::from_millis(ms)))
    }

    pub(super) fn group(&self) -> &ConsumerGroup {
        match self.driver.shard.group(GROUP) {
            Some(Group::Consumer(group)) => group,
            other => panic!("not a consumer group: {other:?}"),
        }
    }

    pub(super) fn member(&self, member_id: &str) -> &ConsumerMember {
        self.group().member(member_id).unwrap()
    }
}

pub(super) fn decoded(records: &[EncodedRecord]) -> Vec<GroupRecord> {
    let decode = |record: &EncodedRecord| GroupRecord::decode(&record.key, record.value.as_ref());
    records.iter().map(|record| decode(record).unwrap().unwrap()).collect()
}

/// The first heartbeat of a member that subscribes to these topics.
pub(super) fn join(member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(topics.iter().map(|name| (*name).to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// A heartbeat that says nothing new.
pub(super) fn beat(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: epoch,
        ..Default::default()
    }
}

/// A heartbeat that reports partitions.
pub(super) fn report(
    member_id: &str,
    epoch: i32,
    owned: &[(&str, &[i32])],
) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(reported(owned)),
        ..beat(member_id, epoch)
    }
}

pub(super) fn reported(owned: &[(&str, &[i32])]) -> Vec<TopicPartitions> {
    let topics = owned.iter().map(|(name, partitions)| TopicPartitions {
        topic_id: topic_id(name).0,
        partitions: partitions.to_vec(),
    });
    topics.collect()
}

/// What a response assigns, by topic name.
pub(super) fn assigned(
    response: &ConsumerGroupHeartbeatResponse,
    names: &[&str],
) -> Option<Vec<(String, Vec<i32>)>> {
    let assignment = response.assignment.as_ref()?;
    let topics = assignment.topic_partitions.iter().map(|of| {
        let name = names.iter().find(|name| topic_id(name).0 == of.topic_id).unwrap();
        ((*name).to_owned(), of.partitions.clone())
    });
    Some(topics.collect())
}

/// The kinds of records, in short.
pub(super) fn kinds(records: &[GroupRecord]) -> Vec<String> {
    let kind = |record: &GroupRecord| {
        let (name, tombstone) = match record {
            GroupRecord::LegacyOffsetCommit(_, value) => ("legacy offset", value.is_none()),
            GroupRecord::OffsetCommit(_, value) => ("offset", value.is_none()),
            GroupRecord::GroupMetadata(_, value) => ("classic group", value.is_none()),
            GroupRecord::ConsumerGroupMetadata(_, value) => ("epoch", value.is_none()),
            GroupRecord::ConsumerGroupPartitionMetadata(_, value) => {
                ("partition metadata", value.is_none())
            }
            GroupRecord::ConsumerGroupMemberMetadata(_, value) => ("member", value.is_none()),
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(_, value) => {
                ("target epoch", value.is_none())
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(_, value) => {
                ("target", value.is_none())
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(_, value) => {
                ("current", value.is_none())
            }
            GroupRecord::ConsumerGroupRegularExpression(_, value) => ("regex", value.is_none()),
        };
        if tombstone { format!("-{name}") } else { name.to_owned() }
    };
    records.iter().map(kind).collect()
}

/// Speaks the classic protocol to a shard.
pub(super) mod classic {
    use protocol::{
        coordinator_records::{
            consumer_protocol_assignment::ConsumerProtocolAssignment,
            consumer_protocol_subscription::{ConsumerProtocolSubscription, TopicPartition},
            decode_assignment, encode_assignment, encode_subscription,
        },
        messages::{
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse},
        },
    };
    use tokio::sync::oneshot;

    use super::*;
    use crate::group::classic::Join;

    /// Partitions by topic name.
    pub(in super::super) type Partitions<'a> = &'a [(&'a str, &'a [i32])];

    /// A waiter that may have been answered.
    pub(in super::super) type Waiting<R> = oneshot::Receiver<R>;

    pub(in super::super) fn request(
        member_id: &str,
        topics: &[&str],
        owned: Partitions<'_>,
    ) -> JoinGroupRequest {
        let owned = owned.iter().map(|(topic, partitions)| TopicPartition {
            topic: (*topic).to_owned(),
            partitions: partitions.to_vec(),
        });
        let subscription = ConsumerProtocolSubscription {
            topics: topics.iter().map(|name| (*name).to_owned()).collect(),
            owned_partitions: owned.collect(),
            ..Default::default()
        };
        let metadata = encode_subscription(&subscription, 3).unwrap();
        JoinGroupRequest {
            group_id: GROUP.to_owned(),
            member_id: member_id.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }],
            ..Default::default()
        }
    }

    impl World {
        pub(in super::super) fn classic_join(
            &mut self,
            request: JoinGroupRequest,
        ) -> (Waiting<JoinGroupResponse>, Vec<GroupRecord>) {
            let (waiter, waiting) = oneshot::channel();
            let join = Join {
                request,
                version: 9,
                client_id: "classic".to_owned(),
                client_host: "/127.0.0.2".to_owned(),
                waiter,
            };
            let ((), records) = self.driver.run(|shard, context| shard.join_group(context, join));
            (waiting, decoded(&records))
        }

        /// A join that is answered at once.
        pub(in super::super) fn classic_joined(
            &mut self,
            request: JoinGroupRequest,
        ) -> JoinGroupResponse {
            self.classic_join(request).0.try_recv().unwrap()
        }

        pub(in super::super) fn classic_sync(
            &mut self,
            member_id: &str,
            generation_id: i32,
            assignments: &[(&str, Partitions<'_>)],
        ) -> Waiting<SyncGroupResponse> {
            let assignments =
                assignments.iter().map(|(member_id, partitions)| SyncGroupRequestAssignment {
                    member_id: (*member_id).to_owned(),
                    assignment: embedded(partitions),
                });
            let request = SyncGroupRequest {
                group_id: GROUP.to_owned(),
                member_id: member_id.to_owned(),
                generation_id,
                assignments: assignments.collect(),
                ..Default::default()
            };
            let (waiter, waiting) = oneshot::channel();
            self.driver.run(|shard, context| shard.sync_group(context, &request, waiter));
            waiting
        }

        /// What a sync says at once.
        pub(in super::super) fn classic_synced(
            &mut self,
            member_id: &str,
            generation_id: i32,
        ) -> Result<Vec<(String, Vec<i32>)>, ErrorCode> {
            let response = self.classic_sync(member_id, generation_id, &[]).try_recv().unwrap();
            partitions(&response)
        }

        pub(in super::super) fn classic_beat(
            &mut self,
            member_id: &str,
            generation_id: i32,
        ) -> Result<(), ErrorCode> {
            let request = HeartbeatRequest {
                group_id: GROUP.to_owned(),
                member_id: member_id.to_owned(),
                generation_id,
                ..Default::default()
            };
            self.driver.run(|shard, context| shard.heartbeat(context, &request)).0
        }

        pub(in super::super) fn classic_leave(&mut self, member_id: &str) -> LeaveGroupResponse {
            let request = LeaveGroupRequest {
                group_id: GROUP.to_owned(),
                members: vec![MemberIdentity {
                    member_id: member_id.to_owned(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            self.driver.run(|shard, context| shard.leave_group(context, &request, 5)).0
        }
    }

    pub(in super::super) fn partitions(
        response: &SyncGroupResponse,
    ) -> Result<Vec<(String, Vec<i32>)>, ErrorCode> {
        match ErrorCode::try_from(response.error_code).unwrap() {
            ErrorCode::None => {
                let (_, assignment) = decode_assignment(&response.assignment).unwrap();
                let topics = assignment.assigned_partitions.into_iter();
                Ok(topics.map(|of| (of.topic, of.partitions)).collect())
            }
            error => Err(error),
        }
    }

    fn embedded(partitions: Partitions<'_>) -> bytes::Bytes {
        use protocol::coordinator_records::consumer_protocol_assignment::TopicPartition;
        let topics = partitions.iter().map(|(topic, partitions)| TopicPartition {
            topic: (*topic).to_owned(),
            partitions: partitions.to_vec(),
        });
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: topics.collect(), user_data: None };
        encode_assignment(&assignment, 1).unwrap()
    }
}
