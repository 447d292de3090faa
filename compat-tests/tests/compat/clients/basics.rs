//! What every client can do besides groups and transactions: each writes with each codec, each reads
//! what all wrote, each administers topics and groups.

use serde_json::{Value, json};
use streamhouse_compat_tests::clients::{kcat, python};
use streamhouse_compat_tests::programs::Client;

use super::{SESSION, TIMEOUT, side_by_side, start};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records of each client and codec.
const COUNT: usize = 20;

/// What `read` prints of the record number `at` of a client and codec.
fn record(client: Client, codec: &str, at: usize, offset: usize) -> Value {
    let key = (!at.is_multiple_of(3)).then(|| format!("k{at}"));
    // No record has neither: aiokafka refuses to send that.
    let value = (at % 5 != 4 || key.is_none())
        .then(|| format!("{}-{codec}-{at}{}", client.name(), " padding".repeat(40)));
    json!({
        "event": "record", "partition": 0, "offset": offset, "key": key, "value": value,
        "headers": [["client", client.name()], ["n", at.to_string()]],
    })
}

#[test]
fn every_client_reads_what_every_client_wrote_with_every_codec() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir, 5, SESSION);
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "codecs", "1"]).unwrap();
    let mut expected = Vec::new();
    for client in Client::ALL {
        let words = ["produce", &bootstrap, "codecs", client.name(), &COUNT.to_string()];
        let said = client.run(&words, TIMEOUT).unwrap();
        for (at, codec) in CODECS.into_iter().enumerate() {
            let base = expected.len();
            let last = base + COUNT - 1;
            assert_eq!(said[at], json!({"event": "produced", "codec": codec, "last": last}));
            expected.extend((0..COUNT).map(|at| record(client, codec, at, base + at)));
        }
    }
    kcat(&bootstrap, &["-P", "-t", "codecs", "-p", "0"], b"the end\n").unwrap();
    side_by_side(&Client::ALL, |client| {
        for isolation in ["committed", "uncommitted"] {
            let words = ["read", &bootstrap, "codecs", "1", "the end", isolation];
            let mut read = client.run(&words, TIMEOUT).unwrap();
            assert_eq!(read.pop().unwrap()["value"], "the end");
            assert_eq!(read.len(), expected.len(), "{client:?}");
            for (read, expected) in read.iter().zip(&expected) {
                // As maps: every language writes the fields in its own order.
                assert_eq!(read.as_object(), expected.as_object(), "{client:?}");
            }
        }
    });
}

#[test]
fn every_client_administers_topics_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    // The first commit waits until the coordinator of all groups is there.
    let broker = start(&dir, 1, SESSION);
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "first", "1"]).unwrap();
    python("transactions.py", &["begin", &bootstrap, "first", "1", "first"]).unwrap();
    side_by_side(&Client::ALL, |client| {
        let (topic, group) = (format!("t-{}", client.name()), format!("g-{}", client.name()));
        let found = client.run(&["admin", &bootstrap, &topic, &group], TIMEOUT).unwrap();
        let mut expected = json!({
            "event": "admin",
            "again": 36,
            "partitions": 3,
            "retention": "7654321",
            "altered": "1234567",
            "grown": 5,
            "group_listed": true,
            "group_state": "Empty",
            "group_offset": 7,
            "group_deleted": true,
            "topic_deleted": true,
        });
        if *client == Client::AioKafka {
            // It cannot delete groups.
            expected.as_object_mut().unwrap().remove("group_deleted");
        }
        assert_eq!(found[0].as_object(), expected.as_object(), "{client:?}");
    });
}
