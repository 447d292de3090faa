//! Offset commits as fast as they are acknowledged: many groups, some partitions per commit, a number
//! of requests in flight on each of a few connections.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};

use crate::classic::find_coordinator;
use crate::cluster::check;
use crate::groups::{self, Member};
use crate::histogram::Histogram;
use crate::pipeline;
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

/// The newest version that names topics instead of giving their ids.
const VERSION: i16 = 9;

/// What is committed.
#[derive(Debug, Clone)]
pub struct Load {
    /// The groups and how they are formed, with a member each.
    pub groups: groups::Load,
    /// Whether the groups have members; otherwise whoever commits says nothing about itself.
    pub with_members: bool,
    /// Partitions in each commit.
    pub partitions_per_commit: i32,
    /// Before the clock starts.
    pub warm_up: Duration,
}

/// What all connections share.
#[derive(Default)]
struct Progress {
    counting: Cell<bool>,
    stop: Cell<bool>,
    times: RefCell<Histogram>,
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let groups = &load.groups;
    let coordinator = find_coordinator(address, &groups.group_id(0)).await?;
    groups::wait(coordinator, groups).await?;
    let members = match load.with_members {
        true => groups::form(coordinator, groups).await?,
        false => nobodies(groups),
    };
    ensure!(load.partitions_per_commit <= groups.partitions, "too few partitions");
    let count = groups.connections.min(members.len());
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(coordinator).await?);
    }
    let progress = Progress::default();
    let commits = connections.iter_mut().enumerate().map(|(at, connection)| {
        let own: Vec<&Member> = members.iter().skip(at).step_by(count).collect();
        commit(connection, own, &load, &progress)
    });
    let watch = async {
        tokio::time::sleep(load.warm_up).await;
        let mut report = Report::begin(label, "commits", process)?;
        progress.counting.set(true);
        tokio::time::sleep(groups.duration).await;
        progress.counting.set(false);
        progress.stop.set(true);
        let times = progress.times.take();
        let commits = times.total();
        let per_s = commits as f64 / report.began().elapsed().as_secs_f64();
        report.add("members", if load.with_members { groups.name() } else { "none" });
        report.add("groups", groups.groups);
        report.add("partitions_per_commit", load.partitions_per_commit);
        report.add("connections", count);
        report.add("in_flight", groups.in_flight);
        report.add("commits_per_s", format!("{per_s:.0}"));
        report
            .add("offsets_per_s", format!("{:.0}", per_s * f64::from(load.partitions_per_commit)));
        report.add_latency("commit", &times);
        report.add_cost("commit", commits)?;
        ensure!(commits > 0, "nothing was committed");
        report.end()
    };
    tokio::try_join!(try_join_all(commits), watch).map(drop)
}

/// A committer without membership for each group.
fn nobodies(groups: &groups::Load) -> Vec<Member> {
    let nobody =
        |at| Member { group_id: groups.group_id(at).into(), member_id: String::new(), epoch: -1 };
    (0..groups.groups).map(nobody).collect()
}

/// Commits for these members in turn, each time a greater offset, until told to stop.
async fn commit(
    connection: &mut Connection,
    own: Vec<&Member>,
    load: &Load,
    progress: &Progress,
) -> Result<()> {
    let mut turn = 0;
    let next = || {
        if progress.stop.get() {
            return None;
        }
        let member = own.get(turn % own.len())?;
        let offset = (turn / own.len()) as i64;
        turn += 1;
        Some(((), request(load, member, offset)))
    };
    let answered = |(), response: OffsetCommitResponse, micros| {
        let topics = response.topics.iter();
        for partition in topics.flat_map(|topic| &topic.partitions) {
            check(partition.error_code, "commit")?;
        }
        if progress.counting.get() {
            progress.times.borrow_mut().record(micros);
        }
        Ok(())
    };
    pipeline::run(connection, VERSION, load.groups.in_flight, next, answered).await
}

fn request(load: &Load, member: &Member, offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(String::new()),
    };
    OffsetCommitRequest {
        group_id: member.group_id.to_string(),
        generation_id_or_member_epoch: member.epoch,
        member_id: member.member_id.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: load.groups.topic.clone(),
            partitions: (0..load.partitions_per_commit).map(partition).collect(),
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}
