//! Forms consumer groups (KIP-848): all members join, then heartbeat in rounds until nothing moves.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::{Load, Member};
use crate::cluster::check;
use crate::pipeline;
use crate::wire::Connection;

pub(super) const VERSION: i16 = 1;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
/// Targets are computed once a second at most (KIP-1263), so a round need not come sooner.
const ROUND_INTERVAL: Duration = Duration::from_millis(1_100);
const ROUNDS_MAX: u32 = 60;

/// A member that is on its way.
struct Joining {
    member: Member,
    owned: Vec<TopicPartitions>,
}

pub(super) async fn form(coordinator: SocketAddr, load: &Load) -> Result<Vec<Member>> {
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(coordinator).await?);
    }
    let joining = RefCell::new(strangers(load));
    for round in 0..ROUNDS_MAX {
        let began = Instant::now();
        let moved = Cell::new(0_usize);
        let next = Cell::new(0);
        let beats = connections
            .iter_mut()
            .map(|connection| beat(connection, load, &joining, (&next, &moved)));
        try_join_all(beats).await?;
        if round > 0 && moved.get() == 0 {
            let joining = joining.into_inner();
            check_owned(load, &joining)?;
            return Ok(joining.into_iter().map(|joining| joining.member).collect());
        }
        tokio::time::sleep(ROUND_INTERVAL.saturating_sub(began.elapsed())).await;
    }
    bail!("the groups do not come to rest")
}

fn strangers(load: &Load) -> Vec<Joining> {
    let members = (0..load.groups).flat_map(|group| {
        let group_id: std::rc::Rc<str> = load.group_id(group).into();
        (0..load.members).map(move |at| Joining {
            member: Member {
                group_id: group_id.clone(),
                member_id: format!("member-{group:05}-{at:05}"),
                epoch: 0,
            },
            owned: Vec::new(),
        })
    });
    members.collect()
}

/// One round's share of a connection: each member heartbeats with all that it owns.
async fn beat(
    connection: &mut Connection,
    load: &Load,
    joining: &RefCell<Vec<Joining>>,
    (next, moved): (&Cell<usize>, &Cell<usize>),
) -> Result<()> {
    let ask = || {
        let at = next.get();
        let request = joining.borrow().get(at).map(|joining| request(load, joining))?;
        next.set(at + 1);
        Some((at, request))
    };
    let answered = |at, response: ConsumerGroupHeartbeatResponse, _| {
        check(response.error_code, "heartbeat")
            .context(response.error_message.unwrap_or_default())?;
        let mut joining = joining.borrow_mut();
        let Joining { member, owned } = &mut joining[at];
        let steps =
            usize::from(response.assignment.is_some() || member.epoch != response.member_epoch);
        moved.set(moved.get() + steps);
        member.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            *owned = topics
                .map(|of| TopicPartitions { topic_id: of.topic_id, partitions: of.partitions })
                .collect();
        }
        Ok(())
    };
    pipeline::run(connection, VERSION, load.in_flight, ask, answered).await
}

fn request(load: &Load, Joining { member, owned }: &Joining) -> ConsumerGroupHeartbeatRequest {
    let joins = member.epoch == 0;
    ConsumerGroupHeartbeatRequest {
        group_id: member.group_id.to_string(),
        member_id: member.member_id.clone(),
        member_epoch: member.epoch,
        rebalance_timeout_ms: if joins { REBALANCE_TIMEOUT_MS } else { -1 },
        subscribed_topic_names: joins.then(|| vec![load.topic.clone()]),
        topic_partitions: Some(owned.clone()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn check_owned(load: &Load, joining: &[Joining]) -> Result<()> {
    let owned = joining.iter().flat_map(|joining| &joining.owned).map(|of| of.partitions.len());
    let (owned, wanted) = (owned.sum::<usize>(), load.groups * load.partitions as usize);
    ensure!(owned == wanted, "{owned} partitions of {wanted} are owned");
    Ok(())
}
