//! From a session's answer to the response: partitions grouped by topic, leaders named.

use protocol::{
    ErrorCode,
    messages::fetch::{
        FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
    },
};
use uuid::Uuid;

use super::resolve;
use crate::{
    context::Broker,
    fetch_session::{FetchKey, SessionAnswer, TopicRef},
};

/// The first version whose answer names the current leader (KIP-951).
const CURRENT_LEADER_SINCE: i16 = 16;

pub(super) fn build(broker: &Broker, version: i16, answer: SessionAnswer) -> FetchResponse {
    let mut response = FetchResponse {
        error_code: answer.error.code(),
        session_id: answer.session_id,
        ..Default::default()
    };
    let mut last: Option<TopicRef> = None;
    for (key, mut data) in answer.partitions {
        if version >= CURRENT_LEADER_SINCE && wants_leader(&data) {
            name_leader(broker, &key, &mut data, &mut response.node_endpoints);
        }
        if last.as_ref() == Some(&key.topic)
            && let Some(topic) = response.responses.last_mut()
        {
            topic.partitions.push(data);
            continue;
        }
        let (topic, topic_id) = match &key.topic {
            TopicRef::Name(name) => (name.to_string(), Uuid::nil()),
            TopicRef::Id(id) => (String::new(), *id),
        };
        last = Some(key.topic);
        response.responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] });
    }
    response
}

fn wants_leader(data: &PartitionData) -> bool {
    data.error_code == ErrorCode::NotLeaderOrFollower.code()
        || data.error_code == ErrorCode::FencedLeaderEpoch.code()
}

fn name_leader(
    broker: &Broker,
    key: &FetchKey,
    data: &mut PartitionData,
    endpoints: &mut Vec<NodeEndpoint>,
) {
    let Ok((topic, _)) = resolve(&broker.catalog.image(), key) else { return };
    let Some(leader) = topic.leader(key.partition) else { return };
    data.current_leader =
        LeaderIdAndEpoch { leader_id: leader.node_id.0, leader_epoch: leader.epoch.0 };
    if leader.node_id == broker.node_id && endpoints.is_empty() {
        let options = broker.options();
        endpoints.push(NodeEndpoint {
            node_id: broker.node_id.0,
            host: options.advertised.host.clone(),
            port: i32::from(options.advertised.port),
            rack: options.rack.clone(),
        });
    }
}
