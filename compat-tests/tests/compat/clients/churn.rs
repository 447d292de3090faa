//! Members come, go and die, with every client and every way to assign partitions.

use std::time::Duration;

use streamhouse_compat_tests::programs::Client::{
    self, AioKafka, FranzGo, KafkaJs, LibRdKafka, Sarama,
};
use streamhouse_compat_tests::seed::Random;

use super::group::{Group, Kind};
use super::{SESSION, side_by_side, start};

/// A group: its members are of these clients, in turn.
struct Row(&'static str, &'static [Client]);

fn churn(rows: &[Row], turns: u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir, 5, SESSION);
    let random = Random::announced("churn");
    side_by_side(rows, |Row(assignor, clients)| {
        let names: Vec<_> = clients.iter().map(|client| client.name()).collect();
        let label = format!("{assignor}-{}", names.join("-"));
        let mut random = random.clone();
        let mut group = Group::new(&broker, &label);
        if clients.contains(&KafkaJs) {
            // It tells of a rebalance when what it read last can be committed no more.
            group.history.repeats();
        }
        let mut kinds = clients.iter().cycle().map(|&client| Kind { client, assignor });
        let mut next = || kinds.next().unwrap();

        group.feed(100);
        group.join(next(), "a", None);
        group.settle();
        group.read_all();
        group.join(next(), "b", None);
        group.settle();
        group.join(next(), "c", None);
        group.settle();
        group.feed(100);
        group.read_all();
        // Its session has to end while another one joins.
        group.kill("c");
        group.join(next(), "d", None);
        group.feed(100);
        group.settle();
        group.read_all();
        group.leave("a");
        // Whether they are at rest or not.
        let mut members: Vec<String> = vec!["b".into(), "d".into()];
        for turn in 0..turns {
            group.feed(20);
            if members.len() < 4 && turn % 3 != 2 {
                let name = format!("m{turn}");
                group.join(next(), &name, None);
                members.push(name);
            } else {
                let gone = random.within(0..members.len() as u64 - 1) as usize;
                group.leave(&members.remove(gone));
            }
            std::thread::sleep(Duration::from_millis(random.within(50..700)));
        }
        group.settle();
        group.feed(100);
        group.read_all();
        group.settle();
        group.end(clients[0]);
    });
}

#[test]
fn members_come_go_and_die() {
    let rows = [
        Row("range", &[FranzGo, LibRdKafka, Sarama, AioKafka]),
        Row("cooperative-sticky", &[FranzGo]),
        Row("cooperative-sticky", &[LibRdKafka]),
        Row("cooperative-sticky", &[Sarama]),
        Row("consumer", &[LibRdKafka, FranzGo]),
        Row("roundrobin", &[AioKafka]),
        Row("roundrobin", &[KafkaJs]),
    ];
    churn(&rows, 4);
}

mod slow {
    use super::*;

    #[test]
    fn members_come_go_and_die_for_long_with_every_assignor() {
        let rows = [
            Row("range", &[FranzGo]),
            Row("range", &[LibRdKafka]),
            Row("range", &[Sarama]),
            Row("range", &[AioKafka]),
            Row("roundrobin", &[FranzGo, LibRdKafka, Sarama, AioKafka]),
            Row("roundrobin", &[KafkaJs]),
            Row("sticky", &[FranzGo]),
            Row("sticky", &[Sarama]),
            Row("sticky", &[AioKafka]),
            Row("cooperative-sticky", &[FranzGo, LibRdKafka, Sarama]),
            Row("consumer", &[LibRdKafka]),
            Row("consumer", &[FranzGo]),
        ];
        for some in rows.chunks(4) {
            churn(some, 40);
        }
    }
}
