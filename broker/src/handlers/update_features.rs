//! UpdateFeatures (key 57, v0–v2): the levels are those of the release, so only a request for the
//! level in force succeeds (KIP-584, KIP-778).

use std::sync::Arc;

use protocol::{
    ErrorCode,
    messages::update_features::{
        FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
    },
};

use crate::{
    acl::{Access, Operation, Resource},
    context::{Broker, RequestContext},
    features::FEATURES,
    handler::{Api, Handler},
};

/// Kafka's `FeatureUpdate.UpgradeType.UPGRADE`.
const UPGRADE: i8 = 1;
/// Kafka's `FeatureUpdate.UpgradeType.UNSAFE_DOWNGRADE`, the last of them.
const UNSAFE_DOWNGRADE: i8 = 3;

/// The handler.
#[derive(Debug)]
pub(crate) struct UpdateFeatures;

impl Api for UpdateFeatures {
    type Request = UpdateFeaturesRequest;

    fn resources(_: &UpdateFeaturesRequest) -> Vec<Access> {
        vec![Access::new(Operation::Alter, Resource::Cluster)]
    }

    fn error_response(_: &UpdateFeaturesRequest, error: ErrorCode) -> UpdateFeaturesResponse {
        refused(error, error.message().to_owned())
    }
}

impl Handler for UpdateFeatures {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: UpdateFeaturesRequest,
    ) -> UpdateFeaturesResponse {
        let updates = &request.feature_updates;
        if let Err(why) = updates.iter().try_for_each(|update| check(broker, update)) {
            let error = ErrorCode::InvalidUpdateVersion;
            broker.metrics.error(context.api_key, error);
            return refused(
                error,
                format!(
                    "The update failed for all features since the following feature had an \
                     error: {why}"
                ),
            );
        }
        // Version 2 says nothing about each feature.
        let results = match context.api_version {
            0 | 1 => updates.iter().map(succeeded).collect(),
            _ => Vec::new(),
        };
        UpdateFeaturesResponse { results, error_message: None, ..Default::default() }
    }
}

fn check(broker: &Broker, update: &FeatureUpdateKey) -> Result<(), String> {
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    let invalid =
        |why: &str| Err(format!("Invalid update version {level} for feature {name}. {why}"));
    let controller = format!("Local controller {}", broker.node_id);
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
        // Of a feature that is not there everybody supports level 0, so Kafka looks it up first.
        return if level == 0 {
            invalid(&format!("Feature {name} not found."))
        } else {
            invalid(&format!("{controller} does not support this feature."))
        };
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&update.upgrade_type) {
        return invalid("The controller does not support the given upgrade type.");
    }
    if !(feature.min_level..=feature.max_level).contains(&level) {
        let (min, max) = (feature.min_level, feature.max_level);
        return invalid(&format!("{controller} only supports versions {min}-{max}"));
    }
    if level == feature.finalized_level {
        return Ok(());
    }
    let is_upgrade_only = update.upgrade_type == UPGRADE && !update.allow_downgrade;
    if level < feature.finalized_level && is_upgrade_only {
        return invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        );
    }
    invalid(&format!(
        "The level of this release is {}, and it cannot be changed.",
        feature.finalized_level
    ))
}

fn succeeded(update: &FeatureUpdateKey) -> UpdatableFeatureResult {
    UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: ErrorCode::None.code(),
        error_message: Some(ErrorCode::None.name().to_owned()),
    }
}

fn refused(error: ErrorCode, why: String) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: error.code(),
        error_message: Some(why),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
