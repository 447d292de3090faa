//! A real S3 server (versitygw) on loopback, with one bucket, which can be killed and started
//! again.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const ACCESS_KEY: &str = "testkey";
const SECRET_KEY: &str = "testsecret";

/// The server's process over a directory; ended when dropped.
#[derive(Debug)]
pub struct S3Server {
    program: PathBuf,
    data: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl S3Server {
    /// Starts it on a free port with the bucket `bucket`, its objects as files under `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let script = crate::source_dir().join("../scripts/versitygw.sh");
        let found = Command::new(script).output()?;
        ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let program = PathBuf::from(String::from_utf8(found.stdout)?.trim());
        let data = dir.join("s3");
        std::fs::create_dir_all(data.join("bucket"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { program, data, port, process: None };
        server.restart()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The broker's settings to use it.
    pub fn settings(&self) -> [String; 2] {
        Self::settings_at(self.port)
    }

    /// The same through a proxy.
    pub fn settings_at(port: u16) -> [String; 2] {
        [
            "streamhouse.object.store.url=s3://bucket/cluster".to_owned(),
            format!(
                "streamhouse.object.store.options=endpoint=http://127.0.0.1:{},region=us-east-1,\
                 access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY},allow_http=true",
                port
            ),
        ]
    }

    /// The same for readers of Delta tables, as JSON.
    pub fn reader_options(&self) -> String {
        format!(
            r#"{{"AWS_ENDPOINT_URL":"http://127.0.0.1:{}","AWS_REGION":"us-east-1","AWS_ACCESS_KEY_ID":"{ACCESS_KEY}","AWS_SECRET_ACCESS_KEY":"{SECRET_KEY}","AWS_ALLOW_HTTP":"true"}}"#,
            self.port
        )
    }

    /// How many objects it holds, and their bytes together.
    pub fn usage(&self) -> Result<(u64, u64)> {
        let (mut objects, mut bytes) = (0, 0);
        let mut open = vec![self.data.join("bucket")];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    objects += 1;
                    bytes += entry.metadata()?.len();
                }
            }
        }
        Ok((objects, bytes))
    }

    /// Ends it at once: an outage.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Starts it again on the same port over the same objects.
    pub fn restart(&mut self) -> Result<()> {
        let process = Command::new(&self.program)
            .env("ROOT_ACCESS_KEY", ACCESS_KEY)
            .env("ROOT_SECRET_KEY", SECRET_KEY)
            .args(["--port", &format!("127.0.0.1:{}", self.port), "--keep-alive", "--quiet"])
            .arg("posix")
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start versitygw")?;
        self.process = Some(process);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            ensure!(Instant::now() < deadline, "versitygw does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
