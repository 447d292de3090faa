//! What members of groups ask: FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup and
//! ConsumerGroupHeartbeat. What an answer means is for the member to say.

use std::collections::BTreeSet;

use broker::testing::Client;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::{
    ErrorCode,
    messages::{
        consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions},
        find_coordinator::FindCoordinatorRequest,
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
        leave_group::{LeaveGroupRequest, MemberIdentity},
        sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
    },
};

use super::{Lost, call, known, topics::SimTopic};
use crate::{groups::Identity, history::History};

const FIND_COORDINATOR_VERSION: i16 = 3;
const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_VERSION: i16 = 5;
const CONSUMER_HEARTBEAT_VERSION: i16 = 1;
/// `key_type` of FindCoordinator for groups.
const GROUP: i8 = 0;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "sim";
/// How long a member may be silent; the broker's setting for consumer groups is the same.
pub const SESSION_TIMEOUT_MS: i32 = 6_000;
/// How long a classic rebalance waits for a member: less than a client waits for an answer.
const CLASSIC_REBALANCE_TIMEOUT_MS: i32 = 8_000;
/// How long a member of a consumer group has to let go: longer than members are silent.
const CONSUMER_REBALANCE_TIMEOUT_MS: i32 = 120_000;
/// The member epoch of ConsumerGroupHeartbeat that joins.
pub const JOIN_EPOCH: i32 = 0;
/// And the one that leaves.
const LEAVE_EPOCH: i32 = -1;

/// A generation that a member has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The member and the generation.
    pub identity: Identity,
    /// All members, if this one leads.
    pub members: Vec<String>,
}

/// What a member of a consumer group says beside that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say<'a> {
    /// Nothing.
    Nothing,
    /// What it owns.
    Owned(&'a BTreeSet<i32>),
    /// What it owns and what it wants, because it joins or an answer was lost.
    All(&'a BTreeSet<i32>),
}

/// What a consumer group's member was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Its epoch.
    pub epoch: i32,
    /// What it owns, where that has changed or was asked for.
    pub assigned: Option<BTreeSet<i32>>,
}

/// Whether the group's coordinator is there.
///
/// # Errors
/// [`Lost`].
pub async fn find_coordinator(
    client: &mut Client,
    history: &History,
    group_id: &str,
) -> Result<bool, Lost> {
    let request =
        FindCoordinatorRequest { key: group_id.to_owned(), key_type: GROUP, ..Default::default() };
    let response = call(client, &request, FIND_COORDINATOR_VERSION).await?;
    Ok(known(history, "FindCoordinator", response.error_code)? == ErrorCode::None)
}

/// Joins a classic group; the inner error comes with the id that the broker gives to a new member.
///
/// # Errors
/// [`Lost`].
pub async fn join(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member_id: &str,
    topic: &SimTopic,
) -> Result<Result<Joined, (ErrorCode, String)>, Lost> {
    let request = JoinGroupRequest {
        group_id: group_id.to_owned(),
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: CLASSIC_REBALANCE_TIMEOUT_MS,
        member_id: member_id.to_owned(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: PROTOCOL.to_owned(),
            metadata: subscription(&topic.name),
        }],
        ..Default::default()
    };
    let response = call(client, &request, JOIN_VERSION).await?;
    Ok(match known(history, "JoinGroup", response.error_code)? {
        ErrorCode::None => Ok(Joined {
            identity: Identity { member_id: response.member_id, epoch: response.generation_id },
            members: response.members.into_iter().map(|member| member.member_id).collect(),
        }),
        error => Err((error, response.member_id)),
    })
}

/// Asks for the assignment, and gives everyone's if this member leads: partitions in turn.
///
/// # Errors
/// [`Lost`].
pub async fn sync(
    client: &mut Client,
    history: &History,
    group_id: &str,
    joined: &Joined,
    topic: &SimTopic,
) -> Result<Result<BTreeSet<i32>, ErrorCode>, Lost> {
    let count = i32::try_from(joined.members.len()).unwrap_or(i32::MAX).max(1);
    let assignments = (0..).zip(&joined.members).map(|(at, member_id)| {
        let own = (0..topic.partitions).filter(|partition| partition % count == at);
        SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: assignment(&topic.name, own),
        }
    });
    let request = SyncGroupRequest {
        group_id: group_id.to_owned(),
        generation_id: joined.identity.epoch,
        member_id: joined.identity.member_id.clone(),
        protocol_type: Some(PROTOCOL_TYPE.to_owned()),
        protocol_name: Some(PROTOCOL.to_owned()),
        assignments: assignments.collect(),
        ..Default::default()
    };
    let response = call(client, &request, SYNC_VERSION).await?;
    Ok(match known(history, "SyncGroup", response.error_code)? {
        ErrorCode::None => Ok(partitions(&response.assignment, &topic.name)),
        error => Err(error),
    })
}

/// A classic member says that it is there.
///
/// # Errors
/// [`Lost`].
pub async fn heartbeat(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member: &Identity,
) -> Result<ErrorCode, Lost> {
    let request = HeartbeatRequest {
        group_id: group_id.to_owned(),
        generation_id: member.epoch,
        member_id: member.member_id.clone(),
        ..Default::default()
    };
    let response = call(client, &request, HEARTBEAT_VERSION).await?;
    known(history, "Heartbeat", response.error_code)
}

/// A classic member leaves.
///
/// # Errors
/// [`Lost`].
pub async fn leave(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member_id: &str,
) -> Result<ErrorCode, Lost> {
    let member = MemberIdentity { member_id: member_id.to_owned(), ..Default::default() };
    let request = LeaveGroupRequest {
        group_id: group_id.to_owned(),
        members: vec![member],
        ..Default::default()
    };
    let response = call(client, &request, LEAVE_VERSION).await?;
    known(history, "LeaveGroup", response.error_code)
}

/// A member of a consumer group joins (epoch 0) or goes on.
///
/// # Errors
/// [`Lost`].
pub async fn consumer_heartbeat(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member: &Identity,
    (topic, say): (&SimTopic, Say<'_>),
) -> Result<Result<Beat, ErrorCode>, Lost> {
    let own = |owned: &BTreeSet<i32>| {
        let partitions = owned.iter().copied().collect();
        let topics = TopicPartitions { topic_id: topic.id.0, partitions };
        if owned.is_empty() { Vec::new() } else { vec![topics] }
    };
    let (full, topic_partitions) = match say {
        Say::Nothing => (false, None),
        Say::Owned(owned) => (false, Some(own(owned))),
        Say::All(owned) => (true, Some(own(owned))),
    };
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group_id.to_owned(),
        member_id: member.member_id.clone(),
        member_epoch: member.epoch,
        rebalance_timeout_ms: if full { CONSUMER_REBALANCE_TIMEOUT_MS } else { -1 },
        subscribed_topic_names: full.then(|| vec![topic.name.clone()]),
        topic_partitions,
        ..Default::default()
    };
    let response = call(client, &request, CONSUMER_HEARTBEAT_VERSION).await?;
    Ok(match known(history, "ConsumerGroupHeartbeat", response.error_code)? {
        ErrorCode::None => {
            let assigned = response.assignment.map(|assignment| {
                let topics = assignment.topic_partitions.into_iter();
                topics.flat_map(|of| of.partitions).collect()
            });
            Ok(Beat { epoch: response.member_epoch, assigned })
        }
        error => Err(error),
    })
}

/// A member of a consumer group leaves.
///
/// # Errors
/// [`Lost`].
pub async fn consumer_leave(
    client: &mut Client,
    history: &History,
    group_id: &str,
    member_id: &str,
) -> Result<ErrorCode, Lost> {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group_id.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: LEAVE_EPOCH,
        rebalance_timeout_ms: -1,
        ..Default::default()
    };
    let response = call(client, &request, CONSUMER_HEARTBEAT_VERSION).await?;
    known(history, "ConsumerGroupHeartbeat", response.error_code)
}

/// Version 0 of the consumer protocol: the topics, no user data.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes, topic);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Version 0 of the consumer protocol: the partitions of one topic, no user data.
fn assignment(topic: &str, partitions: impl Iterator<Item = i32>) -> Bytes {
    let partitions: Vec<i32> = partitions.collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes, topic);
    bytes.put_i32(i32::try_from(partitions.len()).unwrap_or_default());
    partitions.into_iter().for_each(|partition| bytes.put_i32(partition));
    bytes.put_i32(-1);
    bytes.freeze()
}

fn put_topic(bytes: &mut BytesMut, topic: &str) {
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).unwrap_or_default());
    bytes.put_slice(topic.as_bytes());
}

/// Reads an assignment; none where the leader has given none.
fn partitions(assignment: &Bytes, topic: &str) -> BTreeSet<i32> {
    let mut bytes = assignment.clone();
    let head = 2 + 4 + 2 + topic.len();
    if bytes.len() < head + 4 {
        return BTreeSet::new();
    }
    bytes.advance(head);
    let count = usize::try_from(bytes.get_i32()).unwrap_or_default();
    (0..count.min(bytes.len() / 4)).map(|_| bytes.get_i32()).collect()
}
