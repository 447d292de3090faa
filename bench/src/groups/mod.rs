//! Many groups with some members each, on few connections: what members cost the broker that have
//! nothing to do, in memory and in processor time, and how long it takes to have them.
//!
//! ```text
//!  form (classic | consumer): all members join, and are assigned a partition each where there are as many
//!    └─▶ heartbeat: as fast as answers allow      what a heartbeat costs
//!    └─▶ heartbeat-paced: each member once per interval, as clients do      how long it takes
//!  loaded: the broker was started anew; until every group answers, and all members are there
//! ```

mod classic;
mod consumer;
mod heartbeats;
mod loaded;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};

pub use self::loaded::run as loaded;
pub(crate) use self::loaded::wait;
use crate::classic::find_coordinator;
use crate::process::Process;
use crate::report::Report;

/// Which protocol members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// KIP-848.
    Consumer,
}

/// Who joins and what they do.
#[derive(Debug, Clone)]
pub struct Load {
    /// The protocol.
    pub protocol: Protocol,
    /// What the groups' ids begin with; none of them exists.
    pub prefix: String,
    /// Groups.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
    /// The topic that they subscribe to, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Connections that members share for their heartbeats.
    pub connections: usize,
    /// Requests in flight on each.
    pub in_flight: usize,
    /// Classic groups that are formed at once, with a connection per member.
    pub lanes: usize,
    /// How often a member heartbeats in the paced part.
    pub interval: Duration,
    /// How long each part lasts.
    pub duration: Duration,
}

/// A member that has joined.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) group_id: Rc<str>,
    pub(crate) member_id: String,
    /// The generation or the member's epoch.
    pub(crate) epoch: i32,
}

impl Load {
    pub(crate) fn group_id(&self, at: usize) -> String {
        format!("{}-{at:05}", self.prefix)
    }

    fn describe(&self, report: &mut Report) {
        report.add("protocol", self.name());
        report.add("groups", self.groups);
        report.add("members", self.groups * self.members);
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        }
    }
}

/// Runs the load and prints its figures.
pub async fn run(address: SocketAddr, load: Load, label: &str, process: Process) -> Result<()> {
    let coordinator = find_coordinator(address, &load.group_id(0)).await?;
    wait(coordinator, &load).await?;
    let before = process.memory()?.rss_mib;
    let mut report = Report::begin(label, "groups-join", process)?;
    let members = form(coordinator, &load).await?;
    let count = members.len() as u64;
    load.describe(&mut report);
    let seconds = report.began().elapsed().as_secs_f64();
    report.add("members_per_s", format!("{:.0}", count as f64 / seconds));
    report.add_cost("member", count)?;
    let grown = process.memory()?.rss_mib.saturating_sub(before);
    report.add("rss_growth_mib", grown);
    report.end()?;
    match load.protocol {
        Protocol::Classic => {
            heartbeats::run::<heartbeats::Classic>(coordinator, load, members, label, process).await
        }
        Protocol::Consumer => {
            heartbeats::run::<heartbeats::Consumer>(coordinator, load, members, label, process)
                .await
        }
    }
}

/// All members of all groups join; each partition has one owner when they have.
pub(crate) async fn form(coordinator: SocketAddr, load: &Load) -> Result<Vec<Member>> {
    let members = match load.protocol {
        Protocol::Classic => classic::form(coordinator, load).await?,
        Protocol::Consumer => consumer::form(coordinator, load).await?,
    };
    let wanted = load.groups * load.members;
    ensure!(members.len() == wanted, "{} members of {wanted} have joined", members.len());
    Ok(members)
}
