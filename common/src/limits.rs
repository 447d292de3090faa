//! Every hard limit that no configuration key moves, with its reason.

/// Longest topic name, as in Kafka (`Topic.MAX_NAME_LENGTH`): file names of 255 bytes less the
/// longest partition suffix.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// Most partitions one topic may have: bounds the work of a single CreateTopics request.
pub const TOPIC_PARTITIONS_MAX: i32 = 100_000;

/// Batches remembered per producer for duplicate detection, as in Kafka
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`); clients may have five requests in flight.
pub const PRODUCER_BATCHES_RETAINED: usize = 5;

/// Alignment of WAL blocks, bytes: a torn write never touches a sector that was synced before.
pub const WAL_BLOCK_ALIGN: u64 = 4096;

/// Largest arena of the log's tail, bytes, unless one batch is larger.
pub const ARENA_BYTES_MAX: usize = 1 << 20;
