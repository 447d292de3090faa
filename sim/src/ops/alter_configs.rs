//! IncrementalAlterConfigs: changes a topic's durability class.

use broker::testing::Client;
use protocol::{
    ErrorCode,
    messages::incremental_alter_configs::{
        AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    },
};

use super::{Lost, call, code, unexpected};
use crate::{history::History, invariants::Violation};

const VERSION: i16 = 1;
const TOPIC: i8 = 2;
const SET: i8 = 0;

/// The request.
#[must_use]
pub fn request(topic: &str, durability: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig {
        name: "streamhouse.durability".to_owned(),
        config_operation: SET,
        value: Some(durability.to_owned()),
    };
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: topic.to_owned(),
        configs: vec![config],
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

/// Changes the class. What was visible before stays visible, which every read checks.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn set_durability(
    client: &mut Client,
    history: &History,
    topic: &str,
    durability: &str,
) -> Result<(), Lost> {
    history.event(&format!("set durability of {topic} to {durability}"));
    let response = call(client, &request(topic, durability), VERSION).await?;
    let Some(answer) = response.responses.first() else {
        history.violate(Violation::protocol("IncrementalAlterConfigs has no answer".to_owned()));
        return Err(Lost);
    };
    let code = history.check(code("IncrementalAlterConfigs", answer.error_code)).ok_or(Lost)?;
    history.event(&format!("set durability of {topic}: {}", code.name()));
    match code {
        ErrorCode::None => {
            history.trace.mark(&format!("sim: class {durability}"));
            Ok(())
        }
        ErrorCode::RequestTimedOut | ErrorCode::NotController => Ok(()),
        other => {
            history.violate(unexpected("IncrementalAlterConfigs", other));
            Err(Lost)
        }
    }
}
