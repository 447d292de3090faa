//! What the typed configuration accepts, refuses and derives.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::config::sources::{Sources, StaticConfig};

fn config(pairs: &[(&str, &str)]) -> Result<BrokerConfig, String> {
    let flags = pairs
        .iter()
        .map(|(key, value)| ("-o".to_owned(), (*key).to_owned(), (*value).to_owned()))
        .collect();
    let sources = Sources { flags, ..Sources::default() };
    let static_config = StaticConfig::resolve(&sources).map_err(|errors| errors.to_string())?;
    let layers = Layers { static_config: Arc::new(static_config), ..Layers::default() };
    BrokerConfig::new(&layers).map_err(|errors| errors.to_string())
}

fn message(pairs: &[(&str, &str)]) -> String {
    config(pairs).unwrap_err()
}

#[test]
fn defaults_run_on_loopback() {
    let config = config(&[]).unwrap();
    assert!(config.listener.is_loopback());
    assert_eq!(config.listener.bind_address(), "127.0.0.1:9092");
    assert_eq!(config.http, "127.0.0.1:8080");
    assert_eq!(config.node_id, None);
    assert_eq!(config.data_dir, PathBuf::from("streamhouse-data"));
    assert_eq!(config.options(9092).advertised.port, 9092);
}

#[test]
fn a_free_port_is_advertised_once_it_is_known() {
    let config = config(&[("listeners", "PLAINTEXT://127.0.0.1:0")]).unwrap();
    assert_eq!(config.options(4711).advertised.port, 4711);
}

#[test]
fn kafkas_quick_start_file_is_understood() {
    let config = config(&[
        ("process.roles", "broker,controller"),
        ("node.id", "7"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        ),
        ("log.dirs", "/tmp/kraft-combined-logs"),
        ("log.retention.hours", "168"),
    ])
    .unwrap();
    assert_eq!(config.node_id, Some(NodeId(7)));
    assert_eq!(config.data_dir, PathBuf::from("/tmp/kraft-combined-logs"));
    assert!(config.listener.is_wildcard());
    assert_eq!(config.advertised.host, "localhost");
}

#[test]
fn all_addresses_need_an_advertised_listener() {
    assert!(
        message(&[("listeners", "PLAINTEXT://0.0.0.0:9092")])
            .contains("advertised.listeners must say")
    );
}

#[test]
fn broker_id_must_agree_with_node_id() {
    assert_eq!(config(&[("broker.id", "3")]).unwrap().node_id, Some(NodeId(3)));
    assert_eq!(config(&[("broker.id", "-1")]).unwrap().node_id, None);
    assert_eq!(
        message(&[("broker.id", "5"), ("node.id", "6")]),
        "You must set `node.id` to the same value as `broker.id`."
    );
}

#[test]
fn requirements_are_in_kafkas_words() {
    assert_eq!(
        message(&[("log.roll.ms", "0")]),
        "requirement failed: log.roll.ms must be greater than or equal to 1"
    );
    assert_eq!(
        message(&[("log.retention.minutes", "0")]),
        "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
    );
    config(&[("log.retention.hours", "-1")]).unwrap();
}

#[test]
fn memory_is_one_budget() {
    let parts = config(&[("streamhouse.memory.bytes", "67108864")]).unwrap();
    assert_eq!(parts.log.tail_bytes, 16 << 20);
    assert_eq!(parts.options(1).request_pool_bytes, 16 << 20);
    assert!(message(&[("streamhouse.memory.cache.bytes", "536870912")]).contains("add up to"));
}

#[test]
fn several_data_directories_or_listeners_are_refused() {
    assert!(message(&[("log.dirs", "/a,/b")]).contains("2 directories"));
    let two = [
        ("listeners", "PLAINTEXT://127.0.0.1:1,INTERNAL://127.0.0.1:2"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT"),
    ];
    assert!(message(&two).contains("takes one"));
    assert_eq!(
        config(&[("log.dirs", "/a,/b"), ("streamhouse.data.dir", "/c")]).unwrap().data_dir,
        PathBuf::from("/c")
    );
}

#[test]
fn object_store_options_stay_secret() {
    let name = "streamhouse.object.store.options";
    let config = config(&[(name, "access_key_id=a, secret_access_key=b=c")]).unwrap();
    assert!(!format!("{config:?}").contains("b=c"));
    let options = config.object_store.options.expose();
    assert_eq!(options[1], ("secret_access_key".to_owned(), "b=c".to_owned()));
    assert!(message(&[(name, "nonsense")]).contains("name=value"));
}

#[test]
fn the_wal_must_hold_two_files() {
    assert!(message(&[("streamhouse.wal.max.bytes", "67108864")]).contains("at least twice"));
}
