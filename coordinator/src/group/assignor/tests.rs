//! What every assignor promises, on random groups, and the rules of each on small ones.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn member(topics: &[u128]) -> MemberSpec {
    let topics = topics.iter().map(|number| topic(*number)).collect();
    MemberSpec { topics: Arc::new(topics), ..Default::default() }
}

fn partitions(of: &[(u128, &[i32])]) -> Partitions {
    of.iter().map(|(number, ids)| (topic(*number), ids.iter().copied().collect())).collect()
}

fn of(what: &[(u128, &[i32])]) -> Arc<Partitions> {
    Arc::new(partitions(what))
}

fn spec(members: &[(&str, MemberSpec)], counts: &[(u128, i32)]) -> GroupSpec {
    let members: BTreeMap<_, _> =
        members.iter().map(|(id, member)| ((*id).to_owned(), member.clone())).collect();
    let mut subscriptions = members.values().map(|member: &MemberSpec| &member.topics);
    let first = subscriptions.next();
    let subscription_type = if subscriptions.all(|topics| Some(topics) == first) {
        SubscriptionType::Homogeneous
    } else {
        SubscriptionType::Heterogeneous
    };
    GroupSpec {
        members,
        subscription_type,
        partition_counts: counts.iter().map(|(number, count)| (topic(*number), *count)).collect(),
    }
}

fn load(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// The spec after its members have taken `target`.
fn settled(spec: &GroupSpec, target: &BTreeMap<String, Partitions>) -> GroupSpec {
    let mut spec = spec.clone();
    for (id, member) in &mut spec.members {
        member.assigned = Arc::new(target.get(id).cloned().unwrap_or_default());
    }
    spec
}

fn moved(before: &GroupSpec, target: &BTreeMap<String, Partitions>) -> usize {
    let kept: usize = before
        .members
        .iter()
        .map(|(id, member)| {
            let new = target.get(id).cloned().unwrap_or_default();
            member
                .assigned
                .iter()
                .map(|(topic, old)| new.get(topic).map_or(0, |new| old.intersection(new).count()))
                .sum::<usize>()
        })
        .sum();
    target.values().map(load).sum::<usize>() - kept
}

/// Every partition of a subscribed topic has exactly one owner, who subscribes to it.
fn assert_complete(spec: &GroupSpec, target: &BTreeMap<String, Partitions>) {
    let mut owners: BTreeMap<(TopicId, i32), &String> = BTreeMap::new();
    for (id, assignment) in target {
        let topics = &spec.members[id].topics;
        for (topic, partitions) in assignment {
            assert!(topics.contains(topic), "{id} does not subscribe to {topic}");
            assert!(!partitions.is_empty(), "{id} has no partition of {topic}");
            for partition in partitions {
                assert!((0..spec.partition_counts[topic]).contains(partition));
                let former = owners.insert((*topic, *partition), id);
                assert_eq!(former, None, "two owners of {topic}-{partition}");
            }
        }
    }
    let subscribed: BTreeSet<_> =
        spec.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    for topic in subscribed {
        for partition in 0..spec.partition_counts[&topic] {
            assert!(owners.contains_key(&(topic, partition)), "{topic}-{partition} has no owner");
        }
    }
}

#[test]
fn range_is_copartitioned_and_puts_static_members_first() {
    let fixed = MemberSpec { instance_id: Some("zz".to_owned()), ..member(&[1, 2]) };
    let spec = spec(&[("a", member(&[1, 2])), ("b", fixed)], &[(1, 5), (2, 5)]);
    let target = Assignor::Range.assign(&spec).unwrap();
    assert_eq!(target["b"], partitions(&[(1, &[0, 1, 2]), (2, &[0, 1, 2])]));
    assert_eq!(target["a"], partitions(&[(1, &[3, 4]), (2, &[3, 4])]));
}

#[test]
fn range_counts_subscribers_by_topic() {
    let spec = spec(&[("a", member(&[1])), ("b", member(&[1, 2]))], &[(1, 3), (2, 2)]);
    let target = Assignor::Range.assign(&spec).unwrap();
    assert_eq!(target["a"], partitions(&[(1, &[0, 1])]));
    assert_eq!(target["b"], partitions(&[(1, &[2]), (2, &[0, 1])]));
}

#[test]
fn uniform_leaves_owners_alone_and_gives_a_joiner_its_share() {
    let a = MemberSpec { assigned: of(&[(1, &[0, 1, 2])]), ..member(&[1]) };
    let b = MemberSpec { assigned: of(&[(1, &[3, 4, 5])]), ..member(&[1]) };
    let spec = spec(&[("a", a), ("b", b), ("c", member(&[1]))], &[(1, 6)]);
    let target = Assignor::Uniform.assign(&spec).unwrap();
    assert_eq!(target["a"], partitions(&[(1, &[0, 1])]));
    assert_eq!(target["b"], partitions(&[(1, &[3, 4])]));
    assert_eq!(target["c"], partitions(&[(1, &[2, 5])]));
}

#[test]
fn uniform_lets_the_member_that_has_an_extra_partition_keep_it() {
    let b = MemberSpec { assigned: of(&[(1, &[0, 1])]), ..member(&[1]) };
    let spec = spec(&[("a", member(&[1])), ("b", b)], &[(1, 3)]);
    let target = Assignor::Uniform.assign(&spec).unwrap();
    assert_eq!(target["a"], partitions(&[(1, &[2])]));
    assert_eq!(target["b"], partitions(&[(1, &[0, 1])]));
}

#[test]
fn uniform_takes_back_what_is_no_longer_subscribed() {
    let a = MemberSpec { assigned: of(&[(1, &[0, 1]), (2, &[0])]), ..member(&[2]) };
    let spec = spec(&[("a", a), ("b", member(&[1, 2]))], &[(1, 2), (2, 2)]);
    let target = Assignor::Uniform.assign(&spec).unwrap();
    assert_complete(&spec, &target);
    assert_eq!(target["a"], partitions(&[(2, &[0, 1])]));
    assert_eq!(target["b"], partitions(&[(1, &[0, 1])]));
}

#[test]
fn a_group_without_subscriptions_gets_nothing() {
    let spec = spec(&[("a", member(&[])), ("b", member(&[]))], &[]);
    for assignor in Assignor::ALL {
        let target = assignor.assign(&spec).unwrap();
        assert!(target.values().all(BTreeMap::is_empty), "{assignor:?}");
    }
}

#[test]
fn a_topic_without_description_is_an_error() {
    let spec = spec(&[("a", member(&[1]))], &[]);
    for assignor in Assignor::ALL {
        assert_eq!(assignor.assign(&spec), Err(AssignorError::UnknownTopic(topic(1))));
    }
}

#[test]
fn names_are_kafkas() {
    assert_eq!(Assignor::ALL.map(Assignor::name), ["uniform", "range"]);
    assert_eq!(Assignor::by_name("range"), Some(Assignor::Range));
    assert_eq!(Assignor::by_name("Range"), None);
}

prop_compose! {
    fn group(homogeneous: bool)(
        counts in prop::collection::vec(0..12_i32, 1..6),
        members in prop::collection::vec((any::<u8>(), any::<bool>()), 1..9),
        owners in prop::collection::vec(0..12_usize, 60),
    ) -> GroupSpec {
        let topics: Vec<_> = (1..=counts.len() as u128).collect();
        let mut specs: Vec<(String, MemberSpec)> = members
            .iter()
            .enumerate()
            .map(|(index, (mask, fixed))| {
                let wanted = |topic: &&u128| homogeneous || mask >> (**topic - 1) & 1 == 1;
                let chosen: Vec<_> = topics.iter().filter(wanted).copied().collect();
                let instance_id = fixed.then(|| format!("i{}", 99 - index));
                (format!("m{index}"), MemberSpec { instance_id, ..member(&chosen) })
            })
            .collect();
        // A former target: any owner, subscribed or not, or none.
        let mut owners = owners.into_iter();
        for (number, count) in topics.iter().zip(&counts) {
            for partition in 0..*count {
                if let Some(spec) = owners.next().and_then(|owner| specs.get_mut(owner)) {
                    Arc::make_mut(&mut spec.1.assigned).entry(topic(*number)).or_default().insert(partition);
                }
            }
        }
        GroupSpec {
            members: specs.into_iter().collect(),
            subscription_type: if homogeneous {
                SubscriptionType::Homogeneous
            } else {
                SubscriptionType::Heterogeneous
            },
            partition_counts: topics.iter().map(|id| topic(*id)).zip(counts).collect(),
        }
    }
}

proptest! {
    #[test]
    fn every_partition_has_one_subscribed_owner(
        spec in prop_oneof![group(true), group(false)],
    ) {
        for assignor in Assignor::ALL {
            let target = assignor.assign(&spec).unwrap();
            assert_complete(&spec, &target);
        }
    }

    #[test]
    fn a_settled_group_is_left_alone(spec in prop_oneof![group(true), group(false)]) {
        for assignor in Assignor::ALL {
            let target = assignor.assign(&spec).unwrap();
            let again = assignor.assign(&settled(&spec, &target)).unwrap();
            prop_assert_eq!(again, target);
        }
    }

    #[test]
    fn uniform_is_balanced_within_one_where_all_subscribe_alike(spec in group(true)) {
        let target = Assignor::Uniform.assign(&spec).unwrap();
        let loads: Vec<_> = target.values().map(load).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
    }

    #[test]
    fn both_uniform_algorithms_agree_on_the_balance(spec in group(true)) {
        let other = GroupSpec { subscription_type: SubscriptionType::Heterogeneous, ..spec };
        let target = Assignor::Uniform.assign(&other).unwrap();
        let loads: Vec<_> = target.values().map(load).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
    }

    /// No more moves than the joiner's share when a member joins a settled group.
    #[test]
    fn uniform_moves_only_what_a_joiner_takes(spec in group(true)) {
        let target = Assignor::Uniform.assign(&spec).unwrap();
        let mut joined = settled(&spec, &target);
        let topics = joined.members.values().next().unwrap().topics.clone();
        joined.members.insert("zz".to_owned(), MemberSpec { topics, ..Default::default() });
        let after = Assignor::Uniform.assign(&joined).unwrap();
        assert_complete(&joined, &after);
        prop_assert_eq!(moved(&joined, &after), load(&after["zz"]));
    }

    /// Only the partitions of the leaver move when a member leaves a settled group.
    #[test]
    fn uniform_moves_only_what_a_leaver_had(spec in group(true)) {
        let target = Assignor::Uniform.assign(&spec).unwrap();
        let mut left = settled(&spec, &target);
        let (_, leaver) = left.members.pop_first().unwrap();
        if !left.members.is_empty() {
            let after = Assignor::Uniform.assign(&left).unwrap();
            assert_complete(&left, &after);
            prop_assert_eq!(moved(&left, &after), load(&leaver.assigned));
        }
    }

    #[test]
    fn range_gives_contiguous_partitions(spec in prop_oneof![group(true), group(false)]) {
        for assignment in Assignor::Range.assign(&spec).unwrap().values() {
            for partitions in assignment.values() {
                let first = *partitions.first().unwrap();
                let last = *partitions.last().unwrap();
                prop_assert_eq!(usize::try_from(last - first + 1).unwrap(), partitions.len());
            }
        }
    }
}
