//! Members that have nothing to do but to say that they are there.
//!
//! Members that follow each other on a connection are of different groups, as they would be.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use protocol::messages::Request;
use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Load, Member, consumer};
use crate::classic::HEARTBEAT_VERSION;
use crate::cluster::check;
use crate::histogram::Histogram;
use crate::pipeline;
use crate::process::Process;
use crate::report::Report;
use crate::wire::Connection;

/// A protocol's heartbeat.
pub(super) trait Heartbeat {
    type Request: Request;
    const VERSION: i16;

    fn request(member: &Member) -> Self::Request;

    /// An error where the member is told anything but that all is as it was.
    fn check(response: &<Self::Request as Request>::Response) -> Result<()>;
}

pub(super) struct Classic;

impl Heartbeat for Classic {
    type Request = HeartbeatRequest;
    const VERSION: i16 = HEARTBEAT_VERSION;

    fn request(member: &Member) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: member.group_id.to_string(),
            generation_id: member.epoch,
            member_id: member.member_id.clone(),
            ..HeartbeatRequest::default()
        }
    }

    fn check(response: &HeartbeatResponse) -> Result<()> {
        check(response.error_code, "heartbeat")
    }
}

pub(super) struct Consumer;

impl Heartbeat for Consumer {
    type Request = ConsumerGroupHeartbeatRequest;
    const VERSION: i16 = consumer::VERSION;

    fn request(member: &Member) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: member.group_id.to_string(),
            member_id: member.member_id.clone(),
            member_epoch: member.epoch,
            rebalance_timeout_ms: -1,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn check(response: &ConsumerGroupHeartbeatResponse) -> Result<()> {
        check(response.error_code, "heartbeat")
    }
}

pub(super) async fn run<H: Heartbeat>(
    coordinator: SocketAddr,
    load: Load,
    mut members: Vec<Member>,
    label: &str,
    process: Process,
) -> Result<()> {
    // First members first: then neighbours are of different groups.
    members.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    let members: Vec<_> = (0..load.members)
        .flat_map(|at| members.iter().skip(at).step_by(load.members).cloned())
        .collect();
    let count = load.connections.min(members.len());
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(coordinator).await?);
    }
    let times = RefCell::new(Histogram::default());

    let mut report = Report::begin(label, "groups-heartbeat", process)?;
    let end = Instant::now() + load.duration;
    let fast = connections.iter_mut().enumerate().map(|(at, connection)| {
        let mut own = members.iter().skip(at).step_by(count).cycle();
        let next = move || match Instant::now() < end {
            true => own.next().map(|member| ((), H::request(member))),
            false => None,
        };
        let answered = |(), response, micros| {
            times.borrow_mut().record(micros);
            H::check(&response)
        };
        pipeline::run(connection, H::VERSION, load.in_flight, next, answered)
    });
    try_join_all(fast).await?;
    load.describe(&mut report);
    report.add("connections", count);
    report.add("in_flight", load.in_flight);
    finish(report, &times.take())?;

    let mut report = Report::begin(label, "groups-heartbeat-paced", process)?;
    let end = Instant::now() + load.duration;
    let share = members.len() as f64 / count as f64;
    let rate_per_s = share / load.interval.as_secs_f64();
    let steady = connections.iter_mut().enumerate().map(|(at, connection)| {
        let mut own = members.iter().skip(at).step_by(count).cycle();
        let next = move || own.next().map(H::request);
        pipeline::paced(connection, H::VERSION, (rate_per_s, end), next, H::check, &times)
    });
    try_join_all(steady).await?;
    load.describe(&mut report);
    report.add("interval_ms", load.interval.as_millis());
    finish(report, &times.take())
}

fn finish(mut report: Report, times: &Histogram) -> Result<()> {
    let seconds = report.began().elapsed().as_secs_f64();
    report.add("heartbeats_per_s", format!("{:.0}", times.total() as f64 / seconds));
    report.add_latency("heartbeat", times);
    report.add_cost("heartbeat", times.total())?;
    report.end().map(drop::<Duration>)
}
