//! librdkafka through confluent-kafka: the checks themselves are in `python/`.

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::target::Broker;

fn run(script: &str, more: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    let out = python(script, &[&[bootstrap.as_str()], more].concat()).unwrap();
    println!("{out}");
}

#[test]
fn every_codec_size_key_header_null_and_timestamp_comes_back_byte_for_byte() {
    run("matrix.py", &[]);
}

#[test]
fn the_admin_client_gets_what_apache_kafka_answers() {
    run("admin.py", &[]);
}

mod slow {
    #[test]
    fn the_whole_matrix_comes_back_byte_for_byte() {
        super::run("matrix.py", &["full"]);
    }
}
