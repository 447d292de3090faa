//! `streamhouse start`: one broker, from its flags to its last sync.
//!
//! The order up: configuration, data directory (locked), listeners (bound), HTTP (answering),
//! metadata, log, Kafka listener (accepting), ready file, banner. The order down is the reverse.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use broker::{
    config::{
        broker::{BrokerConfig, LogFormat},
        effective::Layers,
        sources::{ConfigErrors, Sources, StaticConfig},
    },
    context::Broker,
    http::{self, HttpListener, Status},
    server::{Listener, Server},
    start::{self, StartDeps},
};
use clap::{Args, ValueEnum};
use common::{
    clock::{SharedClock, SystemClock},
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use metadata::SqliteStore;
use query::{http::Slot, pg::PgListener};
use storage::{
    object_store::{ObjectStorage, StorageOptions},
    wal::OsWalFs,
};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::{
    banner::{self, Addresses},
    data_dir::DataDir,
    logging,
    ready_file::ReadyFile,
    signals::Signals,
    tables::Tables,
};

/// Flags of `streamhouse start`. Everything else is set with `-o`, in the environment or in a file;
/// `streamhouse config list` names the keys.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Directory of the log and the metadata [default: ./streamhouse-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address for Kafka clients; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR:PORT")]
    kafka: Option<String>,
    /// Address of SQL (/api/v1/query), /metrics, /health, /ready and /live [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<String>,
    /// Address of SQL for PostgreSQL clients [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDR:PORT")]
    postgres: Option<String>,
    /// File in the syntax of Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// File that gets {"pid", "kafka", "http", "postgres"} as JSON once the broker serves
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Start {
    /// Runs a broker until it is told to stop.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let static_config =
            StaticConfig::resolve(&self.sources()?).map_err(|errors| invalid(&errors))?;
        let static_config = Arc::new(static_config);
        let layers = Layers { static_config: Arc::clone(&static_config), ..Layers::default() };
        let config = BrokerConfig::new(&layers).map_err(|errors| invalid(&errors))?;
        logging::init(config.log_format, &config.log_level)?;
        for note in static_config.notes() {
            info!("{note}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("streamhouse")
            .build()
            .context("starting the runtime")?;
        runtime.block_on(Process { static_config, config }.run())
    }

    fn sources(&self) -> anyhow::Result<Sources> {
        let file = match &self.config {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                Some((path.display().to_string(), text))
            }
        };
        // A variable that is not text cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Sources { file, environment, flags: self.flags()? })
    }

    /// The flags as keys; `-o` comes last and so wins.
    fn flags(&self) -> anyhow::Result<Vec<(String, String, String)>> {
        // Absolute, so that they still mean the same if the working directory goes away.
        let path = |path: &PathBuf| {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        };
        let format = self.log_format.map(|format| match format {
            Format::Text => "text".to_owned(),
            Format::Json => "json".to_owned(),
        });
        let named = [
            ("--data", "streamhouse.data.dir", self.data.as_ref().map(path)),
            ("--kafka", "listeners", self.kafka.as_ref().map(|a| format!("PLAINTEXT://{a}"))),
            ("--http", "streamhouse.http.listener", self.http.clone()),
            ("--postgres", "streamhouse.postgres.listener", self.postgres.clone()),
            ("--ready-file", "streamhouse.ready.file", self.ready_file.as_ref().map(path)),
            ("--log-format", "streamhouse.log.format", format),
        ];
        let mut flags: Vec<_> = named
            .into_iter()
            .filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)))
            .collect();
        for option in &self.options {
            let (key, value) =
                option.split_once('=').ok_or_else(|| anyhow!("-o {option}: expected key=value"))?;
            flags.push((format!("-o {key}"), key.trim().to_owned(), value.to_owned()));
        }
        Ok(flags)
    }
}

fn invalid(errors: &ConfigErrors) -> anyhow::Error {
    anyhow!("invalid configuration\n{errors}")
}

/// A process that is about to become a broker.
struct Process {
    static_config: Arc<StaticConfig>,
    config: BrokerConfig,
}

impl Process {
    async fn run(self) -> anyhow::Result<()> {
        let clock = SystemClock::shared();
        let mut signals = Signals::listen()?;
        let data_dir = DataDir::open(&self.config.data_dir)?;
        let kafka = self.bind_kafka().await?;
        let http = self.bind_http().await?;
        let postgres = self.bind_postgres().await?;
        let addresses = Addresses {
            kafka: kafka.local_addr(),
            http: http.local_addr(),
            postgres: postgres.as_ref().map(PgListener::local_addr),
        };
        let spawner = Spawner::threads(Fatal::abort_process());
        let status = Status::new(http::install_recorder()?, Arc::clone(&clock));
        let (http_stop, http_stopped) = oneshot::channel::<()>();
        let sql = Slot::default();
        let serving = http.serve(status.clone(), query::http::router(Arc::clone(&sql)), async {
            // Also when the sender is gone: the process ends then.
            let _ = http_stopped.await;
        });
        let http_task = spawner.spawn("http", async move {
            if let Err(failure) = serving.await {
                error!(error = %failure, "the HTTP listener failed");
            }
        });

        let metadata =
            SqliteStore::open(&data_dir.metadata_file()).await.context("opening the metadata")?;
        let metadata = Arc::new(metadata.on_unknown_outcome(spawner.fatal().clone()).await);
        let url = self.object_store_url(&data_dir);
        let objects = Arc::new(self.objects(&url, &spawner, &clock).await?);
        let deps =
            self.deps(&data_dir, &metadata, &objects, &spawner, &clock, addresses.kafka.port())?;
        let broker = tokio::select! {
            started = start::start(deps) => started.context("starting the broker")?,
            signal = signals.next() => {
                info!(signal, "stopped before the start was complete");
                return Ok(());
            }
        };
        let tables = Tables::start(
            &broker,
            &objects,
            &url,
            &data_dir.spill()?,
            &self.config.query,
            (&clock, &spawner),
            (&sql, postgres),
        )?;
        Server::new(Arc::clone(&broker)).listen(kafka);
        status.serving(Arc::clone(&broker));
        let ready_file = self.announce(&broker, addresses, &data_dir, &clock)?;

        let signal = signals.next().await;
        info!(signal, "stopping; a second signal stops at once");
        status.stopping();
        drop(ready_file);
        tables.stop();
        tokio::select! {
            () = start::stop(&broker) => {}
            signal = signals.next() => {
                error!(signal, "second signal: stopping at once");
                std::process::exit(130);
            }
        }
        metadata.close().await.context("closing the metadata")?;
        // The listener may have failed before; it was reported then.
        let _ = http_stop.send(());
        let _ = http_task.await;
        info!("stopped");
        Ok(())
    }

    async fn bind_kafka(&self) -> anyhow::Result<Listener> {
        let listener = &self.config.listener;
        let address = resolve(&listener.bind_address())?;
        Listener::bind(&listener.name, address).await.with_context(|| {
            format!("binding {address} for Kafka clients (--kafka ADDR:PORT takes another, port 0 a free one)")
        })
    }

    async fn bind_http(&self) -> anyhow::Result<HttpListener> {
        let address = resolve(&self.config.http)?;
        HttpListener::bind(address).await.with_context(|| {
            format!(
                "binding {address} for HTTP (--http ADDR:PORT takes another, port 0 a free one)"
            )
        })
    }

    async fn bind_postgres(&self) -> anyhow::Result<Option<PgListener>> {
        let Some(address) = &self.config.postgres else { return Ok(None) };
        let address = resolve(address)?;
        let listener = PgListener::bind(address).await.with_context(|| {
            format!(
                "binding {address} for PostgreSQL clients (--postgres ADDR:PORT takes another, port 0 a free one)"
            )
        })?;
        Ok(Some(listener))
    }

    fn object_store_url(&self, data_dir: &DataDir) -> String {
        match &self.config.object_store.url {
            Some(url) => url.clone(),
            None => format!("file://{}", data_dir.objects().display()),
        }
    }

    async fn objects(
        &self,
        url: &str,
        spawner: &Spawner,
        clock: &SharedClock,
    ) -> anyhow::Result<ObjectStorage> {
        let store = &self.config.object_store;
        let settings: BTreeMap<_, _> = store.options.expose().iter().cloned().collect();
        let options = StorageOptions {
            read_timeout: store.request_timeout,
            write_timeout: store.request_timeout * 4,
            ..StorageOptions::default()
        };
        let rng = Rng::from_os();
        ObjectStorage::open(url, &settings, options, spawner, Arc::clone(clock), rng)
            .await
            .with_context(|| format!("opening the object store {url}"))
    }

    fn deps(
        &self,
        data_dir: &DataDir,
        metadata: &Arc<SqliteStore>,
        objects: &Arc<ObjectStorage>,
        spawner: &Spawner,
        clock: &SharedClock,
        port: u16,
    ) -> anyhow::Result<StartDeps> {
        let wal_fs = OsWalFs::open(data_dir.wal()).context("opening the WAL directory")?;
        let wal_directory = rename_source(&data_dir.wal(), objects)?;
        Ok(StartDeps {
            static_config: Arc::clone(&self.static_config),
            port,
            metadata: Arc::<SqliteStore>::clone(metadata),
            wal_fs: Arc::new(wal_fs),
            wal_directory,
            objects: Arc::clone(objects),
            clock: Arc::clone(clock),
            rng: Rng::from_os(),
            spawner: spawner.clone(),
        })
    }

    fn announce(
        &self,
        broker: &Broker,
        addresses: Addresses,
        data_dir: &DataDir,
        clock: &SharedClock,
    ) -> anyhow::Result<Option<ReadyFile>> {
        let ready_file = self
            .config
            .ready_file
            .as_ref()
            .map(|path| ReadyFile::write(path, &addresses))
            .transpose()?;
        let took = clock.monotonic();
        let advertised = broker.options().advertised.clone();
        info!(
            kafka = %addresses.kafka,
            http = %addresses.http,
            postgres = addresses.postgres.map(|address| address.to_string()),
            advertised = format!("{}:{}", advertised.host, advertised.port),
            data = %data_dir.path().display(),
            took_ms = took.as_millis(),
            "ready"
        );
        if self.config.log_format == LogFormat::Text {
            banner::print(&addresses, &advertised, data_dir.path(), took)?;
        }
        Ok(ready_file)
    }
}

/// The WAL's directory, if its sealed files can be renamed into the object store's.
fn rename_source(wal: &Path, objects: &ObjectStorage) -> anyhow::Result<Option<PathBuf>> {
    let Some(root) = objects.local_root() else { return Ok(None) };
    let device = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.map(|m| m.dev()).with_context(|| format!("inspecting {}", path.display()))
    };
    if device(wal)? == device(root)? {
        return Ok(Some(wal.to_owned()));
    }
    warn!(
        wal = %wal.display(),
        objects = %root.display(),
        "different file systems: sealed files are copied instead of renamed"
    );
    Ok(None)
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    address
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| anyhow!("{address} is no address: expected ADDR:PORT"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn flags(line: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
        let line = Line::parse_from(["streamhouse"].iter().chain(line));
        let flags = line.start.flags()?;
        Ok(flags.into_iter().map(|(_, key, value)| (key, value)).collect())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_stand_for_keys_and_options_come_last() {
        let line = [
            "-o",
            "num.partitions=3",
            "--kafka",
            "0.0.0.0:19092",
            "--http",
            "127.0.0.1:0",
            "--postgres",
            "127.0.0.1:5432",
            "--data",
            "/d",
            "--log-format",
            "json",
            "-o",
            "advertised.listeners=PLAINTEXT://h:1",
        ];
        assert_eq!(
            flags(&line).unwrap(),
            [
                pair("streamhouse.data.dir", "/d"),
                pair("listeners", "PLAINTEXT://0.0.0.0:19092"),
                pair("streamhouse.http.listener", "127.0.0.1:0"),
                pair("streamhouse.postgres.listener", "127.0.0.1:5432"),
                pair("streamhouse.log.format", "json"),
                pair("num.partitions", "3"),
                pair("advertised.listeners", "PLAINTEXT://h:1"),
            ]
        );
    }

    #[test]
    fn an_option_without_a_value_is_an_error() {
        assert!(flags(&["-o", "num.partitions"]).unwrap_err().to_string().contains("key=value"));
    }

    #[test]
    fn addresses_are_resolved() {
        assert_eq!(resolve("127.0.0.1:0").unwrap().port(), 0);
        assert!(resolve("nonsense").unwrap_err().to_string().contains("ADDR:PORT"));
    }
}
