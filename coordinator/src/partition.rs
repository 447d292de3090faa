//! Which partition of a coordinator's topic an id belongs to.

/// `Utils.abs(id.hashCode()) % count`, in Kafka's words: Java's hash over UTF-16 units.
///
/// 0 where there are no partitions.
#[must_use]
pub fn partition_for(id: &str, count: i32) -> i32 {
    let hash = id
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's abs of the smallest integer is zero.
    hash.checked_abs().unwrap_or(0).checked_rem(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_where_java_sends_them() {
        // As Java's String.hashCode has them.
        assert_eq!(partition_for("hello", i32::MAX), 99_162_322);
        assert_eq!(partition_for("test-group", 50), 12);
        assert_eq!(partition_for("größe→🦀", i32::MAX), 183_832_163);
        // Its hash is the smallest integer.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("x", 0), 0);
    }
}
