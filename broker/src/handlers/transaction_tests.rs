//! Transactions through a whole broker: old and new clients, fencing, late requests, timeouts,
//! crashes at every step, tools.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use protocol::{
    ErrorCode, Records,
    messages::{
        add_partitions_to_txn::{
            AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
            AddPartitionsToTxnTransaction,
        },
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        describe_transactions::{DescribeTransactionsRequest, TransactionState},
        end_txn::{EndTxnRequest, EndTxnResponse},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        find_coordinator::FindCoordinatorRequest,
        init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
        list_transactions::ListTransactionsRequest,
        produce::{
            PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
        },
        write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest},
    },
    records::{BatchBuilder, Compression, DecompressLimit, batches},
};

use super::test_support::{create, start};
use crate::testing::{Client, EPOCH_MS, TestBroker, World};

const TOPIC: &str = "orders";
const ID: &str = "app";
const TIMEOUT_MS: i32 = 60_000;

fn code(error: ErrorCode) -> i16 {
    error.code()
}

async fn setup() -> (TestBroker, Client) {
    let (broker, mut client) = start(&[]).await;
    create(&mut client, TOPIC, 3).await;
    find_coordinator(&mut client).await;
    (broker, client)
}

/// Has the coordinator's topic made, and waits until it is loaded.
async fn find_coordinator(client: &mut Client) {
    let request = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![ID.to_owned()],
        ..Default::default()
    };
    let response = client.call(&request, 6).await.unwrap();
    assert_eq!(response.coordinators[0].error_code, 0);
    let describe = DescribeTransactionsRequest { transactional_ids: vec![ID.to_owned()] };
    while client.call(&describe, 0).await.unwrap().transaction_states[0].error_code
        == code(ErrorCode::CoordinatorLoadInProgress)
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A producer as the client keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Producer {
    id: i64,
    epoch: i16,
}

async fn init(
    client: &mut Client,
    known: Option<Producer>,
    version: i16,
) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: TIMEOUT_MS,
        producer_id: known.map_or(-1, |producer| producer.id),
        producer_epoch: known.map_or(-1, |producer| producer.epoch),
        ..Default::default()
    };
    client.call(&request, version).await.unwrap()
}

async fn begin(client: &mut Client) -> Producer {
    loop {
        let response = init(client, None, 5).await;
        if response.error_code != code(ErrorCode::ConcurrentTransactions) {
            assert_eq!(response.error_code, 0);
            return Producer { id: response.producer_id, epoch: response.producer_epoch };
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn records(producer: Producer, sequence: i32, value: &str, transactional: bool) -> Records {
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer.id, producer.epoch, sequence)
        .transactional(transactional);
    builder.append(0, EPOCH_MS, None, Some(value.as_bytes()), &[]).unwrap();
    builder.build().unwrap().into()
}

fn produce_request(
    producer: Producer,
    partition: i32,
    sequence: i32,
    value: &str,
) -> ProduceRequest {
    ProduceRequest {
        transactional_id: Some(ID.to_owned()),
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.to_owned(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(records(producer, sequence, value, true)),
            }],
            ..Default::default()
        }],
    }
}

async fn produce(
    client: &mut Client,
    producer: Producer,
    partition: i32,
    sequence: i32,
    value: &str,
    version: i16,
) -> PartitionProduceResponse {
    let request = produce_request(producer, partition, sequence, value);
    let mut response = client.call(&request, version).await.unwrap();
    response.responses[0].partition_responses.remove(0)
}

/// Produces as a client of KIP-890 does.
async fn write(
    client: &mut Client,
    producer: Producer,
    partition: i32,
    sequence: i32,
    value: &str,
) {
    let answer = produce(client, producer, partition, sequence, value, 12).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

async fn end(
    client: &mut Client,
    producer: Producer,
    committed: bool,
    version: i16,
) -> EndTxnResponse {
    let request = EndTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
    };
    client.call(&request, version).await.unwrap()
}

async fn commit(client: &mut Client, producer: Producer) -> Producer {
    let response = end(client, producer, true, 5).await;
    assert_eq!(response.error_code, 0);
    Producer { id: response.producer_id, epoch: response.producer_epoch }
}

async fn add_partitions(
    client: &mut Client,
    producer: Producer,
    topic: &str,
    partitions: &[i32],
    version: i16,
) -> AddPartitionsToTxnResponse {
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.to_owned(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic {
            name: topic.to_owned(),
            partitions: partitions.to_vec(),
        }],
        ..Default::default()
    };
    client.call(&request, version).await.unwrap()
}

fn codes(response: &AddPartitionsToTxnResponse) -> Vec<i16> {
    let topics = response.results_by_topic_v3_and_below.iter();
    topics.flat_map(|topic| &topic.results_by_partition).map(|p| p.partition_error_code).collect()
}

/// The values that a reader of committed data sees in a partition, and the last stable offset.
async fn committed(client: &mut Client, partition: i32) -> (Vec<String>, i64) {
    let request = FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1 << 20,
        isolation_level: 1,
        topics: vec![FetchTopic {
            topic: TOPIC.to_owned(),
            partitions: vec![FetchPartition {
                partition,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut response = client.call(&request, 12).await.unwrap();
    let data = response.responses.remove(0).partitions.remove(0);
    assert_eq!(data.error_code, 0);
    let mut aborted = data.aborted_transactions.unwrap_or_default();
    let mut open: Vec<i64> = Vec::new();
    let mut values = Vec::new();
    for batch in batches(&data.records.unwrap_or_default().to_bytes()).map(Result::unwrap) {
        let header = batch.header();
        aborted.retain(|range| {
            let begins = range.first_offset <= header.base_offset;
            if begins {
                open.push(range.producer_id);
            }
            !begins
        });
        if header.is_control() {
            open.retain(|producer| *producer != header.producer_id);
            continue;
        }
        if header.is_transactional() && open.contains(&header.producer_id) {
            continue;
        }
        let limit = DecompressLimit { max_bytes: 1 << 20 };
        for record in &batch.borrowed().decompressed(limit).unwrap() {
            let value = record.unwrap().value.unwrap();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    (values, data.last_stable_offset)
}

/// The same, once the partition has no open transaction.
async fn settled(client: &mut Client, partition: i32) -> Vec<String> {
    for _ in 0..500 {
        if describe(client).await.state_is_final() {
            return committed(client, partition).await.0;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the transaction is not completed: {:?}", describe(client).await);
}

async fn describe(client: &mut Client) -> TransactionState {
    let request = DescribeTransactionsRequest { transactional_ids: vec![ID.to_owned()] };
    client.call(&request, 0).await.unwrap().transaction_states.remove(0)
}

trait Final {
    fn state_is_final(&self) -> bool;
}

impl Final for TransactionState {
    fn state_is_final(&self) -> bool {
        ["Empty", "CompleteCommit", "CompleteAbort"].contains(&self.transaction_state.as_str())
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_clients_transaction_is_seen_when_it_is_committed() {
    let (_broker, mut client) = setup().await;
    let first = begin(&mut client).await;
    write(&mut client, first, 0, 0, "a").await;
    write(&mut client, first, 1, 0, "b").await;
    write(&mut client, first, 0, 1, "c").await;
    assert_eq!(committed(&mut client, 0).await, (vec![], 0));
    let second = commit(&mut client, first).await;
    assert_eq!(second, Producer { epoch: first.epoch + 1, ..first });
    assert_eq!(settled(&mut client, 0).await, ["a", "c"]);
    assert_eq!(settled(&mut client, 1).await, ["b"]);

    write(&mut client, second, 0, 0, "d").await;
    let response = end(&mut client, second, false, 5).await;
    assert_eq!((response.error_code, response.producer_epoch), (0, second.epoch + 1));
    assert_eq!(settled(&mut client, 0).await, ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_transaction_waits_for_the_markers_of_the_last() {
    let (_broker, mut client) = setup().await;
    let mut producer = begin(&mut client).await;
    for number in 0..20 {
        write(&mut client, producer, number % 3, 0, &number.to_string()).await;
        producer = commit(&mut client, producer).await;
    }
    assert_eq!(settled(&mut client, 1).await, ["1", "4", "7", "10", "13", "16", "19"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_client_adds_partitions_and_keeps_its_epoch() {
    let (_broker, mut client) = setup().await;
    let response = init(&mut client, None, 1).await;
    let producer = Producer { id: response.producer_id, epoch: response.producer_epoch };
    for (sequence, version) in (0..).zip(3..=11) {
        let added = add_partitions(&mut client, producer, TOPIC, &[0, 1], version.min(3)).await;
        assert_eq!(codes(&added), [0, 0]);
        let answer = produce(&mut client, producer, 0, sequence, "x", version).await;
        assert_eq!(answer.error_code, 0, "v{version}: {:?}", answer.error_message);
        let response = end(&mut client, producer, true, version.min(4)).await;
        assert_eq!((response.error_code, response.producer_id), (0, -1));
    }
    assert_eq!(settled(&mut client, 0).await.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_was_not_added_is_refused_in_the_clients_terms() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    add_partitions(&mut client, producer, TOPIC, &[1], 3).await;
    for (version, expected) in
        [(11, ErrorCode::TransactionAbortable), (10, ErrorCode::InvalidTxnState)]
    {
        let answer = produce(&mut client, producer, 0, 0, "x", version).await;
        assert_eq!(answer.error_code, code(expected), "v{version}");
    }
    let without_id =
        ProduceRequest { transactional_id: None, ..produce_request(producer, 1, 0, "x") };
    let response = client.call(&without_id, 12).await.unwrap();
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    assert_eq!(response.responses[0].partition_responses[0].error_code, code(refused));
}

#[tokio::test(start_paused = true)]
async fn verification_may_be_switched_off_for_older_clients() {
    let (_broker, mut client) =
        start(&[("transaction.partition.verification.enable", "false")]).await;
    create(&mut client, TOPIC, 3).await;
    find_coordinator(&mut client).await;
    let producer = begin(&mut client).await;
    let answer = produce(&mut client, producer, 0, 0, "x", 11).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_two_producers_is_refused() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    let other = Producer { id: producer.id + 7, ..producer };
    let mut request = produce_request(producer, 0, 0, "x");
    let data = PartitionProduceData { index: 1, records: Some(records(other, 0, "y", true)) };
    request.topic_data[0].partition_data.push(data);
    let response = client.call(&request, 12).await.unwrap();
    for answer in &response.responses[0].partition_responses {
        assert_eq!(answer.error_code, code(ErrorCode::InvalidProducerIdMapping));
    }
    assert_eq!(describe(&mut client).await.transaction_state, "Empty");
}

#[tokio::test(start_paused = true)]
async fn producers_that_were_fenced_are_told_in_the_terms_of_their_version() {
    let (_broker, mut client) = setup().await;
    let old = begin(&mut client).await;
    let new = begin(&mut client).await;
    assert_eq!(new.epoch, old.epoch + 1);
    let fenced = code(ErrorCode::ProducerFenced);
    let older = code(ErrorCode::InvalidProducerEpoch);
    assert_eq!(init(&mut client, Some(old), 3).await.error_code, older);
    assert_eq!(init(&mut client, Some(old), 4).await.error_code, fenced);
    for (version, expected) in [(1, older), (2, fenced), (5, fenced)] {
        assert_eq!(end(&mut client, old, true, version).await.error_code, expected);
    }
    for (version, expected) in [(1, older), (2, fenced), (3, fenced)] {
        let added = add_partitions(&mut client, old, TOPIC, &[0], version).await;
        assert_eq!(codes(&added), [expected]);
    }
    // A partition is fenced by an epoch, not by a coordinator.
    let answer = produce(&mut client, old, 0, 0, "x", 12).await;
    assert_eq!(answer.error_code, older);
}

#[tokio::test(start_paused = true)]
async fn partitions_that_do_not_exist_keep_all_out() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    let added = add_partitions(&mut client, producer, TOPIC, &[0, 9], 3).await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes(&added), [code(ErrorCode::OperationNotAttempted), unknown]);
    let added = add_partitions(&mut client, producer, "nowhere", &[0], 3).await;
    assert_eq!(codes(&added), [unknown]);
    assert_eq!(describe(&mut client).await.transaction_state, "Empty");
}

#[tokio::test(start_paused = true)]
async fn brokers_add_and_verify_for_several_transactions_at_once() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    let transaction = |verify_only, partitions: &[i32]| AddPartitionsToTxnTransaction {
        transactional_id: ID.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic {
            name: TOPIC.to_owned(),
            partitions: partitions.to_vec(),
        }],
    };
    let unknown = AddPartitionsToTxnTransaction {
        transactional_id: "other".to_owned(),
        ..transaction(false, &[0])
    };
    let request = AddPartitionsToTxnRequest {
        transactions: vec![transaction(false, &[0]), unknown],
        ..Default::default()
    };
    let response = client.call(&request, 5).await.unwrap();
    let of = |response: &AddPartitionsToTxnResponse, at: usize| -> Vec<i16> {
        let topics = response.results_by_transaction[at].topic_results.iter();
        topics
            .flat_map(|topic| &topic.results_by_partition)
            .map(|partition| partition.partition_error_code)
            .collect()
    };
    assert_eq!(of(&response, 0), [0]);
    assert_eq!(of(&response, 1), [code(ErrorCode::InvalidProducerIdMapping)]);
    let request = AddPartitionsToTxnRequest {
        transactions: vec![transaction(true, &[0, 1])],
        ..Default::default()
    };
    let response = client.call(&request, 4).await.unwrap();
    assert_eq!(of(&response, 0), [0, code(ErrorCode::TransactionAbortable)]);
}

/// TXN-4.
#[tokio::test(start_paused = true)]
async fn late_requests_do_not_reach_the_next_transaction() {
    let (_broker, mut client) = setup().await;
    let first = begin(&mut client).await;
    write(&mut client, first, 0, 0, "a").await;
    let second = commit(&mut client, first).await;
    write(&mut client, second, 0, 0, "b").await;
    let late = produce(&mut client, first, 0, 1, "late", 12).await;
    assert_eq!(late.error_code, code(ErrorCode::InvalidProducerEpoch));
    let late = produce(&mut client, first, 1, 0, "late", 12).await;
    assert_eq!(late.error_code, code(ErrorCode::InvalidProducerEpoch));
    let fenced = code(ErrorCode::ProducerFenced);
    assert_eq!(end(&mut client, first, true, 5).await.error_code, fenced);
    assert_eq!(end(&mut client, first, false, 5).await.error_code, fenced);
    commit(&mut client, second).await;
    assert_eq!(settled(&mut client, 0).await, ["a", "b"]);
    assert_eq!(settled(&mut client, 1).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_repeated() {
    let (_broker, mut client) = setup().await;
    let first = begin(&mut client).await;
    write(&mut client, first, 0, 0, "a").await;
    let second = commit(&mut client, first).await;
    settled(&mut client, 0).await;
    assert_eq!(commit(&mut client, first).await, second);
}

#[tokio::test(start_paused = true)]
async fn a_new_producer_aborts_what_the_old_one_left_open() {
    let (_broker, mut client) = setup().await;
    let old = begin(&mut client).await;
    write(&mut client, old, 0, 0, "lost").await;
    let concurrent = code(ErrorCode::ConcurrentTransactions);
    assert_eq!(init(&mut client, None, 5).await.error_code, concurrent);
    let new = begin(&mut client).await;
    assert_eq!(new.epoch, old.epoch + 2);
    let late = produce(&mut client, old, 0, 1, "late", 12).await;
    assert_eq!(late.error_code, code(ErrorCode::InvalidProducerEpoch));
    write(&mut client, new, 0, 0, "kept").await;
    commit(&mut client, new).await;
    assert_eq!(settled(&mut client, 0).await, ["kept"]);
}

/// TXN-3.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    write(&mut client, producer, 0, 0, "lost").await;
    let (_, stable) = committed(&mut client, 0).await;
    assert_eq!(stable, 0);
    tokio::time::sleep(Duration::from_millis(60_100)).await;
    assert_eq!(settled(&mut client, 0).await, [""; 0]);
    assert_eq!(committed(&mut client, 0).await.1, 2);
    let ended = end(&mut client, producer, true, 5).await;
    assert_eq!(ended.error_code, code(ErrorCode::InvalidTxnState));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_does_not_keep_a_transaction_open() {
    let (_broker, mut client) = setup().await;
    create(&mut client, "doomed", 1).await;
    let producer = begin(&mut client).await;
    write(&mut client, producer, 0, 0, "a").await;
    let added = add_partitions(&mut client, producer, "doomed", &[0], 3).await;
    assert_eq!(codes(&added), [0]);
    let name = Some("doomed".to_owned());
    let topics = vec![DeleteTopicState { name, ..Default::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.call(&request, 6).await.unwrap().responses[0].error_code, 0);
    commit(&mut client, producer).await;
    assert_eq!(settled(&mut client, 0).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_completes_what_was_decided_and_keeps_what_is_open() {
    for committed in [true, false] {
        let world = World::new(7).await.unwrap();
        let broker = world.start(&[]).await.unwrap();
        let mut client = broker.connect();
        create(&mut client, TOPIC, 3).await;
        find_coordinator(&mut client).await;
        let first = begin(&mut client).await;
        write(&mut client, first, 0, 0, "a").await;
        write(&mut client, first, 2, 0, "b").await;
        // The markers may or may not be there when the broker goes.
        let second = end(&mut client, first, committed, 5).await;
        assert_eq!(second.error_code, 0);
        broker.stop().await;

        let broker = world.start(&[]).await.unwrap();
        let mut client = broker.connect();
        find_coordinator(&mut client).await;
        let expected: &[&str] = if committed { &["a"] } else { &[] };
        assert_eq!(settled(&mut client, 0).await, expected);
        let second = Producer { id: second.producer_id, epoch: second.producer_epoch };
        write(&mut client, second, 0, 0, "c").await;
        broker.stop().await;

        let broker = world.start(&[]).await.unwrap();
        let mut client = broker.connect();
        find_coordinator(&mut client).await;
        assert_eq!(describe(&mut client).await.transaction_state, "Ongoing");
        write(&mut client, second, 0, 1, "d").await;
        commit(&mut client, second).await;
        let expected: &[&str] = if committed { &["a", "c", "d"] } else { &["c", "d"] };
        assert_eq!(settled(&mut client, 0).await, expected);
        broker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_ends_a_transaction_that_hangs() {
    let (_broker, mut client) = setup().await;
    let producer = begin(&mut client).await;
    write(&mut client, producer, 0, 0, "lost").await;
    let marker = |topic: &str, indexes: &[i32], epoch| WritableTxnMarker {
        producer_id: producer.id,
        producer_epoch: epoch,
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic {
            name: topic.to_owned(),
            partition_indexes: indexes.to_vec(),
        }],
        coordinator_epoch: 0,
        transaction_version: 0,
    };
    let markers =
        vec![marker(TOPIC, &[0, 9], producer.epoch), marker("nowhere", &[0], producer.epoch)];
    let response = client.call(&WriteTxnMarkersRequest { markers }, 1).await.unwrap();
    let codes: Vec<Vec<i16>> = response
        .markers
        .iter()
        .map(|marker| marker.topics[0].partitions.iter().map(|p| p.error_code).collect())
        .collect();
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes, [vec![0, unknown], vec![unknown]]);
    assert_eq!(committed(&mut client, 0).await, (vec![], 2));
}

#[tokio::test(start_paused = true)]
async fn tools_see_the_transaction_and_its_partitions() {
    let (_broker, mut client) = setup().await;
    let not_found = code(ErrorCode::TransactionalIdNotFound);
    assert_eq!(describe(&mut client).await.error_code, not_found);
    let producer = begin(&mut client).await;
    write(&mut client, producer, 0, 0, "a").await;
    write(&mut client, producer, 2, 0, "a").await;
    let shown = describe(&mut client).await;
    assert_eq!((shown.error_code, shown.transaction_state.as_str()), (0, "Ongoing"));
    assert_eq!((shown.producer_id, shown.producer_epoch), (producer.id, producer.epoch));
    assert_eq!(shown.transaction_timeout_ms, TIMEOUT_MS);
    assert_eq!(shown.topics[0].partitions, [0, 2]);

    let list = |states: &[&str], pattern: Option<&str>| ListTransactionsRequest {
        state_filters: states.iter().map(|&state| state.to_owned()).collect(),
        producer_id_filters: Vec::new(),
        duration_filter: -1,
        transactional_id_pattern: pattern.map(str::to_owned),
    };
    let response = client.call(&list(&["Ongoing", "Odd"], Some("a.p")), 2).await.unwrap();
    assert_eq!(response.unknown_state_filters, ["Odd"]);
    assert_eq!(response.transaction_states[0].transactional_id, ID);
    assert_eq!(response.transaction_states[0].producer_id, producer.id);
    let response = client.call(&list(&["Empty"], None), 0).await.unwrap();
    assert!(response.transaction_states.is_empty());
    let response = client.call(&list(&[], Some("(")), 2).await.unwrap();
    assert_eq!(response.error_code, code(ErrorCode::InvalidRegularExpression));
}
