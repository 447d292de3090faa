//! Programs of every client that copy a topic in transactions, of which some are aborted, while they
//! and the broker are killed with SIGKILL: what read_committed readers of the same client see is each
//! record once, in order (invariants TXN-1, 2 and 5).

use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{kcat, python};
use streamhouse_compat_tests::programs::{Client, Program};
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Target};

use super::group::Kind;
use super::{COPY_SESSION, TIMEOUT, side_by_side, start};

const PARTITIONS: u64 = 3;

/// A program that is started again whenever it has ended.
struct Copier {
    client: Client,
    words: Vec<String>,
    program: Program,
    output: std::fs::File,
    lives: u32,
}

impl Copier {
    fn new(broker: &Broker, kind: Kind, number: usize, output: std::fs::File) -> Self {
        let (client, name) = (kind.client, label(kind));
        let id = format!("{name}-{number}");
        let (bootstrap, target) = (broker.bootstrap(), target(kind));
        let words = ["copy", &bootstrap, "source", &target, "3", &name, &id, &id, kind.assignor];
        let words = words.map(str::to_owned).to_vec();
        let program = Self::begin(client, &words, &output);
        Self { client, words, program, output, lives: 1 }
    }

    fn begin(client: Client, words: &[String], output: &std::fs::File) -> Program {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        client.start(&words, output.try_clone().unwrap()).unwrap()
    }

    fn again_if_ended(&mut self) {
        if self.program.has_ended().unwrap() {
            self.program = Self::begin(self.client, &self.words, &self.output);
            self.lives += 1;
        }
    }
}

/// The name of a group.
fn label(kind: Kind) -> String {
    format!("{}-{}", kind.client.name(), kind.assignor)
}

fn target(kind: Kind) -> String {
    format!("target-{}", label(kind))
}

/// Librdkafka and franz-go share the partitions among two members of a group, whose offsets the group
/// fences (KIP-447) and which wait for offsets of open transactions. The others do not all do that:
/// one program has all partitions.
fn members_of(client: Client) -> usize {
    if matches!(client, Client::LibRdKafka | Client::FranzGo) { 2 } else { 1 }
}

/// The values of each partition, as a read_committed reader sees them up to `marker`.
fn read(bootstrap: &str, kind: Kind, marker: &str) -> Vec<Vec<String>> {
    let words = ["read", bootstrap, &target(kind), "3", marker, "committed"];
    let mut values = vec![Vec::new(); PARTITIONS as usize];
    for record in kind.client.run(&words, TIMEOUT).unwrap() {
        let partition = record["partition"].as_u64().unwrap() as usize;
        values[partition].push(record["value"].as_str().unwrap().to_owned());
    }
    values
}

fn mark(bootstrap: &str, topic: &str, marker: &str) {
    for partition in 0..PARTITIONS {
        let partition = partition.to_string();
        kcat(bootstrap, &["-P", "-t", topic, "-p", &partition], marker.as_bytes()).unwrap();
    }
}

fn copy(kinds: &[Kind], records: u64, kills: u64) {
    let mut random = Random::announced("copies");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(&dir, 5, COPY_SESSION);
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "source", "3"]).unwrap();
    python("transactions.py", &["feed", &bootstrap, "source", "3", &records.to_string()]).unwrap();
    let mut copiers = Vec::new();
    let said = std::fs::File::create(dir.path().join("said")).unwrap();
    for &kind in kinds {
        python("topic.py", &[&bootstrap, &target(kind), "3"]).unwrap();
        // Whoever finds no offset has not looked well, and must not begin anew.
        python("transactions.py", &["begin", &bootstrap, "source", "3", &label(kind)]).unwrap();
        for number in 0..members_of(kind.client) {
            copiers.push(Copier::new(&broker, kind, number, said.try_clone().unwrap()));
        }
    }
    let supervise = |copiers: &mut Vec<Copier>, done: &dyn Fn() -> bool| {
        while !done() {
            copiers.iter_mut().for_each(Copier::again_if_ended);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Apache Kafka takes twenty seconds to serve again.
    let kills = if Target::current().unwrap() == Target::Kafka { 2 } else { kills };
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.within(400..1_500));
        supervise(&mut copiers, &|| Instant::now() >= until);
        if kill % 2 == 0 {
            for copier in &mut copiers {
                if random.within(0..3) > 0 {
                    copier.program.kill();
                }
            }
        } else {
            broker.kill().unwrap();
            broker.restart().unwrap();
        }
    }
    // Where the broker is Apache Kafka, this waits until it serves again.
    mark(&bootstrap, "source", "end");
    std::thread::scope(|scope| {
        let wait = |kind| {
            let bootstrap = &bootstrap;
            scope.spawn(move || read(bootstrap, kind, "end"))
        };
        let waits: Vec<_> = kinds.iter().map(|&kind| wait(kind)).collect();
        supervise(&mut copiers, &|| waits.iter().all(|wait| wait.is_finished()));
    });
    for copier in &mut copiers {
        copier.program.kill();
        println!("{}: {} lives", copier.words[6], copier.lives);
    }
    drop(copiers);
    side_by_side(kinds, |&kind| {
        // Behind it there is nothing that they might have copied twice.
        mark(&bootstrap, &target(kind), "the end");
        for (partition, values) in read(&bootstrap, kind, "the end").into_iter().enumerate() {
            let numbers = (partition as u64..records).step_by(PARTITIONS as usize);
            let expected = numbers.map(|number| number.to_string());
            let expected: Vec<_> = expected.chain(["end".into(), "the end".into()]).collect();
            assert_eq!(values, expected, "{kind:?}, partition {partition}");
        }
        let lag = kind.client.run(&["lag", &bootstrap, &label(kind), "source"], TIMEOUT).unwrap();
        for row in lag[0]["partitions"].as_array().unwrap() {
            assert_eq!(row[1], row[2], "{kind:?}: {lag:?}");
        }
    });
}

/// Of each client the protocols that its copier knows.
const KINDS: [Kind; 7] = [
    Kind { client: Client::LibRdKafka, assignor: "cooperative-sticky" },
    Kind { client: Client::FranzGo, assignor: "consumer" },
    Kind { client: Client::Sarama, assignor: "range" },
    Kind { client: Client::KafkaJs, assignor: "roundrobin" },
    Kind { client: Client::AioKafka, assignor: "none" },
    Kind { client: Client::LibRdKafka, assignor: "consumer" },
    Kind { client: Client::FranzGo, assignor: "cooperative-sticky" },
];

#[test]
fn copies_of_every_client_are_exactly_once() {
    copy(&KINDS[..5], 1_500, 6);
}

mod slow {
    use super::*;

    #[test]
    fn copies_of_every_client_are_exactly_once_for_long() {
        for kind in KINDS {
            copy(&[kind], 20_000, 30);
        }
    }
}
