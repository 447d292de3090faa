//! A shard under a driver, and clients that talk to it in a few words.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::TopicId;
use protocol::{
    ErrorCode,
    messages::{
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
        leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity},
        sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse},
    },
};
use tokio::sync::oneshot;

use crate::{
    group::{
        Group, GroupConfig, GroupShard,
        classic::{ClassicGroup, Join, State},
    },
    testing::Driver,
    topics::{TopicDescription, TopicImage, TopicSource},
};

pub(super) const GROUP: &str = "g";
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
pub(super) const INITIAL_DELAY: Duration = Duration::from_secs(3);

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Debug)]
struct NoTopics;

impl TopicImage for NoTopics {
    fn by_name(&self, _: &str) -> Option<TopicDescription> {
        None
    }

    fn by_id(&self, _: TopicId) -> Option<TopicDescription> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn version(&self) -> u64 {
        0
    }

    fn racks(&self, _: TopicId, _: i32) -> Vec<String> {
        Vec::new()
    }
}

pub(super) type Joining = oneshot::Receiver<JoinGroupResponse>;
pub(super) type Syncing = oneshot::Receiver<SyncGroupResponse>;

/// An answer that must be there.
pub(super) fn answered<R>(mut waiting: oneshot::Receiver<R>) -> R {
    waiting.try_recv().expect("an answer")
}

/// Whether a request still waits.
pub(super) fn waits<R>(waiting: &mut oneshot::Receiver<R>) -> bool {
    matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// A JoinGroup of a consumer with `range`, v9, without a member id.
pub(super) fn join() -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: vec![offers("range", b"m")],
        ..Default::default()
    }
}

pub(super) fn join_as(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { member_id: member_id.to_owned(), ..join() }
}

pub(super) fn join_static(instance_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance_id.to_owned()), ..join() }
}

pub(super) fn offers(name: &str, metadata: &[u8]) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol { name: name.to_owned(), metadata: Bytes::copy_from_slice(metadata) }
}

/// Leaves, by member id and instance id.
pub(super) fn identity(member_id: &str, instance_id: Option<&str>) -> MemberIdentity {
    MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance_id.map(str::to_owned),
        reason: None,
    }
}

pub(super) struct World {
    pub(super) driver: Driver<GroupShard>,
    config: Arc<GroupConfig>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupConfig {
            classic_initial_rebalance_delay: INITIAL_DELAY,
            ..GroupConfig::default()
        })
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        let config = Arc::new(config);
        Self { driver: Driver::new(fresh(&config)), config }
    }

    /// The broker starts again: what was not in the log is gone.
    pub(super) fn reload(&mut self) {
        self.driver = self.driver.reloaded(fresh(&self.config));
    }

    pub(super) fn reload_with(&mut self, config: GroupConfig) {
        self.config = Arc::new(config);
        self.reload();
    }

    pub(super) fn group(&self) -> &ClassicGroup {
        match self.driver.shard.group(GROUP) {
            Some(Group::Classic(group)) => group,
            other => panic!("no classic group: {other:?}"),
        }
    }

    pub(super) fn has_group(&self) -> bool {
        self.driver.shard.group(GROUP).is_some()
    }

    pub(super) fn state(&self) -> State {
        self.group().state()
    }

    pub(super) fn join(&mut self, request: JoinGroupRequest) -> Joining {
        self.join_version(request, 9)
    }

    pub(super) fn join_version(&mut self, request: JoinGroupRequest, version: i16) -> Joining {
        let (waiter, waiting) = oneshot::channel();
        let (client_id, client_host) = ("client".to_owned(), "/127.0.0.1".to_owned());
        let join = Join { request, version, client_id, client_host, waiter };
        let ((), _) = self.driver.run(|shard, context| shard.join_group(context, join));
        waiting
    }

    /// Joins in two steps, as v4 and later want it; returns the member id with the join that waits.
    pub(super) fn join_twice(&mut self, request: JoinGroupRequest) -> (String, Joining) {
        let first = answered(self.join(request.clone()));
        assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
        let waiting = self.join(JoinGroupRequest { member_id: first.member_id.clone(), ..request });
        (first.member_id, waiting)
    }

    pub(super) fn sync(
        &mut self,
        member_id: &str,
        generation_id: i32,
        assignments: &[(&str, &str)],
    ) -> Syncing {
        let parts = assignments.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment {
            member_id: (*member_id).to_owned(),
            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        });
        self.sync_request(&SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id,
            member_id: member_id.to_owned(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: parts.collect(),
            ..Default::default()
        })
    }

    pub(super) fn sync_request(&mut self, request: &SyncGroupRequest) -> Syncing {
        let (waiter, waiting) = oneshot::channel();
        let ((), _) = self.driver.run(|shard, context| shard.sync_group(context, request, waiter));
        waiting
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation: i32) -> Result<(), ErrorCode> {
        self.heartbeat_as(member_id, None, generation)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        let request = HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id,
            member_id: member_id.to_owned(),
            group_instance_id: instance_id.map(str::to_owned),
        };
        self.driver.run(|shard, context| shard.heartbeat(context, &request)).0
    }

    pub(super) fn leave(&mut self, members: &[MemberIdentity]) -> LeaveGroupResponse {
        let request = LeaveGroupRequest {
            group_id: GROUP.to_owned(),
            members: members.to_vec(),
            ..Default::default()
        };
        self.driver.run(|shard, context| shard.leave_group(context, &request, 5)).0
    }

    /// The error codes of members that leave.
    pub(super) fn leave_codes(&mut self, members: &[MemberIdentity]) -> Vec<i16> {
        self.leave(members).members.iter().map(|member| member.error_code).collect()
    }

    /// A stable group of so many dynamic members, generation 1; their ids, the leader's first.
    pub(super) fn stable(&mut self, members: usize) -> Vec<String> {
        let joining: Vec<_> = (0..members).map(|_| self.join_twice(join())).collect();
        self.settle(joining)
    }

    /// Lets the first rebalance run out and assigns each member its own id.
    pub(super) fn settle(&mut self, joining: Vec<(String, Joining)>) -> Vec<String> {
        self.driver.advance(INITIAL_DELAY);
        self.driver.advance(INITIAL_DELAY);
        let joined: Vec<_> = joining.into_iter().map(|(_, waiting)| answered(waiting)).collect();
        self.assign(&joined)
    }

    /// All sync, the leader last, each with its own id as its assignment.
    pub(super) fn assign(&mut self, joined: &[JoinGroupResponse]) -> Vec<String> {
        let mut ids: Vec<_> = joined.iter().map(|joined| joined.member_id.clone()).collect();
        let (leader, generation) = (joined[0].leader.clone(), joined[0].generation_id);
        ids.sort_by_key(|id| *id != leader);
        let parts: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let waiting: Vec<_> =
            ids.iter().skip(1).map(|id| (id, self.sync(id, generation, &[]))).collect();
        let led = answered(self.sync(&leader, generation, &parts));
        assert_eq!((led.error_code, led.assignment), (0, Bytes::from(leader.clone())));
        for (id, waiting) in waiting {
            assert_eq!(answered(waiting).assignment, Bytes::from(id.clone()));
        }
        assert_eq!(self.state(), State::Stable);
        ids
    }
}

fn fresh(config: &Arc<GroupConfig>) -> GroupShard {
    GroupShard::new(Arc::clone(config), TopicSource::fixed(Arc::new(NoTopics)))
}
