//! Rebalances of one large group of the classic protocol.
//!
//! Each member is a connection of its own. A round begins when all members join again at once, as
//! they do when they have learnt of a rebalance, and ends for each of them with its assignment: what
//! is timed is the broker, not the interval of heartbeats. The leader assigns round robin.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use protocol::ErrorCode;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};

use crate::classic::{self, ATTEMPTS, Group, HEARTBEAT_VERSION, SYNC_VERSION, find_coordinator};
use crate::cluster::check;
use crate::histogram::Histogram;
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

const LEAVE_VERSION: i16 = 5;
const SESSION_TIMEOUT_MS: i32 = 30_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// What joins and how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// The group.
    pub group: String,
    /// Its members.
    pub members: usize,
    /// Rebalances after the first, which forms the group.
    pub rounds: u32,
    /// The topic that the members subscribe to. It need not exist: members do not read.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
}

impl Load {
    fn group(&self) -> Group {
        Group {
            group_id: self.group.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        }
    }
}

struct Member {
    connection: Connection,
    member_id: String,
    generation: i32,
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let coordinator = find_coordinator(address, &load.group).await?;
    let load = Arc::new(load);
    let mut members = Vec::new();
    for _ in 0..load.members {
        let connection = Connection::open(coordinator).await?;
        members.push(Member { connection, member_id: String::new(), generation: -1 });
    }
    let mut formed = Report::begin(label, "rebalance-first", process)?;
    members = each(members, &load, 0).await?.into_iter().map(|(member, ..)| member).collect();
    // Some may have formed a generation before the others came.
    members = all(members, &load, 1, &mut Histogram::default()).await?;
    formed.add("members", load.members);
    formed.end()?;

    let mut report = Report::begin(label, "rebalance", process)?;
    let (mut whole, mut one) = (Histogram::default(), Histogram::default());
    for round in 0..load.rounds {
        let began = Instant::now();
        members = all(members, &load, round + 2, &mut one).await?;
        whole.record(began.elapsed().as_micros() as u64);
    }
    report.add("members", load.members);
    report.add("partitions", load.partitions);
    report.add("rounds", load.rounds);
    report.add_latency("group", &whole);
    report.add_latency("member", &one);
    report.end()?;
    members = heartbeats(members, &load, label, process).await?;
    leave(&mut members, &load).await
}

/// One rebalance: all must end in one generation, each partition with one owner.
async fn all(
    members: Vec<Member>,
    load: &Arc<Load>,
    round: u32,
    one: &mut Histogram,
) -> Result<Vec<Member>> {
    let mut owners = 0;
    let mut rejoined_members = Vec::with_capacity(members.len());
    for (member, micros, partitions) in each(members, load, round).await? {
        one.record(micros);
        owners += partitions;
        rejoined_members.push(member);
    }
    let members = rejoined_members;
    let first = members.first().context("no members")?.generation;
    ensure!(members.iter().all(|member| member.generation == first), "generations differ");
    ensure!(owners == load.partitions as usize, "{owners} partitions are owned");
    Ok(members)
}

/// Every member joins and syncs, all beside each other; with the microseconds that it took each of
/// them and how many partitions it was given.
async fn each(
    members: Vec<Member>,
    load: &Arc<Load>,
    round: u32,
) -> Result<Vec<(Member, u64, usize)>> {
    let spawned = members.into_iter().map(|mut member| {
        let load = Arc::clone(load);
        tokio::spawn(async move {
            let rejoined = rejoin(&mut member, &load, round).await;
            rejoined.map(|(micros, partitions)| (member, micros, partitions))
        })
    });
    let turns: Vec<_> = spawned.collect();
    let mut rejoined = Vec::with_capacity(turns.len());
    for turn in turns {
        rejoined.push(turn.await??);
    }
    Ok(rejoined)
}

/// Joins and syncs, again where others begin a rebalance in between; returns the microseconds from
/// the first join to the assignment and the number of partitions in it.
async fn rejoin(member: &mut Member, load: &Load, round: u32) -> Result<(u64, usize)> {
    let began = Instant::now();
    let group = load.group();
    for _ in 0..ATTEMPTS {
        let Member { connection, member_id, .. } = member;
        let joined = classic::join(connection, &group, member_id, round).await?;
        member.generation = joined.generation_id;
        let sync = classic::sync(&joined, &group);
        let synced = member.connection.call(&sync, SYNC_VERSION).await?;
        if synced.error_code == ErrorCode::RebalanceInProgress.code() {
            continue;
        }
        check(synced.error_code, "sync")?;
        let owned = classic::owned(&synced.assignment, &group)?;
        return Ok((began.elapsed().as_micros() as u64, owned));
    }
    bail!("the group does not come to rest")
}

/// Every member heartbeats a hundred times, one after the other, all members beside each other.
async fn heartbeats(
    members: Vec<Member>,
    load: &Arc<Load>,
    label: &str,
    process: Process,
) -> Result<Vec<Member>> {
    const EACH: u32 = 100;
    let mut report = Report::begin(label, "heartbeat", process)?;
    let spawned = members.into_iter().map(|mut member| {
        let request = HeartbeatRequest {
            group_id: load.group.clone(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        tokio::spawn(async move {
            for _ in 0..EACH {
                let response = member.connection.call(&request, HEARTBEAT_VERSION).await?;
                check(response.error_code, "heartbeat")?;
            }
            anyhow::Ok(member)
        })
    });
    let turns: Vec<_> = spawned.collect();
    let mut members = Vec::with_capacity(turns.len());
    for turn in turns {
        members.push(turn.await??);
    }
    let heartbeats = EACH * members.len() as u32;
    report.add("members", members.len());
    let seconds = report.began().elapsed().as_secs_f64();
    report.add("heartbeats_per_s", format!("{:.0}", f64::from(heartbeats) / seconds));
    report.end()?;
    Ok(members)
}

/// All members leave in one request.
async fn leave(members: &mut [Member], load: &Load) -> Result<()> {
    let leaving = members.iter().map(|member| MemberIdentity {
        member_id: member.member_id.clone(),
        ..MemberIdentity::default()
    });
    let request = LeaveGroupRequest {
        group_id: load.group.clone(),
        members: leaving.collect(),
        ..LeaveGroupRequest::default()
    };
    let connection = &mut members.first_mut().context("no members")?.connection;
    let response = connection.call(&request, LEAVE_VERSION).await?;
    check(response.error_code, "leave")?;
    response.members.iter().try_for_each(|member| check(member.error_code, "leave"))
}
