//! The flights as a Delta table: SQL at once and ever after, and readers of Delta tables, while
//! the broker is killed.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::clients::{kcat, python, python_start};
use streamhouse_compat_tests::gate::{Gate, Side};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::s3::S3Server;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Options, Target};
use streamhouse_compat_tests::tools::Tools;

#[test]
fn every_flight_is_one_row_though_the_broker_is_killed_meanwhile() {
    if let Some(mut load) = Load::new("tables") {
        load.run(3);
    }
}

#[test]
fn every_flight_is_one_row_on_s3_though_broker_and_s3_go_down_meanwhile() {
    if let Some(mut load) = Load::new("tables_s3") {
        load.s3 = Some(S3Server::start(load.dir.path()).unwrap());
        load.run(4);
    }
}

/// Each of a commit's writes in turn: those of the dead letters, of the rows, and of both logs.
#[test]
fn a_commit_killed_before_or_after_any_of_its_writes_leaves_every_record_once() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("tables", "Apache Kafka has none");
    }
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(dir.path()).unwrap();
    let gate = Gate::before(s3.port()).unwrap();
    let [url, store] = S3Server::settings_at(gate.port());
    let options = Options::new(&dir.path().join("data")).setting(&url).setting(&store);
    let mut broker = Broker::start_with(options).unwrap();
    let bootstrap = broker.bootstrap();
    let keys = ["table.enable=true", "table.commit.interval.ms=100", "table.schema.sample.ms=0"];
    python("topic.py", &[&bootstrap, "steps", "2", keys[0], keys[1], keys[2]]).unwrap();
    let (mut rounds, mut kills) = (0_usize, 0);
    for side in [Side::Before, Side::After] {
        for nth in 1..=WRITES {
            gate.arm(nth, "/tables/", side);
            let good = (0..10).map(|n| format!("{{\"n\":{}}}\n", rounds * 10 + n));
            let records: String = good.chain(["nonsense\n".to_owned()]).collect();
            kcat(&bootstrap, &["-P", "-t", "steps"], records.as_bytes()).unwrap();
            rounds += 1;
            let deadline = Instant::now() + STEP_TIMEOUT;
            while !gate.is_closed() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            if !gate.is_closed() {
                gate.open();
                continue;
            }
            kills += 1;
            broker.kill().unwrap();
            gate.open();
            broker.restart().unwrap();
        }
    }
    // The first round creates both tables, the others have all of the writes.
    assert!(kills >= 2 * WRITES - 1, "only {kills} of {rounds} rounds reached their write");
    let (rounds, options) = (rounds.to_string(), s3.reader_options());
    let verify = ["steps", broker.http().unwrap(), "steps", &rounds, &options];
    print!("{}", python("tables.py", &verify).unwrap());

    let location = python("table_configs.py", &["location", broker.http().unwrap(), "steps"]);
    let files = location.unwrap().trim().replace("s3://", &format!("{}/s3/", dir.path().display()));
    assert!(std::fs::exists(&files).unwrap(), "{files}");
    let mut tools = Tools::start(&broker.bootstrap()).unwrap();
    let topic = "kafka-configs --entity-type topics --entity-name steps --alter";
    tools.ok(&format!("{topic} --add-config table.delete.with.topic=true")).unwrap();
    tools.ok("kafka-topics --delete --topic steps").unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();
    python("table_configs.py", &["gone", &files]).unwrap();
}

mod slow {
    use super::Load;

    #[test]
    fn every_flight_is_one_row_after_twenty_kills() {
        if let Some(mut load) = Load::new("tables_slow") {
            load.run(20);
        }
    }
}

/// Writes of a commit with rows and dead letters: a file and a log entry of each.
const WRITES: usize = 4;
/// How long a commit is waited for.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an outage of S3 lasts.
const OUTAGE: Duration = Duration::from_secs(1);

/// The flights, into a table.
struct Load {
    random: Random,
    dir: tempfile::TempDir,
    s3: Option<S3Server>,
}

impl Load {
    fn new(seed: &str) -> Option<Self> {
        if Target::current().unwrap() == Target::Kafka {
            not_possible_here("tables", "Apache Kafka has none");
            return None;
        }
        let (random, dir) = (Random::announced(seed), tempfile::tempdir().unwrap());
        Some(Self { random, dir, s3: None })
    }

    /// With the broker killed `kills` times; on S3 every other time S3 is down instead.
    fn run(&mut self, kills: u64) {
        let mut options = Options::new(&self.dir.path().join("data"));
        if let Some(s3) = &self.s3 {
            let [url, store] = s3.settings();
            options = options.setting(&url).setting(&store);
        }
        let mut broker = Broker::start_with(options).unwrap();
        let acks = self.dir.path().join("acks");
        let (bootstrap, acks) = (broker.bootstrap(), acks.to_str().unwrap());
        let keys = ["table.enable=true", "table.commit.interval.ms=1000"];
        python("topic.py", &[&bootstrap, "flights", "12", keys[0], keys[1]]).unwrap();

        let ready = broker.ready_path();
        // Without S3 there is no answer; but never a wrong one.
        let failures = if self.s3.is_some() { "Generic S3 error" } else { "" };
        let watch = ["watch", ready.to_str().unwrap(), "flights", failures];
        let mut watch = python_start("tables.py", &watch).unwrap();
        let mut producer =
            python_start("flights.py", &["produce", &bootstrap, "flights", acks]).unwrap();
        let stdout = producer.stdout.take().unwrap();
        let span = 300_000 / kills;
        let mut due: Vec<u64> =
            (0..kills).map(|at| at * span + self.random.within(1..span)).collect();
        due.reverse();
        for line in BufReader::new(stdout).lines() {
            let acked: u64 = line.unwrap().parse().unwrap();
            while due.last().is_some_and(|&kill_at| acked >= kill_at) {
                due.pop();
                match &mut self.s3 {
                    Some(s3) if due.len().is_multiple_of(2) => {
                        s3.kill().unwrap();
                        std::thread::sleep(OUTAGE);
                        s3.restart().unwrap();
                    }
                    _ => {
                        broker.kill().unwrap();
                        broker.restart().unwrap();
                    }
                }
            }
        }
        assert!(producer.wait().unwrap().success());
        // Its standard input ends, and with it the watch.
        drop(watch.stdin.take());
        assert!(watch.wait().unwrap().success(), "what SQL answered meanwhile was wrong");
        let options = self.s3.as_ref().map_or("{}".to_owned(), S3Server::reader_options);
        let verify =
            ["verify", broker.http().unwrap(), &bootstrap, "flights", acks, options.as_str()];
        print!("{}", python("tables.py", &verify).unwrap());
        if self.s3.is_none() {
            let moments = ["moments", broker.http().unwrap(), &bootstrap, "flights"];
            print!("{}", python("tables.py", &moments).unwrap());
            let rebuild = ["rebuild", broker.http().unwrap(), "flights"];
            print!("{}", python("tables.py", &rebuild).unwrap());
            let replay = ["replay", broker.http().unwrap(), &bootstrap, "flights"];
            print!("{}", python("tables.py", &replay).unwrap());
        }
    }
}
