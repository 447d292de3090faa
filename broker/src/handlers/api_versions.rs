//! ApiVersions (key 18, v0–v4): which APIs in which versions, and the feature levels.
//!
//! KIP-35, KIP-511 (client software, answer to versions that do not exist yet), KIP-584
//! (features). Advertised is what dispatch serves. Not supported: nothing.

use std::sync::Arc;

use protocol::{
    ApiKey, ErrorCode,
    messages::api_versions::{
        ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey,
        SupportedFeatureKey,
    },
};

use crate::{
    acl::Access,
    context::{Broker, ClientSoftware, RequestContext},
    dispatch,
    features::{FEATURES, FINALIZED_FEATURES_EPOCH, Feature},
    handler::{Api, Handler},
};

/// The first version that carries the client's software name and version.
const SOFTWARE_SINCE: i16 = 3;
/// The first version whose clients can read a feature with minimum level 0 (KAFKA-17492).
const LEVEL_0_SINCE: i16 = 4;

/// The handler.
#[derive(Debug)]
pub(crate) struct ApiVersions;

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    fn resources(_: &ApiVersionsRequest) -> Vec<Access> {
        Vec::new()
    }

    fn error_response(_: &ApiVersionsRequest, error: ErrorCode) -> ApiVersionsResponse {
        ApiVersionsResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for ApiVersions {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: ApiVersionsRequest,
    ) -> ApiVersionsResponse {
        if context.api_version >= SOFTWARE_SINCE {
            if !is_software(&request.client_software_name)
                || !is_software(&request.client_software_version)
            {
                broker.metrics.error(ApiKey::ApiVersions, ErrorCode::InvalidRequest);
                return Self::error_response(&request, ErrorCode::InvalidRequest);
            }
            // A connection says it once; a client that says it again changes nothing.
            let _ = context.connection.software.set(ClientSoftware {
                name: request.client_software_name,
                version: request.client_software_version,
            });
        }
        supported(context.api_version)
    }
}

/// The answer, in version 0, to a version that does not exist yet: it names the range of this API
/// alone (KIP-511).
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![advertised(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn supported(version: i16) -> ApiVersionsResponse {
    let readable = |feature: &&Feature| version >= LEVEL_0_SINCE || feature.min_level > 0;
    ApiVersionsResponse {
        api_keys: dispatch::SERVED.iter().map(|api| advertised(*api)).collect(),
        supported_features: FEATURES
            .iter()
            .filter(readable)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.to_owned(),
                min_version: feature.min_level,
                max_version: feature.max_level,
            })
            .collect(),
        finalized_features_epoch: FINALIZED_FEATURES_EPOCH,
        finalized_features: FEATURES
            .iter()
            .map(|feature| FinalizedFeatureKey {
                name: feature.name.to_owned(),
                max_version_level: feature.finalized_level,
                min_version_level: feature.finalized_level,
            })
            .collect(),
        ..Default::default()
    }
}

fn advertised(api: ApiKey) -> ApiVersion {
    ApiVersion {
        api_key: api.code(),
        min_version: api.min_version(),
        max_version: api.max_version(),
    }
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().copied().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for good in ["a", "apache-kafka-java", "4.3.1", "librdkafka", "v2.11.0-RC1"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "ä", "a\n"] {
            assert!(!is_software(bad), "{bad}");
        }
    }

    #[test]
    fn every_advertised_range_is_kafkas() {
        for key in supported(4).api_keys {
            let api = ApiKey::try_from(key.api_key).expect("advertised keys are known");
            assert_eq!((key.min_version, key.max_version), (api.min_version(), api.max_version()));
        }
    }

    #[test]
    fn metadata_version_is_supported_and_finalized_as_in_4_3() {
        let response = supported(3);
        let supported: Vec<_> = response.supported_features.iter().collect();
        assert_eq!(supported.len(), 1);
        assert_eq!(
            (supported[0].name.as_str(), supported[0].min_version, supported[0].max_version),
            ("metadata.version", 7, 30)
        );
        assert_eq!(response.finalized_features[0].max_version_level, 30);
        assert_eq!(response.finalized_features_epoch, 0);
        assert!(!response.zk_migration_ready);
    }

    /// KAFKA-17011: clients before v4 cannot read a minimum of 0.
    #[test]
    fn group_version_is_told_to_clients_that_can_read_its_range() {
        let names = |version| -> Vec<_> {
            let response = supported(version);
            response.supported_features.into_iter().map(|feature| feature.name).collect()
        };
        assert!(!names(3).contains(&"group.version".to_owned()));
        assert!(names(4).contains(&"group.version".to_owned()));
        let finalized = supported(3).finalized_features;
        let group = finalized.iter().find(|feature| feature.name == "group.version");
        assert_eq!(group.map(|feature| feature.max_version_level), Some(1));
    }
}
