//! Records that Apache Kafka 4.3.1 wrote.
