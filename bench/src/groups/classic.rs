//! Forms classic groups: lanes of connections, one per member, take one group after the other.
//!
//! A join waits for the other members', so members of one group cannot share a connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use protocol::ErrorCode;
use protocol::messages::heartbeat::HeartbeatRequest;

use super::{Load, Member};
use crate::classic::{self, ATTEMPTS, Group, HEARTBEAT_VERSION, SYNC_VERSION};
use crate::cluster::check;
use crate::wire::Connection;

/// Longer than any run: nobody is to be sent away while others join.
const SESSION_TIMEOUT_MS: i32 = 1_200_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// How often a member that is done looks whether the others are.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How far the members of a group have come.
struct Progress {
    members: usize,
    partitions: usize,
    /// Members and what they own, by generation.
    generations: RefCell<BTreeMap<i32, (usize, usize)>>,
}

impl Progress {
    fn arrived(&self, generation: i32, owned: usize) {
        let mut generations = self.generations.borrow_mut();
        let (members, partitions) = generations.entry(generation).or_default();
        *members += 1;
        *partitions += owned;
    }

    /// Whether all are in this generation, and every partition has one owner.
    fn is_complete(&self, generation: i32) -> Result<bool> {
        let (members, partitions) = self.generations.borrow()[&generation];
        let complete = members == self.members;
        ensure!(!complete || partitions == self.partitions, "{partitions} partitions are owned");
        Ok(complete)
    }
}

pub(super) async fn form(coordinator: SocketAddr, load: &Load) -> Result<Vec<Member>> {
    let next = Cell::new(0);
    let lanes = (0..load.lanes.min(load.groups)).map(|_| lane(coordinator, load, &next));
    let lanes = try_join_all(lanes).await?;
    Ok(lanes.into_iter().flatten().collect())
}

async fn lane(coordinator: SocketAddr, load: &Load, next: &Cell<usize>) -> Result<Vec<Member>> {
    let mut connections = Vec::with_capacity(load.members);
    for _ in 0..load.members {
        connections.push(Connection::open(coordinator).await?);
    }
    let mut members = Vec::new();
    while next.get() < load.groups {
        let at = next.replace(next.get() + 1);
        let group = Group {
            group_id: load.group_id(at),
            topic: load.topic.clone(),
            partitions: load.partitions,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        };
        let progress = Progress {
            members: load.members,
            partitions: load.partitions as usize,
            generations: RefCell::default(),
        };
        let joins = connections.iter_mut().map(|connection| member(connection, &group, &progress));
        let group_id: Rc<str> = group.group_id.as_str().into();
        for (member_id, epoch) in try_join_all(joins).await? {
            members.push(Member { group_id: Rc::clone(&group_id), member_id, epoch });
        }
    }
    Ok(members)
}

/// One member: joins and syncs until all are in one generation.
async fn member(
    connection: &mut Connection,
    group: &Group,
    progress: &Progress,
) -> Result<(String, i32)> {
    let mut member_id = String::new();
    for _ in 0..ATTEMPTS {
        let joined = classic::join(connection, group, &mut member_id, 0).await?;
        let sync = classic::sync(&joined, group);
        let synced = connection.call(&sync, SYNC_VERSION).await?;
        if synced.error_code == ErrorCode::RebalanceInProgress.code() {
            continue;
        }
        check(synced.error_code, "sync")?;
        let generation = joined.generation_id;
        progress.arrived(generation, classic::owned(&synced.assignment, group)?);
        if is_last_generation(connection, group, &member_id, generation, progress).await? {
            return Ok((member_id, generation));
        }
    }
    bail!("{} does not come to rest", group.group_id)
}

/// Heartbeats until all are in this generation, or another one begins.
async fn is_last_generation(
    connection: &mut Connection,
    group: &Group,
    member_id: &str,
    generation_id: i32,
    progress: &Progress,
) -> Result<bool> {
    let request = HeartbeatRequest {
        group_id: group.group_id.clone(),
        generation_id,
        member_id: member_id.to_owned(),
        ..HeartbeatRequest::default()
    };
    while !progress.is_complete(generation_id)? {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let response = connection.call(&request, HEARTBEAT_VERSION).await?;
        if response.error_code == ErrorCode::RebalanceInProgress.code() {
            return Ok(false);
        }
        check(response.error_code, "heartbeat")?;
    }
    Ok(true)
}
