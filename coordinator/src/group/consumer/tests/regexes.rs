//! Subscriptions by regular expression.

use protocol::{ErrorCode, messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest};

use super::support::*;

fn join_regex(member_id: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.to_owned()),
        ..join(member_id, &[])
    }
}

fn change_regex(member_id: &str, epoch: i32, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some(regex.to_owned()),
        ..beat(member_id, epoch)
    }
}

#[test]
fn an_expression_is_resolved_and_the_group_assigned_by_it() {
    let mut world = World::new(&[("bar", 1), ("foo-1", 1), ("foo-2", 1)]);
    let (response, records) = world.heartbeat(&join_regex("a", "foo.*"));
    assert_eq!(kinds(&records), ["member", "current"]);
    assert_eq!(response.error_code, 0);
    let records = world.advance(0);
    assert_eq!(kinds(&records), ["regex", "epoch"]);
    let epoch = response.member_epoch;
    let response = world.accepted(&beat("a", epoch));
    let expected = vec![("foo-1".to_owned(), vec![0]), ("foo-2".to_owned(), vec![0])];
    assert_eq!(assigned(&response, &["foo-1", "foo-2"]), Some(expected));
}

#[test]
fn an_expression_that_is_none_is_refused() {
    let mut world = World::new(&[("foo", 1)]);
    assert_eq!(world.refused(&join_regex("a", "foo(")), ErrorCode::InvalidRegularExpression);
    assert!(world.driver.shard.group(GROUP).is_none());
    let epoch = world.accepted(&join_regex("a", "foo")).member_epoch;
    let bad = change_regex("a", epoch, "(?=foo)");
    assert_eq!(world.refused(&bad), ErrorCode::InvalidRegularExpression);
    assert_eq!(world.member("a").regex(), Some("foo"));
}

#[test]
fn new_topics_are_found_but_not_more_often_than_every_ten_seconds() {
    let mut world = World::new(&[("foo-1", 1)]);
    let epoch = world.accepted(&join_regex("a", "foo.*")).member_epoch;
    world.advance(0);
    let epoch = world.accepted(&beat("a", epoch)).member_epoch;
    world.set_topic("foo-2", Some(1));
    world.advance(5_000);
    world.accepted(&beat("a", epoch));
    assert!(world.advance(0).is_empty());
    world.advance(5_001);
    world.accepted(&beat("a", epoch));
    assert_eq!(kinds(&world.advance(0)), ["regex", "epoch"]);
    let response = world.accepted(&beat("a", epoch));
    assert_eq!(response.assignment.map(|of| of.topic_partitions.len()), Some(2));
}

#[test]
fn expressions_are_looked_at_again_now_and_then() {
    let mut world = World::new(&[("foo-1", 1)]);
    let mut epoch = world.accepted(&join_regex("a", "foo.*")).member_epoch;
    world.advance(0);
    let mut refreshes = 0;
    for _ in 0..30 {
        epoch = world.accepted(&beat("a", epoch)).member_epoch;
        refreshes += world.advance(40_000).len();
    }
    assert_eq!(refreshes, 1, "every ten minutes: twenty minutes less one heartbeat");
}

#[test]
fn a_second_member_with_a_known_expression_is_assigned_at_once() {
    let mut world = World::new(&[("foo-1", 2)]);
    world.accepted(&join_regex("a", "foo.*"));
    world.advance(0);
    world.accepted(&beat("a", 1));
    let (_, records) = world.heartbeat(&join_regex("b", "foo.*"));
    let expected = ["member", "epoch", "target", "target", "target epoch", "current"];
    assert_eq!(kinds(&records), expected);
}

#[test]
fn an_expression_goes_with_its_last_member() {
    let mut world = World::new(&[("foo-1", 1)]);
    world.accepted(&join_regex("a", "foo.*"));
    world.accepted(&join_regex("b", "foo.*"));
    world.advance(0);
    let (_, records) = world.heartbeat(&beat("a", -1));
    assert_eq!(kinds(&records), ["-current", "-target", "-member", "epoch"]);
    let (_, records) = world.heartbeat(&beat("b", -1));
    assert_eq!(kinds(&records), ["-current", "-target", "-member", "-regex", "epoch"]);
    assert!(world.group().topics().is_empty());
    assert!(world.group().resolved().is_empty());
}

#[test]
fn a_changed_expression_replaces_the_old_one() {
    let mut world = World::new(&[("bar", 1), ("foo", 1)]);
    world.accepted(&join_regex("a", "foo"));
    world.advance(0);
    let epoch = world.accepted(&beat("a", 1)).member_epoch;
    world.advance(20_000);
    let (response, records) = world.heartbeat(&change_regex("a", epoch, "bar"));
    assert_eq!(kinds(&records), ["member", "-regex", "current"]);
    assert_eq!(assigned(&response, &["foo"]), Some(vec![]), "what it no longer wants goes at once");
    world.advance(0);
    let response = world.accepted(&report("a", epoch, &[]));
    assert_eq!(assigned(&response, &["bar"]), Some(vec![("bar".to_owned(), vec![0])]));
    let (_, records) = world.heartbeat(&change_regex("a", response.member_epoch, ""));
    assert!(kinds(&records).contains(&"-regex".to_owned()), "{records:?}");
    assert!(world.group().topics().is_empty());
}

#[test]
fn names_and_an_expression_add_up() {
    let mut world = World::new(&[("bar", 1), ("foo", 1)]);
    let mut request = join("a", &["bar"]);
    request.subscribed_topic_regex = Some("fo+".to_owned());
    world.accepted(&request);
    world.advance(0);
    let response = world.accepted(&beat("a", 2));
    assert_eq!(response.assignment.map(|of| of.topic_partitions.len()), Some(2));
}

#[test]
fn a_reloaded_group_resolves_again_for_topics_that_it_may_have_missed() {
    let mut world = World::new(&[("foo-1", 1)]);
    world.accepted(&join_regex("a", "foo.*"));
    world.advance(0);
    let epoch = world.accepted(&beat("a", 1)).member_epoch;
    world.reload();
    world.advance(10_001);
    world.accepted(&beat("a", epoch));
    assert_eq!(kinds(&world.advance(0)), ["regex"]);
}
