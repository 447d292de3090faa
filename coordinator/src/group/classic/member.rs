//! A member of a classic group.

use std::time::Duration;

use bytes::Bytes;
use protocol::messages::{join_group::JoinGroupResponse, sync_group::SyncGroupResponse};
use tokio::sync::oneshot;

use super::protocols::Protocol;

/// What a member said of itself when it joined, and its part of the last assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDetails {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The client's address as Kafka writes it: a slash and the address.
    pub client_host: String,
    /// How long a rebalance waits for it, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, milliseconds.
    pub session_timeout_ms: i32,
    /// What it supports, in its order of preference.
    pub protocols: Vec<Protocol>,
    /// What the leader assigned to it; empty where it did not.
    pub assignment: Bytes,
}

impl MemberDetails {
    /// How long it may be silent.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    /// What it says under this protocol.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|own| own.name == protocol).map(|own| &own.metadata)
    }
}

/// A timeout as the wire has it; below 0 is none at all.
pub(super) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// A member, and the requests of it that wait.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) details: MemberDetails,
    /// It has never finished a join: it does not know its id, so it cannot heartbeat, and its wait
    /// has a limit of its own.
    pub(super) new: bool,
    joining: Option<oneshot::Sender<JoinGroupResponse>>,
    syncing: Option<oneshot::Sender<SyncGroupResponse>>,
}

impl Member {
    pub(super) fn new(details: MemberDetails) -> Self {
        Self { details, new: false, joining: None, syncing: None }
    }

    /// Whether a JoinGroup of it waits for the others.
    pub(super) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// Whether a SyncGroup of it waits for the leader.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether its silence is excused: it waits for the group, not the group for it.
    pub(super) fn waits(&self) -> bool {
        !self.new && (self.is_joining() || self.is_syncing())
    }

    /// Parks a join; returns the one that waited before.
    pub(super) fn park_join(
        &mut self,
        waiter: oneshot::Sender<JoinGroupResponse>,
    ) -> Option<oneshot::Sender<JoinGroupResponse>> {
        self.joining.replace(waiter)
    }

    /// Parks a sync; returns the one that waited before.
    pub(super) fn park_sync(
        &mut self,
        waiter: oneshot::Sender<SyncGroupResponse>,
    ) -> Option<oneshot::Sender<SyncGroupResponse>> {
        self.syncing.replace(waiter)
    }

    pub(super) fn take_join(&mut self) -> Option<oneshot::Sender<JoinGroupResponse>> {
        self.joining.take()
    }

    pub(super) fn take_sync(&mut self) -> Option<oneshot::Sender<SyncGroupResponse>> {
        self.syncing.take()
    }
}
