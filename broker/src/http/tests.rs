//! The endpoints over real sockets, through the phases of a process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::Ipv4Addr;

use common::clock::SystemClock;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use super::*;
use crate::testing::World;

struct Http {
    address: SocketAddr,
    status: Status,
    _stop: oneshot::Sender<()>,
}

impl Http {
    async fn start() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder().handle();
        let status = Status::new(recorder, SystemClock::shared());
        let listener = HttpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = listener.serve(status.clone(), Router::new(), async {
            let _ = stopped.await;
        });
        tokio::spawn(async move { serving.await.unwrap() });
        Self { address, status, _stop: stop }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (code, body)
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (code, body) = self.get(path).await;
        (code, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn is_live_from_the_start_and_ready_only_while_serving() {
    let http = Http::start().await;
    assert_eq!(http.json("/live").await.0, 200);
    let (code, body) = http.json("/ready").await;
    assert_eq!((code, body["status"].as_str()), (503, Some("starting")));

    let broker = World::new(1).await.unwrap().start(&[]).await.unwrap();
    http.status.serving(Arc::clone(&broker.broker));
    let (code, body) = http.json("/ready").await;
    assert_eq!((code, body["status"].as_str()), (200, Some("ready")));

    http.status.stopping();
    let (code, body) = http.json("/ready").await;
    assert_eq!((code, body["status"].as_str()), (503, Some("stopping")));
    assert_eq!(http.json("/live").await.0, 200);
}

#[tokio::test]
async fn health_names_the_broker() {
    let http = Http::start().await;
    let (code, body) = http.json("/health").await;
    assert_eq!((code, body["status"].as_str()), (503, Some("starting")));

    let broker = World::new(1).await.unwrap().start(&[]).await.unwrap();
    http.status.serving(Arc::clone(&broker.broker));
    broker.connect().create_topics(&["a"]).await.unwrap();
    let (code, body) = http.json("/health").await;
    assert_eq!(code, 200);
    assert_eq!(body["node_id"], broker.broker.node_id.0);
    assert_eq!(body["cluster_id"], broker.broker.cluster_id.as_str());
    assert_eq!((body["topics"].as_u64(), body["partitions"].as_u64()), (Some(1), Some(1)));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let http = Http::start().await;
    let (code, _) = http.get("/metrics").await;
    assert_eq!(code, 200);
    assert_eq!(http.get("/nothing").await.0, 404);
}
