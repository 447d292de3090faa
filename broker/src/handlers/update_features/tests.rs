//! UpdateFeatures: only the levels in force are accepted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{handlers::test_support::start, testing::Client};

async fn update(
    client: &mut Client,
    feature: &str,
    max_version_level: i16,
    upgrade_type: i8,
    version: i16,
) -> UpdateFeaturesResponse {
    let request = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level,
            upgrade_type,
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&request, version).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_level_in_force_is_accepted_in_every_version() {
    let (_broker, mut client) = start(&[]).await;
    for version in 0..=2 {
        for feature in FEATURES {
            let (name, level) = (feature.name, feature.finalized_level);
            let response = update(&mut client, name, level, UPGRADE, version).await;
            assert_eq!((response.error_code, response.error_message), (0, None));
            assert_eq!(response.results.len(), usize::from(version < 2));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kafka() {
    let (_broker, mut client) = start(&[]).await;
    let cases = [
        ("nope", 1, UPGRADE, "Local controller 1 does not support this feature."),
        ("nope", 0, UNSAFE_DOWNGRADE, "Feature nope not found."),
        ("metadata.version", 99, UPGRADE, "Local controller 1 only supports versions 7-30"),
        ("metadata.version", 30, 0, "The controller does not support the given upgrade type."),
        (
            "metadata.version",
            29,
            UPGRADE,
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        ),
        (
            "metadata.version",
            29,
            UNSAFE_DOWNGRADE,
            "The level of this release is 30, and it cannot be changed.",
        ),
    ];
    for (feature, level, upgrade_type, why) in cases {
        let response = update(&mut client, feature, level, upgrade_type, 2).await;
        assert_eq!(response.error_code, ErrorCode::InvalidUpdateVersion.code());
        assert_eq!(
            response.error_message.unwrap(),
            format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {level} for feature {feature}. {why}"
            )
        );
    }
}
