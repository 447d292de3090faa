//! A real S3 server (versitygw) for the tests: on loopback, on a free port, in a directory that
//! goes with it, ended by its process id.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A running server with one bucket. Dropping it ends it.
pub(crate) struct S3Server {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl S3Server {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/versitygw.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "versitygw is not there and could not be installed");
        let binary = String::from_utf8(found.stdout).unwrap();
        // The port may be taken between the probe and the start: then another one is tried.
        for _ in 0..10 {
            if let Some(server) = Self::start_on_free_port(binary.trim()).await {
                return server;
            }
        }
        panic!("versitygw did not start");
    }

    async fn start_on_free_port(binary: &str) -> Option<Self> {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir_all(data.join("bucket")).unwrap();
        let process = Command::new(binary)
            .env("ROOT_ACCESS_KEY", "testkey")
            .env("ROOT_SECRET_KEY", "testsecret")
            .args(["--port", &format!("127.0.0.1:{port}"), "--keep-alive", "--quiet", "posix"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { process, port, _directory: directory };
        for _ in 0..500 {
            if server.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// The settings that reach it.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        [
            ("aws_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("aws_access_key_id", "testkey".to_owned()),
            ("aws_secret_access_key", "testsecret".to_owned()),
            ("aws_region", "us-east-1".to_owned()),
            ("allow_http", "true".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
