//! The end of a run: everything works again within the liveness phase, and everything that was
//! promised is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use common::{PartitionKey, invariant::InvariantId};
use futures::TryStreamExt;
use metadata::ObjectState;
use object_store::{ObjectStore, memory::InMemory};

use crate::{
    clients::{
        group_watcher::GroupWatcher, member::Member, producer::Producer, transactor::Transactor,
    },
    history::History,
    incarnation::{Ground, Incarnation},
    invariants::{Found, Violation, check_whole},
    ops::fetch::{self, Ask, Outcome},
};

/// Simulated time within which everything works again.
pub const LIVENESS: Duration = Duration::from_secs(60);
/// Time that dead objects and orphans have to go: their graces, the intervals and some requests.
const COLLECTION: Duration = Duration::from_secs(180);
/// How long members come and go once the faults are over: two sessions.
const RESTLESS: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(100);
const ROWS_MAX: usize = 100_000;
/// Where metadata names the newest snapshot of the producers.
const SNAPSHOT_POINTER: &str = "producer-snapshot";

/// Waits until every producer has its acknowledgements.
///
/// # Errors
/// LIVENESS where one has not.
pub async fn finish_producing(
    history: &History,
    producers: &[Arc<Producer>],
) -> Result<(), Violation> {
    let all_done = async {
        while !producers.iter().all(|producer| producer.is_done()) {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(LIVENESS, all_done).await.is_ok() {
        history.event("all producers are done");
        return Ok(());
    }
    let open: Vec<String> =
        producers.iter().filter(|p| !p.is_done()).map(|p| p.describe()).collect();
    Err(Violation::liveness(format!("not acknowledged after the faults: {}", open.join("; "))))
}

/// Waits until every transactional producer has made its transactions.
///
/// # Errors
/// LIVENESS where one has not.
pub async fn finish_transactions(
    history: &History,
    transactors: &[Arc<Transactor>],
) -> Result<(), Violation> {
    let all_done = async {
        while !transactors.iter().all(|transactor| transactor.is_done()) {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(LIVENESS, all_done).await.is_ok() {
        history.event("all transactions are made");
        return Ok(());
    }
    Err(Violation::liveness("transactions cannot be made after the faults".to_owned()))
}

/// Lets members come and go on a broker without faults, then waits until every group is at rest: each
/// partition has one owner.
///
/// # Errors
/// LIVENESS where one is not.
pub async fn settle_groups(history: &History, members: &[Arc<Member>]) -> Result<(), Violation> {
    if members.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(RESTLESS).await;
    members.iter().for_each(|member| member.calm_down());
    let at_rest = async {
        while unsettled(members).next().is_some() {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(LIVENESS, at_rest).await.is_ok() {
        history.event("all groups are at rest");
        return Ok(());
    }
    let open: Vec<&str> = unsettled(members).collect();
    Err(Violation::liveness(format!("not at rest after the faults: {}", open.join(", "))))
}

/// The groups whose members do not own every partition once.
fn unsettled(members: &[Arc<Member>]) -> impl Iterator<Item = &str> {
    let mut groups: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in members {
        groups.entry(member.group_id()).or_default().push(member);
    }
    groups.into_iter().filter(|(_, members)| !is_settled(members)).map(|(group_id, _)| group_id)
}

fn is_settled(members: &[&Member]) -> bool {
    let owned: Option<Vec<BTreeSet<i32>>> = members.iter().map(|member| member.settled()).collect();
    let Some(owned) = owned else { return false };
    let partitions = members.first().map_or(0, |member| member.partitions());
    let mut all: Vec<i32> = owned.into_iter().flatten().collect();
    all.sort_unstable();
    all.into_iter().eq(0..partitions)
}

/// The groups' offsets are what was promised, and gone once the groups are deleted.
///
/// # Errors
/// The first broken rule, LIVENESS where a group cannot be deleted.
pub async fn bury_groups(
    history: &History,
    incarnation: &Incarnation,
    watchers: &[Arc<GroupWatcher>],
) -> Result<(), Violation> {
    for watcher in watchers {
        let buried = tokio::time::timeout(LIVENESS, watcher.bury(incarnation)).await;
        if !matches!(buried, Ok(Ok(()))) {
            let stuck = Violation::liveness("a group without members cannot be deleted".to_owned());
            return Err(history.violation().unwrap_or(stuck));
        }
    }
    Ok(())
}

/// Reads every partition from its start to its end and compares it with what was promised, once at
/// once and once after GC had its turn; then looks at the objects and the WAL.
///
/// # Errors
/// The first broken rule.
pub async fn check(
    history: &History,
    ground: &Ground,
    bucket: &InMemory,
    incarnation: &Incarnation,
    wal_bytes_max: u64,
) -> Result<(), Violation> {
    read_everything(history, incarnation).await?;
    check_offsets(incarnation)?;
    tokio::time::sleep(COLLECTION).await;
    check_objects(ground, bucket).await?;
    read_everything(history, incarnation).await?;
    let wal_bytes = incarnation.broker.log.stats().wal_bytes;
    if wal_bytes > wal_bytes_max {
        let message = format!("the WAL keeps {wal_bytes} bytes, limit {wal_bytes_max}");
        return Err(Violation::liveness(message));
    }
    Ok(())
}

async fn read_everything(history: &History, incarnation: &Incarnation) -> Result<(), Violation> {
    let keys: Vec<PartitionKey> = history.model().partitions().map(|(key, _)| key).collect();
    let reading = async {
        for key in &keys {
            let (log_start, found) = read_whole(history, incarnation, *key).await?;
            check_whole(&history.model(), key, log_start, &found)?;
            history.event(&format!("{key} is whole: {} batches", found.len()));
        }
        Ok(())
    };
    tokio::time::timeout(LIVENESS, reading)
        .await
        .unwrap_or_else(|_| Err(Violation::liveness("reading everything takes too long".into())))
}

async fn read_whole(
    history: &History,
    incarnation: &Incarnation,
    key: PartitionKey,
) -> Result<(i64, Vec<Found>), Violation> {
    let mut client = incarnation.connect("checker");
    let mut offset = history.model().floors(&key).log_start;
    let mut whole: Vec<Found> = Vec::new();
    let mut start = offset;
    loop {
        let ask = Ask { key, offset, max_wait_ms: 100, max_bytes: 1 << 20, read_committed: false };
        let Ok(outcome) = fetch::fetch(&mut client, history, &ask).await else {
            let lost = Violation::liveness(format!("{key}: the checker lost its connection"));
            return Err(history.violation().unwrap_or(lost));
        };
        match outcome {
            Outcome::Records { found, log_start, high_watermark } => {
                start = start.max(log_start);
                offset = found.last().map_or(offset, |found| found.last_offset + 1);
                whole.extend(found);
                if offset >= high_watermark {
                    return Ok((start, whole));
                }
            }
            Outcome::OutOfRange if whole.is_empty() => {
                offset = history.model().floors(&key).log_start.max(offset + 1);
                start = offset;
            }
            Outcome::OutOfRange | Outcome::Gone => {
                let message = format!("{key}: {outcome:?} at {offset} while reading it whole");
                return Err(Violation::new(InvariantId::Log1, message));
            }
            Outcome::Retry => tokio::time::sleep(POLL).await,
        }
    }
}

/// LOG-4 as the broker itself sees it.
fn check_offsets(incarnation: &Incarnation) -> Result<(), Violation> {
    for partition in incarnation.broker.log.partitions() {
        let offsets = partition.offsets();
        let ordered = offsets.log_start <= offsets.last_stable
            && offsets.last_stable <= offsets.high_watermark
            && offsets.high_watermark <= offsets.log_end;
        if !ordered {
            let message = format!("{}: {offsets:?}", partition.key());
            return Err(Violation::new(InvariantId::Log4, message));
        }
    }
    Ok(())
}

/// OBJ-1: what metadata refers to exists. OBJ-2: what nobody refers to is gone.
async fn check_objects(ground: &Ground, bucket: &InMemory) -> Result<(), Violation> {
    let unreadable = |error: &dyn std::fmt::Display| Violation::liveness(error.to_string());
    let listed: Vec<object_store::ObjectMeta> =
        bucket.list(None).try_collect().await.map_err(|error| unreadable(&error))?;
    let rows = ground.metadata.committed_objects().await.map_err(|error| unreadable(&error))?;
    for row in &rows {
        let size = listed.iter().find(|meta| meta.location.as_ref() == row.key).map(|m| m.size);
        if size != Some(row.size) {
            let message = format!("{} has {size:?} bytes, committed {}", row.key, row.size);
            return Err(Violation::new(InvariantId::Obj1, message));
        }
    }
    let mut referenced: BTreeSet<String> = rows.into_iter().map(|row| row.key).collect();
    for state in [ObjectState::Registered, ObjectState::Dead] {
        let rows = ground.metadata.list_objects(state, ROWS_MAX).await;
        let rows = rows.map_err(|error| unreadable(&error))?;
        if let Some(row) = rows.first() {
            let message = format!("{} is {state:?} and still here", row.key);
            return Err(Violation::new(InvariantId::Obj2, message));
        }
    }
    let snapshot = ground.metadata.pointer(SNAPSHOT_POINTER).await;
    let snapshot = snapshot.map_err(|error| unreadable(&error))?;
    referenced.extend(snapshot.and_then(|key| String::from_utf8(key).ok()));
    let orphan =
        listed.iter().map(|meta| meta.location.as_ref()).find(|key| !referenced.contains(*key));
    match orphan {
        Some(key) => {
            Err(Violation::new(InvariantId::Obj2, format!("{key} is there, nobody refers to it")))
        }
        None => Ok(()),
    }
}
