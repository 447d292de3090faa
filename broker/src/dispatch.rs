//! From an API key to its handler: the only `match`, and what is advertised is exactly what it
//! lists, in the versions of Kafka 4.3.1's table.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::memory::Reservation;
use futures::future::BoxFuture;
use protocol::{
    ApiKey, DecodeError, Encoded, Message, Reader, Request, RequestHeader, frame::encode_response,
};
use tracing::error;

use crate::{
    connection::Close,
    context::{Broker, ConnectionInfo, RequestContext},
    handler::{Api, Handler, Pipelined, Reply, Response},
    handlers,
};

/// How requests of one API are served.
#[derive(Debug)]
pub(crate) struct Route {
    /// The API.
    pub(crate) api: ApiKey,
    /// Whether the next request may begin before this one is answered.
    pub(crate) pipelined: bool,
    /// Whether work stops when the client goes away.
    pub(crate) cancelled_by_disconnect: bool,
    /// Bytes to reserve for a frame of a length.
    pub(crate) memory_estimate: fn(usize) -> usize,
    min_version: i16,
    max_version: i16,
    serve: Serve,
}

type Serve = fn(Arc<Broker>, RequestContext, Reader) -> BoxFuture<'static, Result<Served, Close>>;

/// What became of a request.
pub(crate) enum Served {
    /// It is finished.
    Answer(Answer),
    /// Its order is fixed, its answer comes later.
    Later(BoxFuture<'static, Answer>),
}

/// What goes back to the client.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An encoded frame, and the memory that its records hold until it is written.
    Response { response: Encoded, held: Vec<Reservation> },
    /// No response.
    Nothing,
    /// No response, and the connection ends.
    Close,
    /// The handler's response does not fit the version: a bug, and the connection ends.
    Unencodable,
}

macro_rules! routes {
    ($($kind:ident $api:ident => $handler:ty;)*) => {
        /// The APIs that are served, and so advertised, ascending.
        pub(crate) const SERVED: &[ApiKey] = &[$(ApiKey::$api),*];

        /// The route of an API, if it is served.
        pub(crate) fn route(api: ApiKey) -> Option<&'static Route> {
            match api {
                $(ApiKey::$api => {
                    static ROUTE: Route = $kind::<$handler>();
                    Some(&ROUTE)
                })*
                _ => None,
            }
        }
    };
}

routes! {
    pipelined Produce => handlers::produce::Produce;
    exclusive Fetch => handlers::fetch::Fetch;
    exclusive ListOffsets => handlers::list_offsets::ListOffsets;
    exclusive Metadata => handlers::metadata::Metadata;
    pipelined OffsetCommit => handlers::offset_commit::OffsetCommit;
    exclusive OffsetFetch => handlers::offset_fetch::OffsetFetch;
    exclusive FindCoordinator => handlers::find_coordinator::FindCoordinator;
    pipelined JoinGroup => handlers::join_group::JoinGroup;
    exclusive Heartbeat => handlers::heartbeat::Heartbeat;
    exclusive LeaveGroup => handlers::leave_group::LeaveGroup;
    pipelined SyncGroup => handlers::sync_group::SyncGroup;
    exclusive DescribeGroups => handlers::describe_groups::DescribeGroups;
    exclusive ListGroups => handlers::list_groups::ListGroups;
    exclusive ApiVersions => handlers::api_versions::ApiVersions;
    exclusive CreateTopics => handlers::create_topics::CreateTopics;
    exclusive DeleteTopics => handlers::delete_topics::DeleteTopics;
    exclusive DeleteRecords => handlers::delete_records::DeleteRecords;
    exclusive InitProducerId => handlers::init_producer_id::InitProducerId;
    exclusive OffsetForLeaderEpoch => handlers::offset_for_leader_epoch::OffsetForLeaderEpoch;
    exclusive AddPartitionsToTxn => handlers::add_partitions_to_txn::AddPartitionsToTxn;
    exclusive AddOffsetsToTxn => handlers::add_offsets_to_txn::AddOffsetsToTxn;
    exclusive EndTxn => handlers::end_txn::EndTxn;
    exclusive WriteTxnMarkers => handlers::write_txn_markers::WriteTxnMarkers;
    exclusive TxnOffsetCommit => handlers::txn_offset_commit::TxnOffsetCommit;
    exclusive DescribeAcls => handlers::describe_acls::DescribeAcls;
    exclusive CreateAcls => handlers::create_acls::CreateAcls;
    exclusive DeleteAcls => handlers::delete_acls::DeleteAcls;
    exclusive DescribeConfigs => handlers::describe_configs::DescribeConfigs;
    exclusive AlterConfigs => handlers::alter_configs::AlterConfigs;
    exclusive DescribeLogDirs => handlers::describe_log_dirs::DescribeLogDirs;
    exclusive CreatePartitions => handlers::create_partitions::CreatePartitions;
    exclusive DeleteGroups => handlers::delete_groups::DeleteGroups;
    exclusive ElectLeaders => handlers::elect_leaders::ElectLeaders;
    exclusive IncrementalAlterConfigs => handlers::incremental_alter_configs::IncrementalAlterConfigs;
    exclusive AlterPartitionReassignments => handlers::alter_partition_reassignments::AlterPartitionReassignments;
    exclusive ListPartitionReassignments => handlers::list_partition_reassignments::ListPartitionReassignments;
    exclusive OffsetDelete => handlers::offset_delete::OffsetDelete;
    exclusive DescribeQuorum => handlers::describe_quorum::DescribeQuorum;
    exclusive UpdateFeatures => handlers::update_features::UpdateFeatures;
    exclusive DescribeCluster => handlers::describe_cluster::DescribeCluster;
    exclusive DescribeProducers => handlers::describe_producers::DescribeProducers;
    exclusive DescribeTransactions => handlers::describe_transactions::DescribeTransactions;
    exclusive ListTransactions => handlers::list_transactions::ListTransactions;
    exclusive ConsumerGroupHeartbeat => handlers::consumer_group_heartbeat::ConsumerGroupHeartbeat;
    exclusive ConsumerGroupDescribe => handlers::consumer_group_describe::ConsumerGroupDescribe;
    exclusive ListConfigResources => handlers::list_config_resources::ListConfigResources;
    exclusive DescribeTopicPartitions => handlers::describe_topic_partitions::DescribeTopicPartitions;
}

const fn exclusive<H: Handler>() -> Route {
    let mut route = declared::<H>(serve_exclusive::<H>);
    route.cancelled_by_disconnect = H::CANCELLED_BY_DISCONNECT;
    route
}

const fn pipelined<H: Pipelined + 'static>() -> Route {
    let mut route = declared::<H>(serve_pipelined::<H>);
    route.pipelined = true;
    route
}

/// Served are the versions that Kafka advertises and the message definitions have: Produce 0–2 is
/// advertised for librdkafka's sake and refused when it comes (KIP-896, KAFKA-18659).
const fn declared<H: Api>(serve: Serve) -> Route {
    let api = <H::Request as Request>::API_KEY;
    let defined = <H::Request as Message>::MIN_VERSION;
    Route {
        api,
        pipelined: false,
        cancelled_by_disconnect: false,
        memory_estimate: H::memory_estimate,
        min_version: if defined > api.min_version() { defined } else { api.min_version() },
        max_version: api.max_version(),
        serve,
    }
}

impl Route {
    /// Whether a request of this version is read at all. ApiVersions is in any version: it is how
    /// a newer client finds out what the broker speaks (KIP-511).
    pub(crate) fn accepts(&self, version: i16) -> bool {
        self.has(version) || self.api == ApiKey::ApiVersions
    }

    fn has(&self, version: i16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }
}

/// Decodes the header of a request that `route` accepts, and begins it.
pub(crate) fn serve(
    broker: &Arc<Broker>,
    connection: &Arc<ConnectionInfo>,
    route: &'static Route,
    request: Bytes,
) -> Result<BoxFuture<'static, Result<Served, Close>>, Close> {
    let mut reader = Reader::new(request);
    let header = RequestHeader::decode(&mut reader)?;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    if !route.has(version) {
        return Ok(Box::pin(std::future::ready(Ok(unsupported_version(broker, correlation_id)))));
    }
    let context = RequestContext::new(header, Arc::clone(connection));
    Ok((route.serve)(Arc::clone(broker), context, reader))
}

/// The fall-back of KIP-511: an answer of version 0 that names the versions of ApiVersions.
fn unsupported_version(broker: &Broker, correlation_id: i32) -> Served {
    let response = handlers::api_versions::unsupported_version();
    let context = (ApiKey::ApiVersions, 0, correlation_id);
    Served::Answer(encode::<handlers::api_versions::ApiVersions>(
        broker,
        context,
        &response,
        Vec::new(),
    ))
}

fn serve_exclusive<H: Handler>(
    broker: Arc<Broker>,
    context: RequestContext,
    reader: Reader,
) -> BoxFuture<'static, Result<Served, Close>> {
    Box::pin(async move {
        let (serving, request) = Serving::begin::<H>(broker, context, reader)?;
        let response = H::handle(&serving.broker, &serving.context, request).await;
        Ok(Served::Answer(serving.finish::<H>(Reply::Response(response))))
    })
}

fn serve_pipelined<H: Pipelined + 'static>(
    broker: Arc<Broker>,
    context: RequestContext,
    reader: Reader,
) -> BoxFuture<'static, Result<Served, Close>> {
    Box::pin(async move {
        let (serving, request) = Serving::begin::<H>(broker, context, reader)?;
        let reply = H::begin(&serving.broker, &serving.context, request).await;
        Ok(Served::Later(Box::pin(async move { serving.finish::<H>(reply.await) })))
    })
}

/// A request that is being served.
struct Serving {
    broker: Arc<Broker>,
    context: RequestContext,
    started: Duration,
}

impl Serving {
    /// Decodes the body and lets go of the frame.
    fn begin<H: Api>(
        broker: Arc<Broker>,
        context: RequestContext,
        mut reader: Reader,
    ) -> Result<(Self, H::Request), DecodeError> {
        let started = broker.clock.monotonic();
        let request = H::Request::decode(&mut reader, context.api_version)?;
        Ok((Self { broker, context, started }, request))
    }

    fn finish<H: Api>(self, reply: Reply<Response<H>>) -> Answer {
        let Self { broker, context, started } = self;
        let answer = match reply {
            Reply::Response(response) => {
                encode::<H>(&broker, context.version_of(), &response, context.take_held())
            }
            Reply::Nothing => Answer::Nothing,
            Reply::Close => Answer::Close,
        };
        let took = broker.clock.monotonic().saturating_sub(started);
        broker.metrics.request(context.api_key, took);
        answer
    }
}

fn encode<H: Api>(
    broker: &Broker,
    (api, version, correlation_id): (ApiKey, i16, i32),
    response: &Response<H>,
    held: Vec<Reservation>,
) -> Answer {
    match encode_response::<H::Request>(response, version, correlation_id) {
        Ok(response) => {
            broker.metrics.bytes_out(response.len());
            Answer::Response { response, held }
        }
        Err(error) => {
            error!(%api, version, %error, "a handler's response cannot be encoded");
            Answer::Unencodable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_api_has_a_route_of_its_own_key() {
        for api in SERVED {
            assert_eq!(route(*api).map(|route| route.api), Some(*api));
        }
        assert!(SERVED.is_sorted());
    }

    #[test]
    fn produce_below_3_is_advertised_but_not_served() {
        let produce = route(ApiKey::Produce).map(|route| (route.accepts(2), route.accepts(3)));
        assert_eq!(produce, Some((false, true)));
        assert_eq!(ApiKey::Produce.min_version(), 0);
    }
}
