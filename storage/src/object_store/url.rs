//! From a URL and settings to a store.

use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use common::spawn::Spawner;
use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    memory::InMemory,
    path::Path,
};

use super::DurableLocalStore;
use crate::object::{Error, Result};

/// A store and where in it our keys begin.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) local_root: Option<PathBuf>,
}

/// Connections older than this are not reused: load balancers drop them silently.
const POOL_IDLE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn open(
    url: &str,
    settings: &BTreeMap<String, String>,
    spawner: &Spawner,
) -> Result<Opened> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| configuration(url, "expected SCHEME://…"))?;
    if scheme == "file" {
        return open_local(url, rest, settings, spawner).await;
    }
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = Path::parse(path).map_err(|error| configuration(url, &error))?;
    if scheme != "memory" && (bucket.is_empty() || bucket.contains(['@', ':'])) {
        return Err(configuration(url, "expected SCHEME://BUCKET/PREFIX"));
    }
    let store: Arc<dyn ObjectStore> = match scheme {
        "memory" => {
            known_keys::<NoKeys>(url, settings)?;
            Arc::new(InMemory::new())
        }
        "s3" => open_s3(url, bucket, settings)?,
        "gs" => open_gcs(url, bucket, settings)?,
        "az" => open_azure(url, bucket, settings)?,
        _ => return Err(configuration(url, "the scheme is none of file, s3, gs, az, memory")),
    };
    Ok(Opened { store, prefix, local_root: None })
}

async fn open_local(
    url: &str,
    path: &str,
    settings: &BTreeMap<String, String>,
    spawner: &Spawner,
) -> Result<Opened> {
    known_keys::<NoKeys>(url, settings)?;
    if !path.starts_with('/') {
        return Err(configuration(url, "expected file:///ABSOLUTE/PATH"));
    }
    let store = DurableLocalStore::open(FilePath::new(path), spawner).await.map_err(|error| {
        Error::Io { action: "open object directory", path: path.to_owned(), source: error.into() }
    })?;
    let local_root = Some(store.root().to_owned());
    Ok(Opened { store: Arc::new(store), prefix: Path::default(), local_root })
}

fn open_s3(
    url: &str,
    bucket: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>> {
    let keys = known_keys::<AmazonS3ConfigKey>(url, settings)?;
    let builder = keys
        .into_iter()
        .fold(AmazonS3Builder::from_env(), |builder, (key, value)| builder.with_config(key, value))
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_client_options(client(settings));
    Ok(Arc::new(builder.build().map_err(|error| configuration(url, &error))?))
}

fn open_gcs(
    url: &str,
    bucket: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>> {
    let keys = known_keys::<GoogleConfigKey>(url, settings)?;
    let builder = keys
        .into_iter()
        .fold(GoogleCloudStorageBuilder::from_env(), |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_client_options(client(settings));
    Ok(Arc::new(builder.build().map_err(|error| configuration(url, &error))?))
}

fn open_azure(
    url: &str,
    container: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>> {
    let keys = known_keys::<AzureConfigKey>(url, settings)?;
    let builder = keys
        .into_iter()
        .fold(MicrosoftAzureBuilder::from_env(), |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_container_name(container)
        .with_retry(no_retries())
        .with_client_options(client(settings));
    Ok(Arc::new(builder.build().map_err(|error| configuration(url, &error))?))
}

/// Parses the settings' keys; an unknown one is an error, never ignored.
fn known_keys<K: FromStr>(
    url: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<(K, String)>> {
    let parse = |(key, value): (&String, &String)| match key.to_ascii_lowercase().parse() {
        Ok(parsed) => Ok((parsed, value.clone())),
        Err(_) => Err(configuration(url, &format!("unknown setting {key}"))),
    };
    settings.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(ALLOW_HTTP)).map(parse).collect()
}

/// Our one setting of the HTTP client: plain `http://` endpoints are refused without it.
const ALLOW_HTTP: &str = "allow_http";

/// Attempts are bounded by our own timeouts, which the simulator controls.
fn client(settings: &BTreeMap<String, String>) -> ClientOptions {
    let allow_http =
        settings.iter().any(|(key, value)| key.eq_ignore_ascii_case(ALLOW_HTTP) && value == "true");
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_idle_timeout(POOL_IDLE)
}

/// Retries are ours: one budget, one rhythm, and puts whose outcome is unknown are verified.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// For stores without settings: no key is known.
struct NoKeys;

impl FromStr for NoKeys {
    type Err = ();

    fn from_str(_: &str) -> std::result::Result<Self, ()> {
        Err(())
    }
}

/// An error that never shows credentials: they come as settings, and a URL with a user part is
/// refused above and cut here.
fn configuration(url: &str, reason: &(impl ToString + ?Sized)) -> Error {
    let shown = match (url.find("://"), url.find('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    };
    Error::Configuration { url: shown, reason: reason.to_string() }
}
