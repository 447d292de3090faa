//! A client of the broker's HTTP API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use super::{base_url, progress::Progress};

/// How long a broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// When a query counts as long.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// How often its progress is asked for then.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// The header with a query's id.
const ID_HEADER: &str = "streamhouse-query-id";

/// Speaks to one broker.
#[derive(Debug)]
pub(in crate::cmd) struct Client {
    http: reqwest::Client,
    base: url::Url,
    timeout: Option<Duration>,
}

/// An error of the API, as people read it.
fn shown(failure: &Value) -> Option<String> {
    let (error, state) = (failure["error"].as_str()?, failure["sql_state"].as_str()?);
    Some(format!("{error} [SQLSTATE {state}]"))
}

impl Client {
    pub(in crate::cmd) fn new(url: &str, timeout: Option<Duration>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .context("making an HTTP client")?;
        Ok(Self { http, base: base_url(url)?, timeout })
    }

    /// Runs a statement; its rows in a format of the API. Meanwhile `progress` is called now and
    /// then, where there is one.
    pub(super) async fn query(
        &self,
        sql: &str,
        format: &str,
        mut progress: Option<Progress>,
    ) -> anyhow::Result<Vec<u8>> {
        let url = self.base.join("/api/v1/query")?;
        let mut body = serde_json::json!({ "sql": sql, "format": format });
        if let Some(timeout) = self.timeout {
            body["timeout_ms"] = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).into();
        }
        let response = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .with_context(|| self.hint())?;
        let is_success = response.status().is_success();
        let id = response.headers().get(ID_HEADER).and_then(|id| id.to_str().ok()?.parse().ok());
        let read = response.bytes();
        let read = match (&mut progress, id) {
            (Some(progress), Some(id)) => tokio::select! {
                read = read => read,
                never = self.watch(id, progress) => match never {},
            },
            _ => read.await,
        };
        drop(progress);
        let bytes = match (read, id) {
            (Ok(bytes), _) => bytes,
            (Err(error), id) => match self.failure(id).await {
                Some(failure) => bail!(failure),
                None => return Err(error).context("the answer broke off"),
            },
        };
        if is_success {
            return Ok(bytes.to_vec());
        }
        let failure = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        match shown(&failure) {
            Some(failure) => bail!(failure),
            None => bail!("unexpected answer: {}", String::from_utf8_lossy(&bytes)),
        }
    }

    /// Shows how far a query is until its answer is there.
    async fn watch(&self, id: u64, progress: &mut Progress) -> std::convert::Infallible {
        sleep(PROGRESS_AFTER).await;
        loop {
            if let Some(query) = self.state(id).await {
                let number = |name: &str| query[name].as_u64().unwrap_or(0);
                progress.show(number("elapsed_ms"), number("rows_read"), number("rows"));
            }
            sleep(PROGRESS_INTERVAL).await;
        }
    }

    /// Why an answer broke off, if the broker knows.
    async fn failure(&self, id: Option<u64>) -> Option<String> {
        shown(&self.state(id?).await?)
    }

    async fn state(&self, id: u64) -> Option<Value> {
        let url = self.base.join(&format!("/api/v1/queries/{id}")).ok()?;
        let response = self.http.get(url).send().await.ok()?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    /// The names of the tables.
    pub(super) async fn tables(&self) -> anyhow::Result<Vec<String>> {
        let list = self.call(Method::GET, "/api/v1/tables", None).await?;
        let tables = list["tables"].as_array().cloned().unwrap_or_default();
        Ok(tables.iter().filter_map(|table| Some(table["name"].as_str()?.to_owned())).collect())
    }

    /// Calls an endpoint that takes and gives JSON, or nothing.
    pub(in crate::cmd) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, self.base.join(path)?);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.with_context(|| self.hint())?;
        let is_success = response.status().is_success();
        let bytes = response.bytes().await.context("the answer broke off")?;
        let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if is_success {
            return Ok(answer);
        }
        match shown(&answer) {
            Some(failure) => bail!(failure),
            None => bail!("unexpected answer: {}", String::from_utf8_lossy(&bytes)),
        }
    }

    fn hint(&self) -> String {
        format!("no broker answers at {} (--url names another)", self.base)
    }
}
