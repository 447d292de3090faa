//! What a person sees after a start: where the broker listens, and lines to copy.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use broker::options::Endpoint;

/// The bound addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// For Kafka clients.
    pub(crate) kafka: SocketAddr,
    /// For HTTP.
    pub(crate) http: SocketAddr,
    /// For PostgreSQL clients.
    pub(crate) postgres: Option<SocketAddr>,
}

/// Prints it to standard output.
pub(crate) fn print(
    addresses: &Addresses,
    advertised: &Endpoint,
    data: &Path,
    took: Duration,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text(addresses, advertised, data, took).as_bytes())?;
    stdout.flush()
}

fn text(addresses: &Addresses, advertised: &Endpoint, data: &Path, took: Duration) -> String {
    let Addresses { kafka, http, postgres } = addresses;
    let boot = broker::config::listeners::join_host_port(&advertised.host, advertised.port);
    let reach = if kafka.ip().is_loopback() {
        "bound to loopback: only this machine can connect"
    } else {
        "reachable from the network, without encryption or authentication"
    };
    let sql = postgres.map_or_else(String::new, |address| {
        let (host, port) = (address.ip(), address.port());
        format!("\n  SQL    {address}   psql -h {host} -p {port}")
    });
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\nStreamHouse {version}\n\
         \n  Kafka  {kafka}   ({reach})\
         \n  HTTP   http://{http}   /metrics /health /ready /live{sql}\
         \n  data   {data}\n\
         \nTry it:\n\
         \n  kafka-topics --bootstrap-server {boot} --create --topic hello --partitions 3\
         \n  kafka-console-producer --bootstrap-server {boot} --topic hello\
         \n  kafka-console-consumer --bootstrap-server {boot} --topic hello --partition 0 --offset earliest\
         \n  echo hi | kcat -P -b {boot} -t hello\
         \n  kcat -C -b {boot} -t hello -e\n\
         \nready in {took:.2} s\n",
        version = env!("CARGO_PKG_VERSION"),
        data = data.display(),
        took = took.as_secs_f64(),
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn banner(kafka: &str) -> String {
        let addresses = Addresses {
            kafka: kafka.parse().unwrap(),
            http: "127.0.0.1:8080".parse().unwrap(),
            postgres: Some("127.0.0.1:5433".parse().unwrap()),
        };
        let advertised =
            Endpoint { listener: "PLAINTEXT".to_owned(), host: "h.test".to_owned(), port: 1 };
        text(&addresses, &advertised, Path::new("/data"), Duration::from_millis(120))
    }

    #[test]
    fn says_who_can_connect_and_how() {
        let loopback = banner("127.0.0.1:9092");
        assert!(loopback.contains("only this machine can connect"));
        assert!(loopback.contains("psql -h 127.0.0.1 -p 5433"));
        assert!(loopback.contains("kcat -C -b h.test:1 -t hello"));
        assert!(loopback.ends_with("ready in 0.12 s\n"));
        assert!(banner("0.0.0.0:9092").contains("without encryption or authentication"));
    }
}
