//! What a group knew of its topics, in 64 bits: where the hash of its subscribed topics changes, the
//! group has to be assigned anew (KIP-1101).
//!
//! Byte for byte Kafka's: XXH3 over little-endian numbers, and strings as UTF-16 with their length
//! behind.

use twox_hash::XxHash3_64;

use crate::topics::{TopicDescription, TopicImage};

/// What a topic's hash begins with; a new algorithm would have a new one.
const TOPIC_HASH_VERSION: u8 = 0;

/// The hash of the topics that exist, 0 if there are none. `names` ascend.
pub(crate) fn group_hash<'a>(
    names: impl Iterator<Item = &'a String>,
    topics: &dyn TopicImage,
) -> i64 {
    let mut input = Input::default();
    for name in names {
        if let Some(topic) = topics.by_name(name) {
            input.number(topic_hash(&topic, topics).to_le_bytes());
        }
    }
    if input.bytes.is_empty() { 0 } else { input.hash() }
}

fn topic_hash(topic: &TopicDescription, topics: &dyn TopicImage) -> i64 {
    let mut input = Input::default();
    input.number([TOPIC_HASH_VERSION]);
    let (most, least) = topic.id.0.as_u64_pair();
    input.number(most.to_le_bytes());
    input.number(least.to_le_bytes());
    input.text(&topic.name);
    input.number(topic.partitions.to_le_bytes());
    for partition in 0..topic.partitions {
        input.number(partition.to_le_bytes());
        let mut racks = topics.racks(topic.id, partition);
        racks.sort();
        for rack in racks {
            input.number(length(&rack).to_le_bytes());
            input.text(&rack);
        }
    }
    input.hash()
}

/// As Java counts: in UTF-16 units.
fn length(text: &str) -> i32 {
    i32::try_from(text.encode_utf16().count()).unwrap_or(i32::MAX)
}

#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
}

impl Input {
    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes.extend_from_slice(&bytes);
    }

    fn text(&mut self, text: &str) {
        for unit in text.encode_utf16() {
            self.number(unit.to_le_bytes());
        }
        self.number(length(text).to_le_bytes());
    }

    fn hash(&self) -> i64 {
        i64::from_le_bytes(XxHash3_64::oneshot(&self.bytes).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use common::TopicId;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug)]
    struct Racks(Vec<Vec<String>>);

    impl TopicImage for Racks {
        fn by_name(&self, _: &str) -> Option<TopicDescription> {
            None
        }

        fn by_id(&self, _: TopicId) -> Option<TopicDescription> {
            None
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn version(&self) -> u64 {
            0
        }

        fn racks(&self, _: TopicId, partition: i32) -> Vec<String> {
            let index = usize::try_from(partition).unwrap();
            self.0.get(index).cloned().unwrap_or_default()
        }
    }

    fn hash(name: &str, racks: &[&[&str]]) -> i64 {
        let id = TopicId(Uuid::from_u64_pair(0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10));
        let partitions = i32::try_from(racks.len()).unwrap();
        let racks = racks.iter().map(|of| of.iter().map(|rack| (*rack).to_owned()).collect());
        let topic = TopicDescription { id, name: name.to_owned(), partitions };
        topic_hash(&topic, &Racks(racks.collect()))
    }

    /// Values of Kafka 4.3.1's own hash library for the same input.
    #[test]
    fn a_topics_hash_is_kafkas() {
        assert_eq!(hash("foo", &[&[], &[]]), -2_775_853_597_384_077_458);
        assert_eq!(hash("foo", &[&["b", "a"], &["c"], &[]]), -8_183_124_885_327_539_560);
        let racks = ["rack0", "rack1", "rack2"].map(|rack| [rack, "zone1"]);
        let many: Vec<&[&str]> = (0..100).map(|index| racks[index % 3].as_slice()).collect();
        assert_eq!(hash("a.long-topic_name", &many), -5_591_577_010_418_247_466);
    }

    #[test]
    fn a_groups_hash_is_kafkas() {
        let mut input = Input::default();
        input.number(1_i64.to_le_bytes());
        input.number((-2_i64).to_le_bytes());
        assert_eq!(input.hash(), 1_559_002_273_794_826_001);
    }

    #[test]
    fn a_group_without_topics_hashes_to_zero() {
        assert_eq!(group_hash(["gone".to_owned()].iter(), &Racks(Vec::new())), 0);
    }
}
