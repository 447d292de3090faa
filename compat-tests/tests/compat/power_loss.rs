//! The power goes: everything that was not synced is gone from the disk, and still nothing acknowledged is.

use std::time::Duration;

use streamhouse_compat_tests::disk::{Disk, Unavailable};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::target::{Broker, Options, Target};

use crate::workload::Workload;

const DISK_BYTES: u64 = 2 << 30;
const CUTS: u64 = 3;

#[test]
fn acknowledged_records_survive_power_loss() {
    cut_power(CUTS);
}

mod slow {
    #[test]
    fn acknowledged_records_survive_fifty_power_losses() {
        super::cut_power(50);
    }
}

fn cut_power(cuts: u64) {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here(
            "power loss",
            "Apache Kafka does not sync before it acknowledges",
        );
    }
    let mut random = Random::announced("power_loss");
    let dir = tempfile::tempdir().unwrap();
    let mut disk = match Disk::create(dir.path(), DISK_BYTES).unwrap() {
        Ok(disk) => disk,
        Err(Unavailable(why)) => return not_possible_here("power loss", &why),
    };
    let data = disk.path().join("data");
    // Its log and ready file lie beside the data directory, so on a link they stay off the disk that fails.
    let link = dir.path().join("data");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    std::fs::create_dir(&data).unwrap();
    rustix::fs::syncfs(std::fs::File::open(&data).unwrap()).unwrap();

    let mut broker = Broker::start_with(Options::new(&link)).unwrap();
    let workload = Workload::start(&broker, dir.path(), 2);
    for cut in 1..=cuts {
        std::thread::sleep(Duration::from_millis(random.within(300..2000)));
        disk.cut_power().unwrap();
        broker.kill_if_running().unwrap();
        disk.restore_power().unwrap();
        broker.restart().unwrap();
        println!("cut {cut}: serving again after {:?}", broker.started_in);
    }
    std::thread::sleep(Duration::from_millis(500));
    let report = workload.finish(&broker);
    drop(broker);
    assert!(report.is_legal(), "{report}");
    assert!(report.acknowledged > cuts * 100, "too little happened: {report}");
}
