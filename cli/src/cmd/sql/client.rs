//! A client of the broker's HTTP API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::base_url;

/// How long a broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks to one broker.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: url::Url,
}

impl Client {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .context("making an HTTP client")?;
        Ok(Self { http, base: base_url(url)? })
    }

    /// Runs a statement; its rows in a format of the API.
    pub(super) async fn query(&self, sql: &str, format: &str) -> anyhow::Result<Vec<u8>> {
        let url = self.base.join("/api/v1/query")?;
        let body = serde_json::json!({ "sql": sql, "format": format }).to_string();
        let response = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .with_context(|| self.hint())?;
        let is_success = response.status().is_success();
        let bytes = response.bytes().await.context("the answer broke off")?;
        if is_success {
            return Ok(bytes.to_vec());
        }
        let failure: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        match (failure["error"].as_str(), failure["sql_state"].as_str()) {
            (Some(error), Some(state)) => bail!("{error} [SQLSTATE {state}]"),
            _ => bail!("unexpected answer: {}", String::from_utf8_lossy(&bytes)),
        }
    }

    /// The names of the tables.
    pub(super) async fn tables(&self) -> anyhow::Result<Vec<String>> {
        let url = self.base.join("/api/v1/tables")?;
        let response = self.http.get(url).send().await.with_context(|| self.hint())?;
        let list: Value = serde_json::from_slice(&response.bytes().await?)?;
        let tables = list["tables"].as_array().cloned().unwrap_or_default();
        Ok(tables.iter().filter_map(|table| Some(table["name"].as_str()?.to_owned())).collect())
    }

    fn hint(&self) -> String {
        format!("no broker answers at {} (--url names another)", self.base)
    }
}
