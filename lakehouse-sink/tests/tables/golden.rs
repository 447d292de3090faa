//! What a commit of the sink says, line by line.

use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};
use serde_json::Value;

use crate::support::Lake;

/// Replaces what differs from run to run by what kind of thing it is.
fn normalised(value: &mut Value) {
    match value {
        Value::Object(object) => {
            // Statistics come in the order of a hash map.
            object.sort_keys();
            for (name, value) in object {
                match name.as_str() {
                    "path" => *value = "PATH".into(),
                    "size" => *value = "SIZE".into(),
                    "id" => *value = "ID".into(),
                    "timestamp" | "modificationTime" | "createdTime" | "lastUpdated" => {
                        *value = "TIME".into();
                    }
                    "clientVersion" | "engine" => *value = "VERSION".into(),
                    "appId" => {
                        let id = value.as_str().unwrap_or_default().to_owned();
                        let parts: Vec<_> = id.split('/').collect();
                        *value = format!("{}/TOPIC/{}", parts[0], parts[2..].join("/")).into();
                    }
                    // JSON within JSON.
                    "stats" | "schemaString" => {
                        let text = value.as_str().unwrap_or("null");
                        *value = serde_json::from_str(text).unwrap();
                        normalised(value);
                    }
                    // The same as the actions that follow.
                    "location" => *value = "LOCATION".into(),
                    "metadata" if value.is_string() => *value = "METADATA".into(),
                    _ => normalised(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(normalised),
        _ => {}
    }
}

/// The commits of a table, as their lines.
async fn commits(lake: &Lake, directory: &str) -> String {
    let log = Path::from(format!("cluster/{directory}/_delta_log"));
    let found = lake.faults.list_with_delimiter(Some(&log)).await.unwrap().objects;
    let mut names: Vec<_> = found.into_iter().map(|meta| meta.location).collect();
    names.sort();
    let mut text = String::new();
    for name in names.iter().filter(|name| name.as_ref().ends_with(".json")) {
        text.push_str(&format!("{}\n", name.filename().unwrap()));
        let bytes = lake.faults.get(name).await.unwrap().bytes().await.unwrap();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mut action: Value = serde_json::from_str(line).unwrap();
            normalised(&mut action);
            text.push_str(&format!("  {action}\n"));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_say_what_they_said() {
    let lake = Lake::new(2, &[]).await;
    lake.produce(0, &[r#"{"carrier":"UA","delay":2}"#, r#"{"carrier":"AA","delay":null}"#]).await;
    lake.produce(1, &[r#"{"carrier":"DL","delay":-3}"#]).await;
    let running = lake.sink();
    lake.caught_up(&running).await;
    lake.produce(1, &[r#"{"carrier":"DL","at":{"lat":1.5}}"#]).await;
    lake.caught_up(&running).await;
    let directory = lake.table(&running).await.directory();
    let found = commits(&lake, &directory).await;
    let expected = include_str!("golden/commits.txt");
    assert!(found == expected, "the commits are now:\n{found}");
}
