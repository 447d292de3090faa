//! Random commits, transactions and deletions against a model of a dozen lines, with reloads.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Commit { partition: i32, offset: i64 },
    Pending { producer: i64, partition: i32, offset: i64 },
    End { producer: i64, committed: bool },
    Delete { partition: i32 },
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (partition, producer, offset) = (0..3_i32, 1..4_i64, 0..1_000_i64);
    let step = prop_oneof![
        3 => (partition.clone(), offset.clone())
            .prop_map(|(partition, offset)| Step::Commit { partition, offset }),
        4 => (producer.clone(), partition.clone(), offset)
            .prop_map(|(producer, partition, offset)| Step::Pending { producer, partition, offset }),
        3 => (producer, any::<bool>())
            .prop_map(|(producer, committed)| Step::End { producer, committed }),
        1 => partition.prop_map(|partition| Step::Delete { partition }),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..60)
}

/// Each value with the number of the step that wrote it: the later one counts.
#[derive(Debug, Default)]
struct Model {
    committed: BTreeMap<i32, (usize, i64)>,
    pending: BTreeMap<i64, BTreeMap<i32, (usize, i64)>>,
}

impl Model {
    fn apply(&mut self, at: usize, step: &Step) {
        match *step {
            Step::Commit { partition, offset } => {
                self.committed.insert(partition, (at, offset));
            }
            Step::Pending { producer, partition, offset } => {
                self.pending.entry(producer).or_default().insert(partition, (at, offset));
            }
            Step::End { producer, committed } => {
                for (partition, written) in self.pending.remove(&producer).unwrap_or_default() {
                    let old = self.committed.get(&partition);
                    if committed && old.is_none_or(|old| written.0 > old.0) {
                        self.committed.insert(partition, written);
                    }
                }
            }
            Step::Delete { partition } => {
                self.committed.remove(&partition);
                for offsets in self.pending.values_mut() {
                    offsets.remove(&partition);
                }
            }
            Step::Reload => {}
        }
    }

    fn unstable(&self) -> BTreeSet<i32> {
        self.pending.values().flat_map(BTreeMap::keys).copied().collect()
    }
}

fn apply(driver: &mut Driver<GroupShard>, step: &Step) {
    match *step {
        Step::Commit { partition, offset } => {
            committed(driver, &commit("g", "orders", partition, offset)).unwrap();
        }
        Step::Pending { producer, partition, offset } => {
            in_transaction(driver, producer, commit("g", "orders", partition, offset));
        }
        Step::End { producer, committed } => {
            driver.end_transaction(ProducerId(producer), 0, committed);
        }
        Step::Delete { partition } => {
            let topics = [("orders".to_owned(), vec![partition])];
            // There may be no such group yet.
            drop(driver.run(|shard, _| shard.delete_offsets("g", &topics)));
        }
        Step::Reload => *driver = driver.reloaded(shard()),
    }
}

proptest! {
    #[test]
    fn offsets_are_those_of_the_model(steps in steps()) {
        let (mut driver, mut model) = (Driver::new(shard()), Model::default());
        for (at, step) in steps.iter().enumerate() {
            apply(&mut driver, step);
            model.apply(at, step);
            for partition in 0..3 {
                let offset = model.committed.get(&partition).map_or(-1, |(_, offset)| *offset);
                let found = fetch(&driver.shard, "g", "orders", partition, false);
                prop_assert_eq!(found, (offset, 0), "{:?}", step);
                let unstable = fetch(&driver.shard, "g", "orders", partition, true).1 != 0;
                prop_assert_eq!(unstable, model.unstable().contains(&partition));
            }
        }
    }
}
