//! Produce (key 0, v3–v13): appends record batches to partitions.
//!
//! KIP-98 (idempotence, transactions), KIP-467 (record errors), KIP-516 (topic ids), KIP-890
//! (verified transactions), KIP-896 (v0–v2 advertised and refused), KIP-951 (current leader).
//! Pipelined: the append fixes the order, the answer waits for what `acks` asks. A transactional
//! batch is verified before it is appended, and the connection's next produce waits for that.

mod transaction;

use std::{pin::Pin, sync::Arc, time::Duration};

use protocol::{
    ApiKey, ErrorCode, Records,
    messages::produce::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
        PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
        TopicProduceResponse,
    },
    records::{BatchHeader, ProducePolicy, ValidatedRecords, ValidationError, validate_produce},
};
use storage::{Acks, AppendOrigin, Appended, Partition, Ticket, VerificationGuard};
use tokio::time::{Sleep, timeout};
use tracing::{debug, info};

use self::transaction::Verdicts;
use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog::{CatalogImage, TopicEntry},
    context::{Broker, RequestContext},
    handler::{Api, Finish, MEMORY_ESTIMATE_BASE, Pipelined, Reply},
    topic_name,
};

/// The first version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// The first version whose answer names the current leader.
const CURRENT_LEADER_SINCE: i16 = 10;
/// The client that Kafka lets write to internal topics (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// An offset or a timestamp that is not known.
const UNKNOWN: i64 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct Produce;

impl Api for Produce {
    type Request = ProduceRequest;

    fn resources(request: &ProduceRequest) -> Vec<Access> {
        let transactional_id = request.transactional_id.iter().cloned();
        let topics = request.topic_data.iter().map(|topic| {
            if topic.topic_id.is_nil() {
                Resource::Topic(topic.name.clone())
            } else {
                Resource::TopicId(topic.topic_id.into())
            }
        });
        let resources = transactional_id.map(Resource::TransactionalId).chain(topics);
        resources.map(|resource| Access::new(Operation::Write, resource)).collect()
    }

    /// The records stay slices of the frame until the log has copied them.
    fn memory_estimate(frame_bytes: usize) -> usize {
        frame_bytes.saturating_add(MEMORY_ESTIMATE_BASE)
    }

    fn error_response(request: &ProduceRequest, error: ErrorCode) -> ProduceResponse {
        let refuse = |topic: &TopicProduceData| TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: topic
                .partition_data
                .iter()
                .map(|data| Refusal::from(error).answer(data.index))
                .collect(),
        };
        ProduceResponse {
            responses: request.topic_data.iter().map(refuse).collect(),
            ..Default::default()
        }
    }
}

impl Pipelined for Produce {
    async fn begin(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ProduceRequest,
    ) -> Finish<ProduceResponse> {
        let request_timeout =
            Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or_default());
        let deadline = Box::pin(tokio::time::sleep(request_timeout));
        let finishing = Finishing {
            broker: Arc::clone(broker),
            version: context.api_version,
            silent: request.acks == 0,
            client: context.client_id.clone(),
        };
        let verified = match &request.transactional_id {
            None => Ok(Verdicts::default()),
            Some(id) => {
                let verified = transaction::verify(broker, context, &request, id);
                timeout(request_timeout, verified).await.unwrap_or(Err(ErrorCode::RequestTimedOut))
            }
        };
        let topics = match verified {
            Err(error) => refuse_all(broker, context, &request, error),
            Ok(verdicts) => match admit(broker, &request, request_timeout).await {
                Ok((acks, _permit)) => append_all(broker, context, request, acks, verdicts),
                Err(error) => refuse_all(broker, context, &request, error),
            },
        };
        Box::pin(finishing.finish(topics, deadline))
    }
}

/// What phase 1 leaves of one topic.
struct TopicAppends {
    response: TopicProduceResponse,
    /// Per partition of `response`: what the acknowledgement waits for.
    tickets: Vec<Option<Ticket>>,
}

/// Why one partition's records are not in the log.
struct Refusal {
    error: ErrorCode,
    message: Option<String>,
    record_errors: Vec<BatchIndexAndErrorMessage>,
    log_start_offset: i64,
}

/// Checks `acks` and waits until the log takes the request's bytes (design D13).
async fn admit(
    broker: &Broker,
    request: &ProduceRequest,
    request_timeout: Duration,
) -> Result<(Acks, impl Drop + use<>), ErrorCode> {
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return Err(ErrorCode::InvalidRequiredAcks),
    };
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let bytes = partitions.filter_map(|data| data.records.as_ref()).map(Records::len).sum();
    match timeout(request_timeout, broker.log.admit(bytes)).await {
        Ok(Ok(permit)) => Ok((acks, permit)),
        Ok(Err(refused)) => Err(error::append(&refused)),
        Err(_) => Err(ErrorCode::RequestTimedOut),
    }
}

fn refuse_all(
    broker: &Broker,
    context: &RequestContext,
    request: &ProduceRequest,
    error: ErrorCode,
) -> Vec<TopicAppends> {
    // A retry gets over a full log, but not over a request that makes no sense.
    if error != ErrorCode::InvalidRequiredAcks {
        note_turned_away(broker, context, request);
    }
    let response = Produce::error_response(request, error);
    let topics = response.responses.into_iter().map(|response| TopicAppends {
        tickets: response.partition_responses.iter().map(|_| None).collect(),
        response,
    });
    topics.collect()
}

fn append_all(
    broker: &Broker,
    context: &RequestContext,
    request: ProduceRequest,
    acks: Acks,
    verdicts: Verdicts,
) -> Vec<TopicAppends> {
    let image = broker.catalog.image();
    let mut append = Append {
        broker,
        context,
        image: &image,
        acks,
        transactional: request.transactional_id.is_some(),
        verdicts,
        now_ms: broker.clock.now_ms(),
    };
    let topics = request.topic_data.into_iter().enumerate();
    topics.map(|(place, topic)| append.topic(place, topic)).collect()
}

/// Tells the partitions of idempotent batches that they were not even tried.
fn note_turned_away(broker: &Broker, context: &RequestContext, request: &ProduceRequest) {
    let image = broker.catalog.image();
    for data in &request.topic_data {
        let topic = if context.api_version >= TOPIC_IDS_SINCE {
            image.by_id(data.topic_id.into())
        } else {
            image.by_name(&data.name)
        };
        let Some(topic) = topic else { continue };
        for data in &data.partition_data {
            let first = data.records.iter().flat_map(Records::chunks).next();
            let header = first.and_then(|bytes| BatchHeader::parse(bytes).ok());
            if let (Some(partition), Some(header)) = (topic.partition(data.index), header) {
                partition.turned_away(&header);
            }
        }
    }
}

/// Phase 1 of one request.
struct Append<'a> {
    broker: &'a Broker,
    context: &'a RequestContext,
    image: &'a CatalogImage,
    acks: Acks,
    transactional: bool,
    verdicts: Verdicts,
    now_ms: i64,
}

impl<'a> Append<'a> {
    fn topic(&mut self, place: usize, data: TopicProduceData) -> TopicAppends {
        let resolved = self.resolve(&data);
        let mut partition_responses = Vec::with_capacity(data.partition_data.len());
        let mut tickets = Vec::with_capacity(data.partition_data.len());
        for partition_data in data.partition_data {
            let index = partition_data.index;
            let verdict = self.verdicts.take(place, index);
            let appended = resolved.and_then(|at| Ok((at, verdict?))).map_err(Refusal::from);
            let appended = appended.and_then(|((topic, policy), guard)| {
                self.partition(topic, &policy, partition_data, guard)
            });
            match appended {
                Ok(appended) => {
                    partition_responses.push(accepted(index, &appended));
                    tickets.push(Some(appended.ticket));
                }
                Err(refusal) => {
                    partition_responses.push(refusal.answer(index));
                    tickets.push(None);
                }
            }
        }
        let (name, topic_id) = (data.name, data.topic_id);
        TopicAppends {
            response: TopicProduceResponse { name, topic_id, partition_responses },
            tickets,
        }
    }

    fn resolve(
        &self,
        data: &TopicProduceData,
    ) -> Result<(&'a TopicEntry, ProducePolicy), ErrorCode> {
        let topic = if self.context.api_version >= TOPIC_IDS_SINCE {
            self.image.by_id(data.topic_id.into()).ok_or(ErrorCode::UnknownTopicId)
        } else {
            self.image.by_name(&data.name).ok_or(ErrorCode::UnknownTopicOrPartition)
        }?;
        if topic_name::is_internal(&topic.topic.name) && self.context.client_id != ADMIN_CLIENT_ID {
            return Err(ErrorCode::InvalidTopicException);
        }
        let decompressed_bytes_max = self.broker.options().decompressed_bytes_max;
        let version = self.context.api_version;
        Ok((topic, topic.log_config.produce_policy(version, decompressed_bytes_max)))
    }

    fn partition(
        &self,
        topic: &TopicEntry,
        policy: &ProducePolicy,
        data: PartitionProduceData,
        guard: Option<VerificationGuard>,
    ) -> Result<Appended, Refusal> {
        let partition = topic.partition(data.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let records = data.records.unwrap_or_default().to_bytes();
        let validated = validate_produce(&records, policy, self.now_ms)
            .map_err(|refused| Refusal::invalid(refused, partition))?;
        self.check_transaction(&validated)?;
        let origin = AppendOrigin::Client;
        partition.append_as(validated, self.acks, origin, guard).map_err(|refused| {
            let code = error::append(&refused);
            debug!(topic = %topic.topic.name, partition = data.index, %refused, "append refused");
            Refusal { message: Some(refused.to_string()), ..Refusal::from(code) }
        })
    }

    /// A transactional batch is for those who may use a transactional id.
    fn check_transaction(&self, records: &ValidatedRecords) -> Result<(), Refusal> {
        if records.header.is_transactional() && !self.transactional {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed.into());
        }
        Ok(())
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self { error, message: None, record_errors: Vec::new(), log_start_offset: UNKNOWN }
    }
}

impl Refusal {
    /// As Kafka, with the log start where the records were to blame.
    fn invalid(refused: ValidationError, partition: &Partition) -> Self {
        let blame = |violation: protocol::records::RecordViolation| BatchIndexAndErrorMessage {
            batch_index: violation.batch_index,
            batch_index_error_message: Some(violation.message),
        };
        let log_start_offset =
            if refused.record_errors.is_empty() { UNKNOWN } else { partition.offsets().log_start };
        Self {
            error: error::validation(&refused),
            message: Some(refused.message),
            record_errors: refused.record_errors.into_iter().map(blame).collect(),
            log_start_offset,
        }
    }

    fn answer(self, index: i32) -> PartitionProduceResponse {
        PartitionProduceResponse {
            index,
            error_code: self.error.code(),
            base_offset: UNKNOWN,
            log_append_time_ms: UNKNOWN,
            log_start_offset: self.log_start_offset,
            record_errors: self.record_errors,
            error_message: self.message,
            ..Default::default()
        }
    }
}

fn accepted(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: ErrorCode::None.code(),
        base_offset: appended.base_offset,
        log_append_time_ms: appended.log_append_time.unwrap_or(UNKNOWN),
        log_start_offset: appended.log_start_offset,
        error_message: None,
        ..Default::default()
    }
}

/// Phase 2 of one request.
struct Finishing {
    broker: Arc<Broker>,
    version: i16,
    silent: bool,
    client: String,
}

impl Finishing {
    async fn finish(
        self,
        topics: Vec<TopicAppends>,
        mut deadline: Pin<Box<Sleep>>,
    ) -> Reply<ProduceResponse> {
        let mut response = ProduceResponse::default();
        for mut topic in topics {
            let answers = topic.response.partition_responses.iter_mut().zip(topic.tickets);
            for (answer, ticket) in answers {
                if let Some(ticket) = ticket {
                    await_ticket(answer, ticket, &mut deadline).await;
                }
                self.note_error(&topic.response.name, answer);
            }
            response.responses.push(topic.response);
        }
        let failed = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .any(|answer| answer.error_code != ErrorCode::None.code());
        match (self.silent, failed) {
            (false, true) => {
                self.name_leaders(&mut response);
                Reply::Response(response)
            }
            (false, false) => Reply::Response(response),
            (true, true) => {
                info!(client_id = self.client, "produce with acks=0 failed, closing connection");
                Reply::Close
            }
            (true, false) => Reply::Nothing,
        }
    }

    fn note_error(&self, topic: &str, answer: &PartitionProduceResponse) {
        let error = ErrorCode::try_from(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        if error != ErrorCode::None {
            self.broker.metrics.error(ApiKey::Produce, error);
            debug!(topic, partition = answer.index, error = error.name(), "produce failed");
        }
    }

    /// Spares a producer with old metadata one round trip (KIP-951).
    fn name_leaders(&self, response: &mut ProduceResponse) {
        if self.version < CURRENT_LEADER_SINCE {
            return;
        }
        let image = self.broker.catalog.image();
        let mut named = false;
        for topic in &mut response.responses {
            let entry = if topic.topic_id.is_nil() {
                image.by_name(&topic.name)
            } else {
                image.by_id(topic.topic_id.into())
            };
            let not_leader = ErrorCode::NotLeaderOrFollower.code();
            for answer in
                topic.partition_responses.iter_mut().filter(|a| a.error_code == not_leader)
            {
                let Some(leader) = entry.and_then(|entry| entry.leader(answer.index)) else {
                    continue;
                };
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: leader.node_id.0, leader_epoch: leader.epoch.0 };
                named |= leader.node_id == self.broker.node_id;
            }
        }
        if named {
            let options = self.broker.options();
            response.node_endpoints.push(NodeEndpoint {
                node_id: self.broker.node_id.0,
                host: options.advertised.host.clone(),
                port: i32::from(options.advertised.port),
                rack: options.rack.clone(),
            });
        }
    }
}

/// Waits for one acknowledgement. A time-out says nothing of the outcome: the offsets stay in the
/// answer, as in Kafka.
async fn await_ticket(
    answer: &mut PartitionProduceResponse,
    ticket: Ticket,
    deadline: &mut Pin<Box<Sleep>>,
) {
    let refused = tokio::select! {
        biased;
        acknowledged = ticket.wait() => match acknowledged {
            Ok(()) => return,
            Err(taken_back) => {
                let code = error::append(&taken_back);
                Refusal { message: Some(taken_back.to_string()), ..Refusal::from(code) }
            }
        },
        () = deadline => {
            answer.error_code = ErrorCode::RequestTimedOut.code();
            return;
        }
    };
    *answer = refused.answer(answer.index);
}

#[cfg(test)]
mod tests;
