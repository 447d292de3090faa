//! The classic protocol through a whole broker: every version on the wire, members on connections of
//! their own, and what a restart leaves of a group.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use protocol::messages::{
    describe_groups::{DescribeGroupsRequest, DescribedGroup},
    heartbeat::HeartbeatRequest,
    join_group::JoinGroupRequestProtocol,
    leave_group::{LeaveGroupRequest, MemberIdentity},
    sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse},
};

use super::*;
use crate::{
    handlers::test_support::{find_group_coordinator, start},
    testing::{Client, World},
};

const GROUP: &str = "g";
const SETTINGS: &[(&str, &str)] =
    &[("offsets.topic.num.partitions", "2"), ("group.initial.rebalance.delay.ms", "100")];

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"metadata"),
        }],
        ..Default::default()
    }
}

/// Joins, with a second request where the first one only brings a member id.
async fn joined(client: &mut Client, version: i16) -> JoinGroupResponse {
    let first = client.call(&join(""), version).await.unwrap();
    if first.error_code != ErrorCode::MemberIdRequired.code() {
        return first;
    }
    client.call(&join(&first.member_id), version).await.unwrap()
}

fn sync(joined: &JoinGroupResponse, version: i16, members: &[&str]) -> SyncGroupRequest {
    let named = version >= 5;
    let parts = members.iter().map(|member_id| SyncGroupRequestAssignment {
        member_id: (*member_id).to_owned(),
        assignment: Bytes::copy_from_slice(member_id.as_bytes()),
    });
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: named.then(|| "consumer".to_owned()),
        protocol_name: named.then(|| "range".to_owned()),
        assignments: parts.collect(),
        ..Default::default()
    }
}

async fn synced(client: &mut Client, joined: &JoinGroupResponse) -> SyncGroupResponse {
    client.call(&sync(joined, 5, &[&joined.member_id]), 5).await.unwrap()
}

async fn heartbeat(client: &mut Client, joined: &JoinGroupResponse, version: i16) -> i16 {
    let request = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    client.call(&request, version).await.unwrap().error_code
}

async fn leave(client: &mut Client, member_id: &str, version: i16) -> i16 {
    let mut request = LeaveGroupRequest { group_id: GROUP.to_owned(), ..Default::default() };
    if version < 3 {
        request.member_id = member_id.to_owned();
        return client.call(&request, version).await.unwrap().error_code;
    }
    request.members =
        vec![MemberIdentity { member_id: member_id.to_owned(), ..Default::default() }];
    let response = client.call(&request, version).await.unwrap();
    assert_eq!(response.error_code, 0);
    response.members[0].error_code
}

async fn described(client: &mut Client) -> DescribedGroup {
    let request = DescribeGroupsRequest { groups: vec![GROUP.to_owned()], ..Default::default() };
    client.call(&request, 6).await.unwrap().groups.remove(0)
}

#[tokio::test(start_paused = true)]
async fn every_version_joins_syncs_heartbeats_and_leaves() {
    let (_broker, mut client) = start(SETTINGS).await;
    find_group_coordinator(&mut client, GROUP).await;
    for version in 0..=9_i16 {
        let joined = joined(&mut client, version).await;
        assert_eq!(joined.error_code, 0, "JoinGroup v{version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.is_some(), version >= 7);
        let version_of_sync = version.min(5);
        let request = sync(&joined, version_of_sync, &[&joined.member_id]);
        let synced = client.call(&request, version_of_sync).await.unwrap();
        assert_eq!((synced.error_code, &synced.assignment), (0, &joined.member_id.clone().into()));
        assert_eq!(heartbeat(&mut client, &joined, version.min(4)).await, 0);
        assert_eq!(leave(&mut client, &joined.member_id, version.min(5)).await, 0);
        let gone = leave(&mut client, &joined.member_id, version.min(5)).await;
        assert_eq!(gone, ErrorCode::UnknownMemberId.code());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_no_protocol_in_the_way_of_its_version() {
    let (_broker, mut client) = start(SETTINGS).await;
    find_group_coordinator(&mut client, GROUP).await;
    let impatient = JoinGroupRequest { session_timeout_ms: 1, ..join("m") };
    for version in 0..=9_i16 {
        let refused = client.call(&impatient, version).await.unwrap();
        assert_eq!(refused.error_code, ErrorCode::InvalidSessionTimeout.code());
        assert_eq!((refused.generation_id, refused.member_id.as_str()), (-1, "m"));
        assert_eq!(refused.protocol_name.as_deref(), (version < 7).then_some(""));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_group_id_nothing_is_asked() {
    let (_broker, mut client) = start(SETTINGS).await;
    let invalid = ErrorCode::InvalidGroupId.code();
    let nameless = JoinGroupRequest { group_id: String::new(), ..join("") };
    assert_eq!(client.call(&nameless, 9).await.unwrap().error_code, invalid);
    let request = HeartbeatRequest::default();
    assert_eq!(client.call(&request, 4).await.unwrap().error_code, invalid);
    let request = LeaveGroupRequest::default();
    assert_eq!(client.call(&request, 5).await.unwrap().error_code, invalid);
    let named = Some(String::new());
    let request = SyncGroupRequest { protocol_type: named.clone(), ..Default::default() };
    let inconsistent = ErrorCode::InconsistentGroupProtocol.code();
    assert_eq!(client.call(&request, 5).await.unwrap().error_code, inconsistent);
    let request = SyncGroupRequest { protocol_name: named, ..request };
    assert_eq!(client.call(&request, 5).await.unwrap().error_code, invalid);
}

#[tokio::test(start_paused = true)]
async fn before_anybody_has_looked_for_the_coordinator_there_is_none() {
    let (_broker, mut client) = start(SETTINGS).await;
    let refused = client.call(&join(""), 9).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::NotCoordinator.code());
}

#[tokio::test(start_paused = true)]
async fn members_wait_for_each_other_on_their_own_connections() {
    let (broker, mut first) = start(SETTINGS).await;
    let mut second = broker.connect();
    find_group_coordinator(&mut first, GROUP).await;
    let ids = [
        first.call(&join(""), 9).await.unwrap().member_id,
        second.call(&join(""), 9).await.unwrap().member_id,
    ];
    first.send(&join(&ids[0]), 9).await.unwrap();
    second.send(&join(&ids[1]), 9).await.unwrap();
    let joined = [
        first.receive::<JoinGroupRequest>(9).await.unwrap(),
        second.receive::<JoinGroupRequest>(9).await.unwrap(),
    ];
    assert_eq!(joined[0].leader, joined[1].leader);
    let (leads, follows) = if joined[0].leader == joined[0].member_id { (0, 1) } else { (1, 0) };
    assert_eq!((joined[leads].members.len(), joined[follows].members.len()), (2, 0));

    let mut clients = [first, second];
    clients[follows].send(&sync(&joined[follows], 5, &[]), 5).await.unwrap();
    let both = [ids[0].as_str(), ids[1].as_str()];
    let led = clients[leads].call(&sync(&joined[leads], 5, &both), 5).await.unwrap();
    let followed = clients[follows].receive::<SyncGroupRequest>(5).await.unwrap();
    assert_eq!(led.assignment, joined[leads].member_id);
    assert_eq!(followed.assignment, joined[follows].member_id);
    let group = described(&mut clients[0]).await;
    assert_eq!((group.group_state.as_str(), group.members.len()), ("Stable", 2));
    assert_eq!(group.members[0].client_host, "/in-process");
}

#[tokio::test(start_paused = true)]
async fn a_stable_group_survives_a_restart_and_its_members_go_on() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(SETTINGS).await.unwrap();
    let mut client = broker.connect();
    find_group_coordinator(&mut client, GROUP).await;
    let member = joined(&mut client, 9).await;
    assert_eq!(synced(&mut client, &member).await.error_code, 0);
    broker.stop().await;

    let broker = world.start(SETTINGS).await.unwrap();
    let mut client = broker.connect();
    find_group_coordinator(&mut client, GROUP).await;
    assert_eq!(heartbeat(&mut client, &member, 4).await, 0);
    let again = synced(&mut client, &member).await;
    assert_eq!((again.error_code, again.assignment), (0, Bytes::from(member.member_id.clone())));
    // Its session began afresh, and ends.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let gone = heartbeat(&mut client, &member, 4).await;
    assert_eq!(gone, ErrorCode::UnknownMemberId.code());
    assert_eq!(described(&mut client).await.group_state, "Empty");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_the_broker_stops_is_told_to_look_elsewhere() {
    let (broker, mut client) = start(SETTINGS).await;
    find_group_coordinator(&mut client, GROUP).await;
    let member = joined(&mut client, 9).await;
    synced(&mut client, &member).await;
    let mut other = broker.connect();
    let second = other.call(&join(""), 9).await.unwrap().member_id;
    other.send(&join(&second), 9).await.unwrap();
    let rebalances = ErrorCode::RebalanceInProgress.code();
    assert_eq!(heartbeat(&mut client, &member, 4).await, rebalances);
    let (told, ()) = tokio::join!(other.receive::<JoinGroupRequest>(9), broker.stop());
    let told = told.unwrap();
    assert_eq!(told.error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(told.member_id, second);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_does_not_hold_its_connection_up() {
    let (broker, mut client) = start(SETTINGS).await;
    find_group_coordinator(&mut client, GROUP).await;
    let member = joined(&mut client, 9).await;
    synced(&mut client, &member).await;
    let mut other = broker.connect();
    let second = other.call(&join(""), 9).await.unwrap().member_id;
    other.send(&join(&second), 9).await.unwrap();
    drop(other);
    // The member counts until its session ends; the group goes on with it, then without it.
    let rejoined = client.call(&join(&member.member_id), 9).await.unwrap();
    assert_eq!((rejoined.error_code, rejoined.members.len()), (0, 2));
    assert_eq!(synced(&mut client, &rejoined).await.error_code, 0);
}
