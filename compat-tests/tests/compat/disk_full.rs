//! The disk fills up: produces are refused with KAFKA_STORAGE_ERROR, reads go on, and once there is
//! space again everything works without anybody touching the broker.

use std::fs::File;

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::disk::{Disk, Unavailable};
use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::target::{Broker, Options, Target};

const DISK_BYTES: u64 = 1 << 30;
/// Left free beside the ballast: too little for a WAL file, enough for the metadata to breathe.
const LEFT_BYTES: u64 = 12 << 20;

#[test]
fn a_full_disk_refuses_produces_and_recovers_by_itself() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here(
            "full disk",
            "Apache Kafka takes its log directory offline for good",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::create(dir.path(), DISK_BYTES).unwrap() {
        Ok(disk) => disk,
        Err(Unavailable(why)) => return not_possible_here("full disk", &why),
    };
    let link = dir.path().join("data");
    std::os::unix::fs::symlink(disk.path().join("data"), &link).unwrap();
    std::fs::create_dir(disk.path().join("data")).unwrap();
    let mut broker = Broker::start_with(Options::new(&link)).unwrap();
    let bootstrap = broker.bootstrap();
    let acked = dir.path().join("acked");
    let acked = acked.to_str().unwrap();
    python("topic.py", &[&bootstrap, "full", "2"]).unwrap();
    python("disk_full.py", &["produce", &bootstrap, "full", acked, "200"]).unwrap();

    let ballast = disk.path().join("ballast");
    let size = disk.free_bytes().unwrap().saturating_sub(LEFT_BYTES);
    let file = File::create(&ballast).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    println!("{} bytes left", disk.free_bytes().unwrap());
    print!("{}", python("disk_full.py", &["fill", &bootstrap, "full", acked]).unwrap());
    assert!(broker.is_running().unwrap(), "a full disk must not stop the broker");
    print!("{}", python("disk_full.py", &["verify", &bootstrap, "full", acked]).unwrap());

    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    print!("{}", python("disk_full.py", &["recover", &bootstrap, "full", acked]).unwrap());
    print!("{}", python("disk_full.py", &["verify", &bootstrap, "full", acked]).unwrap());
    assert!(broker.stop().unwrap().success());
    broker.restart().unwrap();
    print!("{}", python("disk_full.py", &["verify", &bootstrap, "full", acked]).unwrap());
    drop(broker);
}
