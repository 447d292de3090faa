//! Static members end and come back within their session: they get their partitions back, and nobody
//! else notices.

use streamhouse_compat_tests::group_history::Event;
use streamhouse_compat_tests::programs::Client::{self, AioKafka, FranzGo, LibRdKafka, Sarama};

use super::group::{Group, Kind};
use super::{SESSION, side_by_side, start};

/// KafkaJS has no static members.
const ROWS: [(Client, &str); 8] = [
    (LibRdKafka, "range"),
    (LibRdKafka, "consumer"),
    (FranzGo, "range"),
    (FranzGo, "cooperative-sticky"),
    (FranzGo, "consumer"),
    (Sarama, "range"),
    (Sarama, "cooperative-sticky"),
    (AioKafka, "range"),
];

#[test]
fn a_restart_within_the_session_is_noticed_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir, 5, SESSION);
    side_by_side(&ROWS, |&(client, assignor)| {
        let kind = Kind { client, assignor };
        let mut group = Group::new(&broker, &format!("static-{assignor}-{}", client.name()));
        for name in ["a", "b", "c"] {
            group.join(kind, name, Some(name));
            group.settle();
        }
        group.feed(60);
        group.read_all();

        // "a" came first and leads the group where it has a leader.
        for (name, killed) in [("b", false), ("a", false), ("c", true)] {
            // With KIP-848 the instance id of a member that was killed stays taken for its session.
            if killed && assignor == "consumer" {
                continue;
            }
            // A leader by franz-go that comes back computes the assignment anew and calls for a rebalance
            // if its own differs, as a cooperative one does. Nobody asked it to (KIP-814).
            if name == "a" && (client, assignor) == (FranzGo, "cooperative-sticky") {
                continue;
            }
            let before = group.history.owned_by(name);
            let since = group.history.lines().len();
            if killed {
                group.kill(name);
            } else {
                group.leave(name);
            }
            let again = format!("{name} again");
            group.join(kind, &again, Some(name));
            group.until("back", |group| group.history.owned_by(&again) == before);
            group.feed(60);
            group.read_all();
            let others = group.history.lines()[since..].iter().filter(|line| {
                line.member != name
                    && line.member != again
                    && !matches!(line.event, Event::Read { .. })
            });
            let others: Vec<_> = others.collect();
            assert!(others.is_empty(), "{client:?} {assignor}: others noticed: {others:?}");
        }
        group.settle();
    });
}
