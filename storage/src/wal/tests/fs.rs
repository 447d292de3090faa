//! What the log relies on, run against both file systems.

use std::{io::ErrorKind, path::Path};

use bytes::Bytes;
use common::rng::Rng;

use super::super::*;

async fn keeps_its_promises(fs: &dyn WalFs, elsewhere: &Path) {
    assert!(fs.list().await.unwrap().is_empty());
    assert!(fs.free_bytes().await.unwrap() > 0);

    let head = Bytes::from_static(b"head");
    let mut file = fs.create("b", 10_000, head.clone(), &AtOnce).await.unwrap();
    let reader = file.reader().unwrap();
    assert_eq!(reader.len().unwrap(), 10_000);
    assert_eq!(&reader.read_at(0, 6).unwrap()[..], b"head\0\0");
    assert!(reader.read_at(4, 9_996).unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(reader.read_at(9_999, 2).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let twice = fs.create("b", 10, head.clone(), &AtOnce).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);

    // More buffers than one system call takes, empty ones among them.
    let parts: Vec<Bytes> =
        (0..3_000_u32).map(|index| Bytes::from(vec![index as u8; (index % 3) as usize])).collect();
    file.write_at(4_095, &parts).await.unwrap();
    file.sync_data().await.unwrap();
    assert_eq!(reader.read_at(4_095, 3_000).unwrap(), parts.concat());

    file.set_len(5_000).await.unwrap();
    file.set_len(6_000).await.unwrap();
    file.sync_data().await.unwrap();
    assert_eq!(reader.len().unwrap(), 6_000);
    assert_eq!(&reader.read_at(4_998, 4).unwrap()[2..], b"\0\0");
    file.write_at(6_000, &[Bytes::from_static(b"behind")]).await.unwrap();
    assert_eq!(&reader.read_at(6_000, 6).unwrap()[..], b"behind");

    fs.create("a", 100, head, &AtOnce).await.unwrap();
    assert_eq!(fs.list().await.unwrap(), ["a", "b"]);
    assert_eq!(fs.open("c").await.unwrap_err().kind(), ErrorKind::NotFound);
    let opened = fs.open("a").await.unwrap();
    fs.remove("a").await.unwrap();
    fs.sync_dir().await.unwrap();
    assert_eq!(fs.remove("a").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(&opened.reader().unwrap().read_at(0, 4).unwrap()[..], b"head", "still readable");

    fs.rename_out("b", &elsewhere.join("x/object")).await.unwrap();
    assert!(fs.list().await.unwrap().is_empty());
    assert_eq!(reader.len().unwrap(), 6_006);
    fs.create("b", 100, Bytes::new(), &AtOnce).await.unwrap();
    let taken = fs.rename_out("b", &elsewhere.join("x/object")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let gone = fs.rename_out("c", &elsewhere.join("x/other")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_operating_system_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let fs = OsWalFs::open(dir.path().join("deep/wal")).unwrap();
    keeps_its_promises(&fs, dir.path()).await;
}

#[tokio::test]
async fn the_simulated_disk_keeps_its_promises() {
    let fs = SimWalFs::new(Rng::seeded(1));
    keeps_its_promises(&fs, Path::new("/elsewhere")).await;
    assert_eq!(fs.contents_at(Path::new("/elsewhere/x/object")).unwrap().len(), 6_006);
}

#[tokio::test]
async fn a_power_loss_takes_unsynced_names_and_sectors_and_nothing_synced() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..50 {
        let fs = SimWalFs::new(Rng::seeded(seed));
        let mut file = fs.create("a", 8_192, Bytes::from_static(b"head"), &AtOnce).await.unwrap();
        file.write_at(4_096, &[Bytes::from_static(&[7; 4_096])]).await.unwrap();
        fs.create("b", 100, Bytes::new(), &AtOnce).await.unwrap();
        fs.remove("b").await.unwrap();
        let after = fs.restart_machine();
        let bytes = after.contents("a").unwrap();
        assert_eq!(&bytes[..4], b"head");
        lost += u32::from(bytes[4_096..].iter().any(|byte| *byte != 7));
        kept += u32::from(after.contents("b").is_some());
    }
    assert!((10..50).contains(&lost) && (10..40).contains(&kept), "{lost} {kept}");
}

#[tokio::test]
async fn a_failed_sync_drops_the_data_for_good() {
    let fs = SimWalFs::new(Rng::seeded(1));
    let mut file = fs.create("a", 4_096, Bytes::new(), &AtOnce).await.unwrap();
    fs.set_faults(sim_fs::Faults { fail_sync_after: Some(0), ..sim_fs::Faults::default() });
    file.write_at(0, &[Bytes::from_static(b"data")]).await.unwrap();
    assert!(file.sync_data().await.is_err());
    file.sync_data().await.unwrap();
    assert_eq!(&fs.contents("a").unwrap()[..4], b"data", "the page cache shows it");
    assert_eq!(&fs.restart_machine().contents("a").unwrap()[..4], b"\0\0\0\0");
}
