//! The power goes: everything that was not synced is gone from the disk, and still nothing
//! acknowledged is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use streamhouse_compat_tests::clients::{kcat, python};
use streamhouse_compat_tests::disk::{Disk, Unavailable};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::seed::Random;
use streamhouse_compat_tests::strace::{skip, strace_works};
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
    let link = data_on(&disk, dir.path());
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

/// A data directory on `disk`. Its log and ready file lie beside its name, so on a link they stay
/// off the disk that fails.
fn data_on(disk: &Disk, dir: &Path) -> PathBuf {
    let (data, link) = (disk.path().join("data"), dir.join("data"));
    std::os::unix::fs::symlink(&data, &link).unwrap();
    std::fs::create_dir(&data).unwrap();
    rustix::fs::syncfs(std::fs::File::open(&data).unwrap()).unwrap();
    link
}

/// The test of the test: a broker whose syncs do nothing must be found out.
#[test]
fn a_broker_that_does_not_sync_is_found_out() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("skipped syncs", "a JVM under strace takes too long");
    }
    if let Err(why) = strace_works() {
        return not_possible_here("skipped syncs", &why);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut disk = match Disk::create(dir.path(), DISK_BYTES).unwrap() {
        Ok(disk) => disk,
        Err(Unavailable(why)) => return not_possible_here("skipped syncs", &why),
    };
    let link = data_on(&disk, dir.path());
    let lying = Options::new(&link).wrapped(skip("fdatasync,fsync,sync_file_range,syncfs"));
    let mut broker = Broker::start_with(lying).unwrap();
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "t", "1"]).unwrap();
    kcat(&bootstrap, &["-P", "-t", "t", "-p", "0", "-X", "acks=all"], b"acknowledged\n").unwrap();
    disk.cut_power().unwrap();
    broker.kill_if_running().unwrap();
    disk.restore_power().unwrap();
    // Either it notices that its directory is not what it left, or the record is not there.
    let found_out = match broker.restart_with(Options::new(&link)) {
        Err(_) => true,
        Ok(()) => {
            let read = ["-C", "-t", "t", "-p", "0", "-o", "beginning", "-e", "-q"];
            kcat(&bootstrap, &read, b"").map_or(true, |read| read != b"acknowledged\n")
        }
    };
    drop(broker);
    assert!(found_out, "the power cut took nothing away: this test proves nothing");
}
