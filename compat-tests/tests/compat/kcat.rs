//! kcat, Debian's build of it.

use streamhouse_compat_tests::clients::kcat;
use streamhouse_compat_tests::target::Broker;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn keys_headers_nulls_and_codecs_come_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let b = broker.bootstrap();

    let headers = ["-H", "h=a", "-H", "h=b", "-H", "empty="];
    let mut expected = String::new();
    for (at, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        // The first one creates the topic. -Z: an empty key or value is sent as null.
        let produce = ["-P", "-t", "kc", "-p", "0", "-K:", "-Z", "-z", codec];
        let arguments = [&produce[..], &headers[..]].concat();
        kcat(&b, &arguments, b"k1:v1\nk2:\n:\xc3\xbc\n").unwrap();
        let o = at * 3;
        expected += &format!("{o}|2|k1|h=a,h=b,empty=|2|v1\n");
        expected += &format!("{}|2|k2|h=a,h=b,empty=|-1|\n", o + 1);
        expected += &format!("{}|-1||h=a,h=b,empty=|2|ü\n", o + 2);
    }
    let format = "%o|%K|%k|%h|%S|%s\n";
    let consume = ["-C", "-t", "kc", "-p", "0", "-o", "beginning", "-e", "-q", "-f", format];
    assert_eq!(text(kcat(&b, &consume, b"").unwrap()), expected);

    let tail = ["-C", "-t", "kc", "-p", "0", "-o", "-2", "-e", "-q", "-f", "%o\n"];
    assert_eq!(text(kcat(&b, &tail, b"").unwrap()), "13\n14\n");
    let middle = ["-C", "-t", "kc", "-p", "0", "-o", "4", "-c", "2", "-q", "-f", "%o\n"];
    assert_eq!(text(kcat(&b, &middle, b"").unwrap()), "4\n5\n");
}

#[test]
fn a_whole_file_is_one_record_and_comes_back_identical() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let file = dir.path().join("blob");
    let blob: Vec<u8> =
        (0..900_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&file, &blob).unwrap();
    let b = broker.bootstrap();
    kcat(&b, &["-P", "-t", "blob", "-p", "0", file.to_str().unwrap()], b"").unwrap();
    let consume = ["-C", "-t", "blob", "-p", "0", "-o", "beginning", "-e", "-q", "-D", ""];
    assert!(kcat(&b, &consume, b"").unwrap() == blob);
}

#[test]
fn metadata_and_offsets_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let b = broker.bootstrap();
    kcat(&b, &["-P", "-t", "listed", "-p", "0"], b"a\nb\nc\n").unwrap();

    let json = kcat(&b, &["-L", "-J", "-t", "listed"], b"").unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(listed["brokers"][0]["name"], b.as_str());
    let node = &listed["brokers"][0]["id"];
    assert_eq!(&listed["controllerid"], node);
    assert_eq!(listed["topics"][0]["topic"], "listed");
    let partition = &listed["topics"][0]["partitions"][0];
    assert_eq!(partition["partition"], 0);
    assert_eq!(&partition["leader"], node);
    assert_eq!(&partition["isrs"][0]["id"], node);

    assert_eq!(text(kcat(&b, &["-Q", "-t", "listed:0:-1"], b"").unwrap()), "listed [0] offset 3\n");
    assert_eq!(text(kcat(&b, &["-Q", "-t", "listed:0:-2"], b"").unwrap()), "listed [0] offset 0\n");
    assert_eq!(text(kcat(&b, &["-Q", "-t", "listed:0:1"], b"").unwrap()), "listed [0] offset 0\n");
}
