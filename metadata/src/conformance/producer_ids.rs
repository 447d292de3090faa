//! Rules of producer id blocks and pointers.

use super::{Subject, open};
use crate::{Error, MetadataStore};

pub(crate) async fn blocks_never_overlap(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    let mut next = 0;
    for count in [1000, 1, 7] {
        let first = subject.store().allocate_producer_ids(&fence, count).await.unwrap();
        assert!(first >= next, "{first} was handed out before, {next} is free");
        next = first + count;
    }
}

pub(crate) async fn blocks_never_overlap_after_a_restart(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    let first = subject.store().allocate_producer_ids(&fence, 1000).await.unwrap();
    let subject = subject.reopen().await;
    let fence = open(subject.store()).await.fence;
    let second = subject.store().allocate_producer_ids(&fence, 1000).await.unwrap();
    assert!(second >= first + 1000, "{second} lies in the block of {first}");
}

pub(crate) async fn a_block_has_at_least_one_id(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    for count in [0, -5] {
        let refused = subject.store().allocate_producer_ids(&fence, count).await;
        assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{refused:?}");
    }
}

pub(crate) async fn ids_run_out_with_an_error(subject: impl Subject) {
    let fence = open(subject.store()).await.fence;
    let first = subject.store().allocate_producer_ids(&fence, i64::MAX).await.unwrap();
    assert_eq!(first, 0);
    let refused = subject.store().allocate_producer_ids(&fence, 1).await;
    assert_eq!(refused, Err(Error::ProducerIdsExhausted { next: i64::MAX, requested: 1 }));
}

pub(crate) async fn a_pointer_is_replaced_and_persists(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    assert_eq!(store.pointer("a").await, Ok(None));
    store.put_pointer(&fence, "a", vec![1, 2]).await.unwrap();
    store.put_pointer(&fence, "b", Vec::new()).await.unwrap();
    store.put_pointer(&fence, "a", vec![0, 255]).await.unwrap();
    let subject = subject.reopen().await;
    assert_eq!(subject.store().pointer("a").await, Ok(Some(vec![0, 255])));
    assert_eq!(subject.store().pointer("b").await, Ok(Some(Vec::new())));
}

pub(crate) async fn pointers_are_found_by_prefix_and_forgotten(subject: impl Subject) {
    let store = subject.store();
    let fence = open(store).await.fence;
    for name in ["t_b", "t/b", "t/a", "T/c", "t%"] {
        store.put_pointer(&fence, name, vec![1]).await.unwrap();
    }
    let names = |prefix| store.pointer_names(prefix);
    assert_eq!(names("t/").await.unwrap(), ["t/a", "t/b"]);
    assert_eq!(names("t_").await.unwrap(), ["t_b"]);
    assert_eq!(names("x").await.unwrap(), [""; 0]);
    let gone = ["t/a", "t%", "unknown"].map(str::to_owned);
    store.delete_pointers(&fence, &gone).await.unwrap();
    let subject = subject.reopen().await;
    assert_eq!(subject.store().pointer_names("t").await.unwrap(), ["t/b", "t_b"]);
    assert_eq!(subject.store().pointer("t/a").await, Ok(None));
}
