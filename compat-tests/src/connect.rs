//! Kafka Connect's workers in distributed mode: started on a free port, spoken to over REST,
//! killed and started again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::service::Service;
use crate::wait::until;

/// Longest wait for a worker to serve REST requests, on a machine that does much else.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for a group of workers that is rebalancing to take a request.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the answer to one request; workers give up after 90 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(100);
/// What the group answers while it is rebalancing or behind on its configurations.
const CONFLICT: u16 = 409;

/// One worker. It has another port, and so another id, after each start.
#[derive(Debug)]
pub struct Worker {
    properties: PathBuf,
    starts: u32,
    service: Option<Service>,
    address: String,
}

impl Worker {
    /// Starts the worker `name` with its files in `dir`; [`Self::await_serving`] has to follow.
    /// `settings` are lines of a properties file; the REST port is free.
    pub fn launch(dir: &Path, name: &str, settings: &[String]) -> Result<Self> {
        let properties = dir.join(format!("{name}.properties"));
        let lines = settings.join("\n") + "\nlisteners=http://127.0.0.1:0\n";
        std::fs::write(&properties, lines)?;
        let mut worker = Self { properties, starts: 0, service: None, address: String::new() };
        worker.relaunch()?;
        Ok(worker)
    }

    /// Starts it again after [`Self::kill`].
    pub fn relaunch(&mut self) -> Result<()> {
        ensure!(self.service.is_none(), "the worker still runs");
        self.starts += 1;
        let log = self.properties.with_extension(format!("{}.log", self.starts));
        let class = "org.apache.kafka.connect.cli.ConnectDistributed";
        self.service = Some(Service::start(class, &[&self.properties], &log)?);
        Ok(())
    }

    /// Waits until it is a member of its group and answers.
    pub fn await_serving(&mut self) -> Result<()> {
        let service = self.service.as_mut().context("the worker does not run")?;
        self.address = until("a worker's port", START_TIMEOUT, || {
            service.check()?;
            let log = service.log();
            let listening = log.split_once("REST server listening at http://");
            let address = listening.and_then(|(_, rest)| rest.split_once('/'));
            Ok(match address {
                Some((address, _)) => Ok(address.to_owned()),
                None => Err("it is not in the log".to_owned()),
            })
        })?;
        until("a worker that answers", START_TIMEOUT, || {
            self.service.as_mut().context("the worker does not run")?.check()?;
            Ok(match self.request("GET", "/connectors", None) {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            })
        })
    }

    /// How the group's statuses name it.
    pub fn id(&self) -> &str {
        &self.address
    }

    /// Whether it has not been killed.
    pub fn is_up(&self) -> bool {
        self.service.is_some()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.service.take().context("the worker does not run")?.kill()
    }

    /// Its process.
    pub fn service(&self) -> Result<&Service> {
        self.service.as_ref().context("the worker does not run")
    }

    /// The answer's body, an error if it is none of success; waits while the group is rebalancing.
    pub fn ok(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.answer(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    /// Status and body of the answer; waits while the group is rebalancing.
    pub fn answer(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        until(&format!("{method} {path}"), REBALANCE_TIMEOUT, || {
            Ok(match self.request(method, path, body)? {
                (CONFLICT, answer) => Err(answer.to_string()),
                other => Ok(other),
            })
        })
    }

    /// One request of HTTP 1.0, whose answer ends with the connection.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        write!(
            socket,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no header and body")?;
        let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
        let body = if body.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).with_context(|| answer.clone())?
        };
        Ok((status, body))
    }
}
