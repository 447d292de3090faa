//! A member of a classic group: how it joins and syncs, and what its subscription and assignment are
//! as bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use protocol::ErrorCode;
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::cluster::{check, resolve};
use crate::wire::Connection;

const FIND_COORDINATOR_VERSION: i16 = 4;
const JOIN_VERSION: i16 = 9;
pub(crate) const SYNC_VERSION: i16 = 5;
pub(crate) const HEARTBEAT_VERSION: i16 = 4;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "roundrobin";
/// How often a coordinator that has just started is asked.
pub(crate) const ATTEMPTS: u32 = 400;
pub(crate) const ATTEMPT_INTERVAL: Duration = Duration::from_millis(50);

/// A group and what its members subscribe to.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) group_id: String,
    /// It need not exist: members do not read.
    pub(crate) topic: String,
    /// Its partitions.
    pub(crate) partitions: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
}

/// The broker that coordinates a group, once it says so.
pub(crate) async fn find_coordinator(address: SocketAddr, group: &str) -> Result<SocketAddr> {
    let mut connection = Connection::open(address).await?;
    let request = FindCoordinatorRequest {
        coordinator_keys: vec![group.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..ATTEMPTS {
        let response = connection.call(&request, FIND_COORDINATOR_VERSION).await?;
        let found = response.coordinators.first().context("no answer for the group")?;
        if found.error_code == 0 {
            return resolve(&format!("{}:{}", found.host, found.port)).await;
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
    bail!("no coordinator for {group}")
}

/// Joins, as the member that `member_id` names or as one whose name is put there. `round` makes each
/// join a new one, so that any member's begins a rebalance.
pub(crate) async fn join(
    connection: &mut Connection,
    group: &Group,
    member_id: &mut String,
    round: u32,
) -> Result<JoinGroupResponse> {
    for _ in 0..ATTEMPTS {
        let request = JoinGroupRequest {
            group_id: group.group_id.clone(),
            session_timeout_ms: group.session_timeout_ms,
            rebalance_timeout_ms: group.rebalance_timeout_ms,
            member_id: member_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL.to_owned(),
                metadata: subscription(&group.topic, round),
            }],
            ..JoinGroupRequest::default()
        };
        let joined = connection.call(&request, JOIN_VERSION).await?;
        match ErrorCode::from_code(joined.error_code) {
            ErrorCode::None => return Ok(joined),
            ErrorCode::MemberIdRequired => *member_id = joined.member_id,
            error if is_passing(error) => tokio::time::sleep(ATTEMPT_INTERVAL).await,
            _ => check(joined.error_code, "join")?,
        }
    }
    bail!("the group does not take its members")
}

/// Whether a coordinator that is being loaded says so.
pub(crate) fn is_passing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
    )
}

/// What a member sends after its join; the leader assigns round robin.
pub(crate) fn sync(joined: &JoinGroupResponse, group: &Group) -> SyncGroupRequest {
    let leads = joined.leader == joined.member_id;
    SyncGroupRequest {
        group_id: group.group_id.clone(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some(PROTOCOL_TYPE.to_owned()),
        protocol_name: Some(PROTOCOL.to_owned()),
        assignments: if leads { assignments(joined, group) } else { Vec::new() },
        ..SyncGroupRequest::default()
    }
}

/// Version 0 of the consumer protocol, the round as user data.
fn subscription(topic: &str, round: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_string(&mut bytes, topic);
    bytes.put_i32(4);
    bytes.put_u32(round);
    bytes.freeze()
}

fn assignments(joined: &JoinGroupResponse, group: &Group) -> Vec<SyncGroupRequestAssignment> {
    let members = joined.members.len().max(1);
    let mut parts: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
    for partition in 0..group.partitions {
        parts.entry(partition as usize % members).or_default().push(partition);
    }
    let assignment = |(at, member_id): (usize, &String)| SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: assignment(&group.topic, parts.get(&at).map_or(&[], Vec::as_slice)),
    };
    joined.members.iter().map(|member| &member.member_id).enumerate().map(assignment).collect()
}

/// Version 0 of the consumer protocol.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_string(&mut bytes, topic);
    bytes.put_i32(partitions.len() as i32);
    partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    bytes.put_i32(-1);
    bytes.freeze()
}

/// How many partitions are in an assignment as the leader writes it.
pub(crate) fn owned(assignment: &Bytes, group: &Group) -> Result<usize> {
    let at = 2 + 4 + 2 + group.topic.len();
    let count = assignment.get(at..at + 4).context("no assignment")?.try_into()?;
    Ok(i32::from_be_bytes(count) as usize)
}

fn put_string(bytes: &mut BytesMut, string: &str) {
    bytes.put_i16(string.len() as i16);
    bytes.put_slice(string.as_bytes());
}
