//! Whether a coordinator has loaded its groups: after a start, how long that takes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use protocol::ErrorCode;
use protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use protocol::messages::describe_groups::DescribeGroupsRequest;
use protocol::messages::heartbeat::HeartbeatRequest;

use super::{Load, Protocol};
use crate::classic::{ATTEMPT_INTERVAL, HEARTBEAT_VERSION, find_coordinator, is_passing};
use crate::cluster::{check, wait_until_it_answers};
use crate::pipeline;
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

const DESCRIBE_GROUPS_VERSION: i16 = 5;
const CONSUMER_GROUP_DESCRIBE_VERSION: i16 = 1;
/// Groups that are asked for at once.
const CHUNK: usize = 200;
/// Groups that are asked whether they are loaded: enough to have one in each of 50 partitions.
const PROBES: usize = 600;

/// Waits for a broker that is being started, until its groups answer; then looks at all of them.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let mut report = Report::begin(label, "groups-load", process)?;
    wait_until_it_answers(address).await?;
    let seconds = |report: &Report| format!("{:.3}", report.began().elapsed().as_secs_f64());
    let first_answer = seconds(&report);
    let coordinator = find_coordinator(address, &load.group_id(0)).await?;
    wait(coordinator, &load).await?;
    load.describe(&mut report);
    report.add("first_answer_s", first_answer);
    report.add("loaded_s", seconds(&report));
    let found = count_members(coordinator, &load).await?;
    let wanted = load.groups * load.members;
    ensure!(found == wanted, "{found} members of {wanted} are there");
    report.add("described_s", seconds(&report));
    report.end().map(drop)
}

/// Waits until no group's coordinator is being loaded.
pub(crate) async fn wait(coordinator: SocketAddr, load: &Load) -> Result<()> {
    let mut connection = Connection::open(coordinator).await?;
    let mut left: VecDeque<usize> = (0..load.groups.min(PROBES)).collect();
    while !left.is_empty() {
        let mut again = VecDeque::new();
        let next = || left.pop_front().map(|at| (at, heartbeat_of_nobody(load, at)));
        let answered = |at, response: protocol::messages::heartbeat::HeartbeatResponse, _| {
            match ErrorCode::from_code(response.error_code) {
                // While a group is loaded, whoever heartbeats may go on.
                ErrorCode::None => again.push_back(at),
                error if is_passing(error) => again.push_back(at),
                ErrorCode::UnknownMemberId => {}
                error => bail!("a stranger is told {error:?}"),
            }
            Ok(())
        };
        pipeline::run(&mut connection, HEARTBEAT_VERSION, 16, next, answered).await?;
        left = again;
        if !left.is_empty() {
            tokio::time::sleep(ATTEMPT_INTERVAL / 10).await;
        }
    }
    Ok(())
}

fn heartbeat_of_nobody(load: &Load, at: usize) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: load.group_id(at),
        generation_id: 1,
        member_id: "nobody".to_owned(),
        ..HeartbeatRequest::default()
    }
}

async fn count_members(coordinator: SocketAddr, load: &Load) -> Result<usize> {
    let mut connection = Connection::open(coordinator).await?;
    let all: Vec<String> = (0..load.groups).map(|at| load.group_id(at)).collect();
    let mut found = 0;
    for ids in all.chunks(CHUNK) {
        found += match load.protocol {
            Protocol::Classic => {
                let request = DescribeGroupsRequest {
                    groups: ids.to_vec(),
                    ..DescribeGroupsRequest::default()
                };
                let response = connection.call(&request, DESCRIBE_GROUPS_VERSION).await?;
                response.groups.iter().try_fold(0, |sum, group| {
                    check(group.error_code, "describe").map(|()| sum + group.members.len())
                })?
            }
            Protocol::Consumer => {
                let request = ConsumerGroupDescribeRequest {
                    group_ids: ids.to_vec(),
                    ..ConsumerGroupDescribeRequest::default()
                };
                let response = connection.call(&request, CONSUMER_GROUP_DESCRIBE_VERSION).await?;
                response.groups.iter().try_fold(0, |sum, group| {
                    check(group.error_code, "describe").map(|()| sum + group.members.len())
                })?
            }
        };
    }
    Ok(found)
}
