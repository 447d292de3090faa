//! Rules of atomicity and durability.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{Subject, commit, extent, key, new_topic, object_id, open, open_with_topic, topic_id};
use crate::{
    Error, MetadataStore, NODE_ID_DEFAULT,
    engine::{Backend, Transaction},
    model::{ObjectLevel, ObjectState},
    rows::ClusterRow,
};

pub(crate) async fn a_dropped_transaction_leaves_nothing(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 2).await;
    commit(store, &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let before = store.export().await.unwrap();
    let mut transaction = store.begin_write().await.unwrap();
    change_every_table(&mut transaction).await;
    drop(transaction);
    assert_eq!(store.export().await.unwrap(), before);
    // The store goes on.
    store.create_topic(&fence, new_topic(2, 1)).await.unwrap();

    let before = store.export().await.unwrap();
    let mut transaction = store.begin_write().await.unwrap();
    change_every_table(&mut transaction).await;
    drop(transaction);
    let subject = subject.reopen().await;
    assert_eq!(subject.store().export().await.unwrap(), before);
}

async fn change_every_table(rows: &mut impl Transaction) {
    let cluster = ClusterRow { cluster_id: "changed".to_owned(), next_producer_id: 99 };
    rows.put_cluster(&cluster).await.unwrap();
    rows.put_session(NODE_ID_DEFAULT, 99).await.unwrap();
    rows.bump_leader_epochs(NODE_ID_DEFAULT).await.unwrap();
    rows.set_committed_ends(&[(key(1, 0), 99)].into()).await.unwrap();
    let mut object = rows.objects_at(&[object_id(1)]).await.unwrap().remove(&object_id(1)).unwrap();
    object.state = ObjectState::Dead;
    object.extents.clear();
    rows.put_object(&object).await.unwrap();
    object.id = object_id(2);
    object.key = "second".to_owned();
    object.level = ObjectLevel::L1;
    object.extents = vec![extent(key(1, 0), 0, 0, 5)];
    rows.put_object(&object).await.unwrap();
    rows.delete_objects(&[object_id(1)]).await.unwrap();
    rows.delete_topic(topic_id(1)).await.unwrap();
    rows.put_broker_configs(None, &crate::Configs::default()).await.unwrap();
    rows.put_group_configs("g", &crate::Configs::default()).await.unwrap();
    rows.put_pointer("name", b"value").await.unwrap();
    assert_eq!(rows.topic(topic_id(1)).await.unwrap(), None);
    assert!(rows.partitions_of(topic_id(1)).await.unwrap().is_empty());
}

pub(crate) async fn a_failed_call_leaves_nothing(subject: impl Subject) {
    let store = subject.store();
    let fence = open_with_topic(store, 1).await;
    let before = store.export().await.unwrap();
    let refused = store.create_topic(&fence, new_topic(1, 5)).await;
    assert!(matches!(refused, Err(Error::TopicExists { .. })), "{refused:?}");
    assert_eq!(store.export().await.unwrap(), before);
    let subject = subject.reopen().await;
    assert_eq!(subject.store().export().await.unwrap(), before);
}

pub(crate) async fn a_cancelled_call_happens_as_a_whole_or_not_at_all(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    for polls in 1..40 {
        let n = 100 + u128::from(polls);
        poll_at_most(polls, store.create_topic(&fence, new_topic(n, 3))).await;
        let image = store.load().await.unwrap();
        if let Some(topic) = image.topics.iter().find(|topic| topic.id == topic_id(n)) {
            assert_eq!(topic.partitions.len(), 3);
        }
        store.allocate_producer_ids(&fence, 1).await.unwrap();
        poll_at_most(polls, store.load()).await;
    }
}

/// Polls a future up to a number of times and drops it.
async fn poll_at_most<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub(crate) async fn what_was_committed_survives_a_kill(subject: impl Subject) {
    let fence = open_with_topic(subject.store(), 2).await;
    commit(subject.store(), &fence, 1, vec![extent(key(1, 0), 0, 0, 5)]).await;
    let before = subject.store().export().await.unwrap();
    let subject = subject.reopen().await;
    assert_eq!(subject.store().export().await.unwrap(), before);
}

pub(crate) async fn concurrent_calls_follow_one_another(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    let blocks =
        futures::future::join_all((0..20).map(|_| store.allocate_producer_ids(&fence, 10)));
    let loads = futures::future::join_all((0..20).map(|_| store.load()));
    let (blocks, loads) = futures::future::join(blocks, loads).await;
    let mut firsts: Vec<_> = blocks.into_iter().map(|first| first.unwrap()).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..20).map(|n| n * 10).collect::<Vec<i64>>());
    assert!(loads.iter().all(Result::is_ok));
}
