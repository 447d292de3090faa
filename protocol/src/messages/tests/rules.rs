//! The rules for nulls, versions, tags and trailing bytes, one message each.

use bytes::Bytes;

use super::{super::*, decode_all, encode};
use crate::{
    codec::{DecodeError, EncodeError, Reader, Records, SPLICE_BYTES_MIN, Writer},
    messages::{
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData},
        metadata::{MetadataRequest, MetadataRequestTopic},
        produce::ProduceRequest,
    },
};

fn decode<M: Message>(bytes: &'static [u8], version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(Bytes::from_static(bytes)), version)
}

fn encode_error<M: Message>(message: &M, version: i16) -> EncodeError {
    message.encode(&mut Writer::new(), version).expect_err("it cannot be encoded")
}

#[test]
fn a_version_outside_the_definition_is_refused_both_ways() {
    let (message, version) = (ProduceRequest::NAME, 2);
    assert_eq!(
        decode::<ProduceRequest>(b"", 2),
        Err(DecodeError::UnsupportedVersion { message, version })
    );
    assert_eq!(
        encode_error(&ProduceRequest::default(), 2),
        EncodeError::UnsupportedVersion { message, version }
    );
}

#[test]
fn a_field_that_the_version_lacks_is_dropped_only_if_ignorable() {
    let ignorable = FetchRequest { rack_id: "a".into(), ..FetchRequest::default() };
    assert_eq!(decode_all::<FetchRequest>(&encode(&ignorable, 4), 4).rack_id, "");
    let needed = FetchRequest { replica_id: 3, ..FetchRequest::default() };
    assert_eq!(
        encode_error(&needed, 15),
        EncodeError::UnsupportedField { message: "FetchRequest", field: "replica_id", version: 15 }
    );
}

#[test]
fn null_is_refused_where_the_version_does_not_allow_it() {
    let all_topics = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(encode_error(&all_topics, 0), EncodeError::NullField { field: "topics" });
    assert_eq!(decode_all::<MetadataRequest>(&encode(&all_topics, 1), 1).topics, None);
    let null = decode::<MetadataRequest>(&[0xff; 4], 0);
    assert_eq!(null, Err(DecodeError::NullField { field: "topics" }));
}

#[test]
fn any_negative_length_is_null_as_in_kafka() {
    let request = decode::<MetadataRequest>(&[0x80, 0, 0, 0], 1).unwrap();
    assert_eq!(request.topics, None);
}

#[test]
fn overlong_varints_are_refused() {
    let body = [0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    let result = ApiVersionsRequest::decode(&mut Reader::new(body.to_vec().into()), 3);
    assert_eq!(result, Err(DecodeError::OverlongVarint));
}

#[test]
fn invalid_utf8_is_replaced_as_in_kafka() {
    let request = decode::<ApiVersionsRequest>(b"\x03a\xff\x01\0", 3).unwrap();
    assert_eq!(request.client_software_name, "a\u{fffd}");
}

#[test]
fn trailing_bytes_are_left_alone_as_in_kafka() {
    let mut reader = Reader::new(Bytes::from_static(b"\x02a\x02b\0rest"));
    let request = ApiVersionsRequest::decode(&mut reader, 3).unwrap();
    assert_eq!(request.client_software_version, "b");
    assert_eq!(reader.rest().as_ref(), b"rest");
}

#[test]
fn unknown_tagged_fields_are_skipped_and_known_ones_checked() {
    let request = decode::<ApiVersionsRequest>(b"\x02a\x02b\x01\x63\x03xyz", 3).unwrap();
    assert_eq!(encode(&request, 3).as_ref(), b"\x02a\x02b\0");
    // Tag 3, zk_migration_ready, is one byte; three are announced.
    let result = decode::<ApiVersionsResponse>(b"\0\0\x01\0\0\0\0\x01\x03\x03\x01\0\0", 3);
    assert_eq!(result, Err(DecodeError::TaggedFieldSize { tag: 3, announced: 3, actual: 1 }));
}

#[test]
fn tagged_fields_at_their_defaults_are_not_written() {
    let plain = encode(&ApiVersionsResponse::default(), 3);
    assert_eq!(plain.as_ref(), b"\0\0\x01\0\0\0\0\0");
    let epoch =
        ApiVersionsResponse { finalized_features_epoch: 1, ..ApiVersionsResponse::default() };
    assert_eq!(encode(&epoch, 3).as_ref(), b"\0\0\x01\0\0\0\0\x01\x01\x08\0\0\0\0\0\0\0\x01");
}

#[test]
fn strings_beyond_32767_bytes_are_refused() {
    let name = "x".repeat(32_768);
    let request = ApiVersionsRequest { client_software_name: name, ..Default::default() };
    let field = "client_software_name";
    assert_eq!(encode_error(&request, 3), EncodeError::TooLong { field, length: 32_768 });
}

#[test]
fn records_go_out_in_the_slices_they_came_in() {
    let slices: Vec<Bytes> = (0..3).map(|fill| vec![fill; SPLICE_BYTES_MIN].into()).collect();
    let records = Some(slices.iter().cloned().collect::<Records>());
    let partitions = vec![PartitionData { records, ..PartitionData::default() }];
    let responses = vec![FetchableTopicResponse { partitions, ..Default::default() }];
    let response = FetchResponse { responses, ..FetchResponse::default() };
    let mut writer = Writer::new();
    response.encode(&mut writer, 17).unwrap();
    let encoded = writer.finish();
    for slice in &slices {
        assert!(
            encoded.pieces().iter().any(|piece| piece.bytes().unwrap().as_ptr() == slice.as_ptr())
        );
    }
    let frame = encoded.to_bytes();
    let decoded: FetchResponse = decode_all(&frame, 17);
    assert_eq!(decoded, response);
    let decoded = decoded.responses[0].partitions[0].records.clone().unwrap();
    assert!(frame.as_ptr_range().contains(&decoded.to_bytes().as_ptr()), "decoding copied");
}

#[test]
fn topic_names_are_nullable_from_the_version_that_has_ids() {
    let topic = MetadataRequestTopic { name: None, ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    assert_eq!(encode_error(&request, 9), EncodeError::NullField { field: "name" });
    assert_eq!(decode_all::<MetadataRequest>(&encode(&request, 12), 12), request);
}
