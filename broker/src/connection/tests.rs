//! Connections as clients and attackers see them: order, bounds, time-outs, hostile bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::{
    Records,
    messages::{
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        list_offsets::ListOffsetsRequest,
        metadata::MetadataRequest,
        produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};

use super::*;
use crate::testing::{ClientError, EPOCH_MS, TestBroker, World, batch};

async fn start(settings: &[(&str, &str)]) -> (World, TestBroker) {
    let world = World::new(1).await.unwrap();
    let broker = world.start(settings).await.unwrap();
    (world, broker)
}

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
    }
}

/// Whether the broker closes the connection within a second of these bytes, and answers nothing.
async fn closes(broker: &TestBroker, bytes: &[u8]) -> bool {
    let mut client = broker.connect();
    // A broker that closes at the first bytes may not take the rest.
    let _ = client.send_raw(bytes).await;
    matches!(
        timeout(Duration::from_secs(1), client.receive_raw()).await,
        Ok(Err(ClientError::Closed | ClientError::Io(_)))
    )
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test(start_paused = true)]
async fn what_is_no_kafka_request_closes_the_connection() {
    let (_world, broker) = start(&[]).await;
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let cases: [(&str, &[u8]); 12] = [
        ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("tls", tls_hello),
        ("length 0", &[0; 4]),
        ("length 9", b"\0\0\0\x09\0\x12\0\0\0\0\0\0\0"),
        ("negative length", &[0xff; 4]),
        ("largest length", b"\x7f\xff\xff\xff"),
        ("above the limit", b"\x06\x40\x00\x01"),
        ("unknown api", &frame(b"\x7f\x00\0\0\0\0\0\0\0\0")),
        ("api of brokers", &frame(b"\0\x04\0\0\0\0\0\0\0\0")),
        ("api that is not built", &frame(b"\0\x0a\0\0\0\0\0\0\0\0")),
        ("negative version", &frame(b"\0\x03\xff\xff\0\0\0\0\0\0")),
        ("garbage", &[0x5a; 64]),
    ];
    for (name, bytes) in cases {
        assert!(closes(&broker, bytes).await, "{name}");
    }
    assert_eq!(broker.broker.request_memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn versions_outside_the_range_close_the_connection() {
    let (_world, broker) = start(&[]).await;
    for api in dispatch::SERVED.iter().filter(|api| **api != ApiKey::ApiVersions) {
        for version in [api.min_version() - 1, api.max_version() + 1, i16::MAX] {
            let mut body = api.code().to_be_bytes().to_vec();
            body.extend(version.to_be_bytes());
            body.extend([0; 12]);
            assert!(closes(&broker, &frame(&body)).await, "{api} v{version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_decode_close_the_connection() {
    let (_world, broker) = start(&[]).await;
    // Metadata v0 that claims 2^31-1 topics, one topic that is not there, a string past the end.
    for topics in [&b"\x7f\xff\xff\xff"[..], b"\0\0\0\x01", b"\0\0\0\x01\x7f\xffab"] {
        let mut body = b"\0\x03\0\0\0\0\0\x01\0\0".to_vec();
        body.extend_from_slice(topics);
        assert!(closes(&broker, &frame(&body)).await, "{topics:?}");
    }
    // Produce v3 that claims 2^31-1 topics.
    let produce = b"\0\0\0\x03\0\0\0\x01\0\0\xff\xff\0\x01\0\0\0\0\x7f\xff\xff\xff";
    assert!(closes(&broker, &frame(produce)).await);
    // A client id longer than the frame.
    assert!(closes(&broker, &frame(b"\0\x12\0\0\0\0\0\x01\x7f\xff")).await);
}

#[tokio::test(start_paused = true)]
async fn random_bytes_never_stop_the_broker() {
    let (world, broker) = start(&[]).await;
    for _ in 0..300 {
        let length = usize::try_from(world.rng.below(200)).unwrap();
        let mut body: Vec<u8> =
            (0..length).map(|_| u8::try_from(world.rng.below(256)).unwrap()).collect();
        // Mostly requests that get as far as their decoder.
        if length > 10 && world.rng.below(4) > 0 {
            let at = usize::try_from(world.rng.below(dispatch::SERVED.len() as u64)).unwrap();
            let api = dispatch::SERVED[at];
            body[..2].copy_from_slice(&api.code().to_be_bytes());
            let versions = u64::try_from(api.max_version() - api.min_version() + 1).unwrap();
            let version = api.min_version() + i16::try_from(world.rng.below(versions)).unwrap();
            body[2..4].copy_from_slice(&version.to_be_bytes());
            body[8..10].copy_from_slice(&[0, 0]);
        }
        let mut client = broker.connect();
        let _ = client.send_raw(&frame(&body)).await;
        let _ = timeout(Duration::from_millis(100), client.receive_raw()).await;
    }
    let mut client = broker.connect();
    assert_eq!(client.call(&api_versions(), 4).await.unwrap().error_code, 0);
    assert_eq!(world.spawner.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_many_pieces_is_one_request() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    let bytes = protocol::frame::encode_request(&api_versions(), 3, 0, Some("slow")).unwrap();
    for byte in bytes.to_bytes().iter() {
        client.send_raw(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(client.receive::<ApiVersionsRequest>(3).await.unwrap().error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_gives_its_memory_back() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.send_raw(b"\0\x10\0\0\0\x03\0\x04").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(broker.broker.request_memory.used() >= 1 << 20);
    let closed = timeout(Duration::from_secs(600), client.receive_raw()).await.unwrap();
    assert!(matches!(closed, Err(ClientError::Closed)));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.broker.request_memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_frames_wait_for_their_pool_and_small_ones_pass() {
    let (_world, broker) = start(&[]).await;
    let mut producer = broker.connect();
    producer.create_topics(&["t"]).await.unwrap();
    let all = broker.broker.request_memory.acquire(usize::MAX).await;
    producer.send(&produce(&[&[7; 100_000]], -1), 9).await.unwrap();
    assert!(timeout(Duration::from_secs(5), producer.receive_raw()).await.is_err());
    let mut other = broker.connect();
    assert_eq!(other.call(&api_versions(), 0).await.unwrap().error_code, 0);
    drop(all);
    let answer = producer.receive::<ProduceRequest>(9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn frames_of_every_size_arrive_whole_in_any_pieces() {
    let (_world, broker) = start(&[("message.max.bytes", "10000000")]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let values: Vec<Vec<u8>> = [10, 15_000, 17_000, 200_000, 20, 900_000, 5_000_000, 30_000, 30]
        .iter()
        .zip(b'a'..)
        .map(|(len, byte)| vec![byte; *len])
        .collect();
    let mut bytes = Vec::new();
    for (correlation_id, value) in (0..).zip(&values) {
        let request = produce(&[value], -1);
        let frame = protocol::frame::encode_request(&request, 9, correlation_id, None).unwrap();
        bytes.extend_from_slice(&frame.to_bytes());
    }
    for piece in [7, 4_000, 70_001, bytes.len()] {
        let mut client = broker.connect();
        for bytes in bytes.chunks(piece) {
            client.send_raw(bytes).await.unwrap();
        }
        for _ in &values {
            let answer = client.receive_raw().await.unwrap();
            let mut reader = protocol::Reader::new(answer.slice(5..));
            let answer = <ProduceResponse as protocol::Message>::decode(&mut reader, 9).unwrap();
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{piece}");
        }
    }
    let fetched = client.call(&fetch(), 11).await.unwrap();
    let records = fetched.responses[0].partitions[0].records.clone().unwrap().to_bytes();
    let mut expected = values.iter().cycle();
    for batch in protocol::records::batch_refs(&records) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let value = expected.next().unwrap();
        assert!(batch.body().windows(8).any(|bytes| bytes.iter().all(|byte| *byte == value[0])));
    }
}

#[tokio::test(start_paused = true)]
async fn buffers_of_frames_are_used_again_and_given_back_when_idle() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let buffers = &broker.broker.frame_buffers;
    let mut free = Vec::new();
    for _ in 0..5 {
        let answer = client.call(&produce(&[&[7; 100_000]], -1), 9).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        free.push(buffers.free_bytes());
    }
    assert!(free[0] > 100_000 && free.iter().all(|bytes| *bytes == free[0]), "{free:?}");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(buffers.free_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    for version in [5_i16, 100, i16::MAX] {
        // Header version 2 with a body that nobody can know.
        let mut body = b"\0\x12".to_vec();
        body.extend(version.to_be_bytes());
        body.extend(b"\0\0\0\x2a\0\x01x\0some future body");
        client.send_raw(&frame(&body)).await.unwrap();
        let answer = client.receive_raw().await.unwrap();
        assert_eq!(answer[..4], 42_i32.to_be_bytes());
        let mut reader = protocol::Reader::new(answer.slice(4..));
        let response = <ApiVersionsResponse as protocol::Message>::decode(&mut reader, 0).unwrap();
        assert_eq!(response.error_code, 35);
        let range = &response.api_keys[0];
        assert_eq!((range.api_key, range.min_version, range.max_version), (18, 0, 4));
        assert_eq!(response.api_keys.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn api_versions_works_in_every_version_and_checks_the_software() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    for version in 0..=4 {
        let response = client.call(&api_versions(), version).await.unwrap();
        assert_eq!(response.error_code, 0);
        assert_eq!(response.api_keys.len(), dispatch::SERVED.len());
        assert_eq!(response.supported_features.is_empty(), version < 3);
    }
    let odd = ApiVersionsRequest { client_software_name: "no spaces".to_owned(), ..api_versions() };
    assert_eq!(client.call(&odd, 3).await.unwrap().error_code, 42);
    assert_eq!(client.call(&odd, 2).await.unwrap().error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (world, broker) = start(&[("connections.max.idle.ms", "10000")]).await;
    let mut client = broker.connect();
    for _ in 0..4 {
        sleep(Duration::from_secs(6)).await;
        client.call(&api_versions(), 0).await.unwrap();
    }
    let before = world.clock.monotonic();
    assert!(matches!(client.receive_raw().await, Err(ClientError::Closed)));
    let idle = world.clock.monotonic() - before;
    assert!(idle >= Duration::from_secs(9) && idle <= Duration::from_secs(11), "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_in_order_whatever_they_are() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    for _ in 0..20 {
        client.send(&produce(&[b"x"], -1), 9).await.unwrap();
        client.send(&MetadataRequest::default(), 9).await.unwrap();
        client.send(&ListOffsetsRequest::default(), 6).await.unwrap();
    }
    for _ in 0..20 {
        client.receive::<ProduceRequest>(9).await.unwrap();
        client.receive::<MetadataRequest>(9).await.unwrap();
        client.receive::<ListOffsetsRequest>(6).await.unwrap();
    }
}

fn produce(values: &[&[u8]], acks: i16) -> ProduceRequest {
    let records: Records = batch(EPOCH_MS, None, values).unwrap();
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "t".to_owned(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(records) }],
            ..Default::default()
        }],
    }
}

fn fetch() -> FetchRequest {
    FetchRequest {
        max_bytes: i32::MAX,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "t".to_owned(),
            partitions: vec![FetchPartition {
                partition_max_bytes: i32::MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_is_closed_and_gives_its_memory_back() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let value = vec![1; 900_000];
    for _ in 0..3 {
        client.call(&produce(&[&value], -1), 9).await.unwrap();
    }
    let mut stalled = broker.connect();
    for _ in 0..4 {
        stalled.send(&fetch(), 12).await.unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    let held = broker.broker.fetch_memory.used();
    assert!((2_700_000..5_400_000).contains(&held), "one answer is held, not four: {held}");
    sleep(Duration::from_secs(100)).await;
    assert_eq!(broker.broker.fetch_memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_answers_arrive_whole_through_a_small_pipe() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let value: Vec<u8> = (0..900_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for _ in 0..4 {
        client.call(&produce(&[&value], -1), 9).await.unwrap();
    }
    let response = client.call(&fetch(), 12).await.unwrap();
    let records = response.responses[0].partitions[0].records.clone().unwrap().to_bytes();
    assert!(records.len() > 4 * value.len());
    let mut found = 0;
    for batch in protocol::records::batches(&records) {
        batch.unwrap().borrowed().verify_crc().unwrap();
        found += 1;
    }
    assert_eq!(found, 4);
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_what_is_in_flight_and_closes() {
    let (_world, broker) = start(&[]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let mut polling = broker.connect();
    let waiting = FetchRequest { max_wait_ms: 600_000, min_bytes: 1, ..fetch() };
    polling.send(&waiting, 12).await.unwrap();
    client.send(&produce(&[b"x"], -1), 9).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    broker.stop().await;
    let answer = client.receive::<ProduceRequest>(9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert!(matches!(client.receive_raw().await, Err(ClientError::Closed)));
    polling.receive::<FetchRequest>(12).await.unwrap();
    assert!(matches!(polling.receive_raw().await, Err(ClientError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn produces_in_flight_are_bounded() {
    let (world, broker) = start(&[("streamhouse.max.inflight.produce", "3")]).await;
    let mut client = broker.connect();
    client.create_topics(&["t"]).await.unwrap();
    let slow = storage::wal::sim_fs::Faults { latency_ms_max: 60_000, ..Default::default() };
    world.wal_fs.set_faults(slow);
    for _ in 0..10 {
        client.send(&produce(&[b"x"], -1), 9).await.unwrap();
    }
    tokio::task::yield_now().await;
    let partition = Arc::clone(&broker.broker.catalog.image().by_name("t").unwrap().partitions[0]);
    let mut most = 0;
    for _ in 0..50 {
        let offsets = partition.offsets();
        most = most.max(offsets.log_end - offsets.high_watermark);
        tokio::task::yield_now().await;
    }
    assert_eq!(most, 3);
    world.wal_fs.set_faults(Default::default());
    for offset in 0..10 {
        let answer = client.receive::<ProduceRequest>(9).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset);
    }
}

/// A stream whose first read panics.
struct Panicking;

impl AsyncRead for Panicking {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("planted")
    }
}

impl Transport for Panicking {}

impl AsyncWrite for Panicking {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_connection_only_and_is_counted() {
    let (world, broker) = start(&[]).await;
    let mut client = broker.connect();
    broker.server.serve_stream(Panicking, "PLAINTEXT").await.unwrap();
    assert_eq!(world.spawner.panics(), 1);
    assert_eq!(client.call(&api_versions(), 4).await.unwrap().error_code, 0);
    drop(client);
    assert!(
        broker.broker.shutdown.drain(Duration::from_secs(5)).await,
        "it is not counted any more"
    );
}

#[tokio::test]
async fn sockets_are_counted_and_refused_beyond_the_limits() {
    let world = World::new(1).await.unwrap();
    let broker = world.start(&[("max.connections.per.ip", "2")]).await.unwrap();
    let listener =
        crate::server::Listener::bind("PLAINTEXT", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr();
    let accepting = broker.server.listen(listener);
    let open = || async { tokio::net::TcpStream::connect(address).await.unwrap() };
    let works = |mut stream: tokio::net::TcpStream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let frame = protocol::frame::encode_request(&api_versions(), 0, 1, None).unwrap();
        if stream.write_all(&frame.to_bytes()).await.is_err() {
            return None;
        }
        stream.read_i32().await.ok().map(|_| stream)
    };
    let first = works(open().await).await.expect("the first is served");
    let _second = works(open().await).await.expect("the second is served");
    assert!(works(open().await).await.is_none(), "the third is refused");
    drop(first);
    let mut served = None;
    for _ in 0..1000 {
        served = works(open().await).await;
        if served.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(served.is_some(), "a place became free");
    assert!(broker.broker.shutdown.drain(Duration::from_secs(5)).await);
    accepting.await.unwrap();
}
