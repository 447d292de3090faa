//! Topics whose records count as acknowledged only once the object store holds them
//! (`streamhouse.durability=object`).

use std::time::Duration;

use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::s3::S3Server;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Options, Target};

use crate::workload::Workload;

const CYCLES: u64 = 5;
const OBJECT_CLASS: &[&str] = &["streamhouse.durability=object"];

#[test]
fn acknowledged_records_survive_kill_nine_in_object_class_on_local_files() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("object class", "Apache Kafka has none");
    }
    let mut random = Random::announced("object_class");
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_with(Options::new(&dir.path().join("data")).busy()).unwrap();
    let workload = Workload::start_with(&broker, dir.path(), 2, OBJECT_CLASS);
    for _ in 0..CYCLES {
        std::thread::sleep(Duration::from_millis(random.within(300..1500)));
        broker.kill().unwrap();
        broker.restart().unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let report = workload.finish(&broker);
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > CYCLES * 100, "too little happened: {report}");
}

#[test]
fn acknowledged_records_survive_kills_of_the_broker_and_outages_of_s3() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("S3", "Apache Kafka keeps its log on disks");
    }
    let mut random = Random::announced("object_class_s3");
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = S3Server::start(dir.path()).unwrap();
    let [url, options] = s3.settings();
    let options = Options::new(&dir.path().join("data")).busy().setting(&url).setting(&options);
    let mut broker = Broker::start_with(options).unwrap();
    let workload = Workload::start_with(&broker, dir.path(), 2, OBJECT_CLASS);
    for cycle in 0..CYCLES {
        std::thread::sleep(Duration::from_millis(random.within(300..1500)));
        if cycle % 2 == 0 {
            broker.kill().unwrap();
            broker.restart().unwrap();
        } else {
            s3.kill().unwrap();
            std::thread::sleep(Duration::from_millis(random.within(100..1500)));
            s3.restart().unwrap();
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    let report = workload.finish(&broker);
    let (objects, bytes) = s3.usage().unwrap();
    println!("{objects} objects, {bytes} bytes");
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > CYCLES * 100, "too little happened: {report}");
    assert!(objects > 0, "nothing reached the object store");
}
