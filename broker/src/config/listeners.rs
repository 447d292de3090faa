//! `listeners` and `advertised.listeners`: parsing and Kafka's rules for them.
//!
//! Invariant: every advertised name is a listener, names and ports are unique, and nobody is told
//! to connect to `0.0.0.0`.

use std::{collections::BTreeSet, fmt};

/// One address with its listener name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, upper case, such as `PLAINTEXT`.
    pub name: String,
    /// Host name or address; empty for all addresses.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
}

impl Listener {
    /// Whether it binds to every address of the machine.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::" | "[::]")
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host:port` to bind to.
    #[must_use]
    pub fn bind_address(&self) -> String {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        join_host_port(host, self.port)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, join_host_port(&self.host, self.port))
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Parses `NAME://host:port`.
///
/// # Errors
/// A message that names the entry.
pub fn parse(entry: &str) -> Result<Listener, String> {
    let (name, address) = entry
        .split_once("://")
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("Unable to parse a listener name from {entry}"))?;
    let unparsable = || format!("Unable to parse {entry} to a broker endpoint");
    let (host, port) = address.rsplit_once(':').ok_or_else(unparsable)?;
    let port = port.parse().map_err(|_| unparsable())?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Ok(Listener { name: name.to_uppercase(), host: host.to_owned(), port })
}

/// The listeners to bind, without those of Kafka's controller, checked against each other.
///
/// # Errors
/// A message in Kafka's words where it has some.
pub fn listeners(
    entries: &[String],
    controller_names: &[String],
    protocols: &str,
) -> Result<Vec<Listener>, String> {
    let parsed = parse_all(entries)?;
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for listener in &parsed {
        if !names.insert(listener.name.clone()) {
            return Err(format!(
                "Each listener must have a different name, listeners: {}",
                shown(entries)
            ));
        }
        if listener.port != 0 && !ports.insert(listener.port) {
            return Err(format!(
                "Each listener must have a different port, listeners: {}",
                shown(entries)
            ));
        }
    }
    let is_controller = |listener: &Listener| {
        controller_names.iter().any(|name| name.eq_ignore_ascii_case(&listener.name))
    };
    let own: Vec<Listener> = parsed.into_iter().filter(|l| !is_controller(l)).collect();
    own.iter().try_for_each(|listener| check_protocol(&listener.name, protocols))?;
    if own.is_empty() {
        return Err(format!("listeners has no broker listener: {}", shown(entries)));
    }
    Ok(own)
}

/// The address that clients are told for each listener.
///
/// # Errors
/// Where it is missing for a listener on all addresses, has no listener, or cannot be routed to.
pub fn advertised(
    entries: Option<&[String]>,
    listeners: &[Listener],
) -> Result<Vec<Listener>, String> {
    let Some(entries) = entries.filter(|entries| !entries.is_empty()) else {
        return match listeners.iter().find(|listener| listener.is_wildcard()) {
            None => Ok(listeners.to_vec()),
            Some(wildcard) => Err(format!(
                "{wildcard} listens on all addresses, so advertised.listeners must say which \
                 one clients should connect to, for example \
                 -o advertised.listeners={}://HOST:{}",
                wildcard.name, wildcard.port
            )),
        };
    };
    let parsed = parse_all(entries)?;
    for listener in &parsed {
        if listener.is_wildcard() {
            return Err(format!(
                "advertised.listeners cannot use the nonroutable meta-address {}. Use a routable \
                 IP address.",
                if listener.host.is_empty() { "0.0.0.0" } else { &listener.host }
            ));
        }
        if !listeners.iter().any(|own| own.name == listener.name) {
            return Err(format!(
                "advertised.listeners has {}, which is not in listeners",
                listener.name
            ));
        }
    }
    if let Some(silent) = listeners.iter().find(|l| !parsed.iter().any(|p| p.name == l.name)) {
        return Err(format!("advertised.listeners lacks an address for {}", silent.name));
    }
    Ok(parsed)
}

fn parse_all(entries: &[String]) -> Result<Vec<Listener>, String> {
    entries.iter().map(|entry| parse(entry)).collect()
}

fn shown(entries: &[String]) -> String {
    format!("[{}]", entries.join(", "))
}

fn check_protocol(name: &str, protocols: &str) -> Result<(), String> {
    let protocol = protocols.split(',').find_map(|pair| {
        let (listener, protocol) = pair.trim().split_once(':')?;
        listener.trim().eq_ignore_ascii_case(name).then(|| protocol.trim().to_uppercase())
    });
    match protocol.as_deref() {
        Some("PLAINTEXT") => Ok(()),
        Some(other) => Err(format!(
            "listener {name} has security protocol {other}, which this version of StreamHouse \
             does not support: only PLAINTEXT"
        )),
        None => Err(format!("No security protocol defined for listener {name}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,SSL:SSL,INTERNAL:PLAINTEXT";

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn bind(items: &[&str]) -> Result<Vec<Listener>, String> {
        listeners(&strings(items), &strings(&["CONTROLLER"]), PROTOCOLS)
    }

    #[test]
    fn leaves_kafkas_controller_listener_out() {
        let own = bind(&["PLAINTEXT://:9092", "CONTROLLER://:9093"]).unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].bind_address(), "0.0.0.0:9092");
        assert!(bind(&["CONTROLLER://:9093"]).is_err());
    }

    #[test]
    fn reads_ipv6_and_port_zero() {
        let listener = parse("plaintext://[::1]:0").unwrap();
        assert_eq!((listener.host.as_str(), listener.port), ("::1", 0));
        assert_eq!(listener.bind_address(), "[::1]:0");
        assert!(listener.is_loopback());
    }

    #[test]
    fn refuses_what_kafka_refuses_in_its_words() {
        let message = |items: &[&str]| bind(items).unwrap_err();
        assert_eq!(message(&["foo"]), "Unable to parse a listener name from foo");
        assert_eq!(
            message(&["PLAINTEXT://:x"]),
            "Unable to parse PLAINTEXT://:x to a broker endpoint"
        );
        assert_eq!(message(&["FOO://h:1"]), "No security protocol defined for listener FOO");
        assert!(message(&["PLAINTEXT://a:1", "PLAINTEXT://b:2"]).contains("a different name"));
        assert!(message(&["PLAINTEXT://a:1", "INTERNAL://b:1"]).contains("a different port"));
        assert!(message(&["SSL://a:1"]).contains("only PLAINTEXT"));
    }

    #[test]
    fn all_addresses_need_an_advertised_one() {
        let own = bind(&["PLAINTEXT://0.0.0.0:9092"]).unwrap();
        assert!(advertised(None, &own).unwrap_err().contains("advertised.listeners must say"));
        let meta = strings(&["PLAINTEXT://0.0.0.0:9092"]);
        assert!(advertised(Some(&meta), &own).unwrap_err().contains("nonroutable"));
        let other = strings(&["INTERNAL://h:1"]);
        assert!(advertised(Some(&other), &own).unwrap_err().contains("not in listeners"));
        let good = strings(&["PLAINTEXT://host:19092"]);
        assert_eq!(advertised(Some(&good), &own).unwrap()[0].port, 19092);
    }

    #[test]
    fn a_named_address_advertises_itself() {
        let own = bind(&["PLAINTEXT://127.0.0.1:9092"]).unwrap();
        assert_eq!(advertised(None, &own).unwrap(), own);
    }
}
