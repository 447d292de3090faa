//! Cluster ids as Kafka prints them: a random UUID in 22 characters of URL-safe base64.

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The cluster id made of a UUID: URL-safe base64 without padding, as `org.apache.kafka.common.Uuid`.
#[must_use]
pub fn cluster_id(uuid: Uuid) -> String {
    // 128 bits are 21 characters of 6 bits and one of the 2 that are left, moved to its top.
    let bits = uuid.as_u128();
    let digit = |value: u128| char::from(ALPHABET[usize::from((value & 0x3f) as u8)]);
    (0..21).map(|i| digit(bits >> (122 - 6 * i))).chain([digit((bits & 0x3) << 4)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kafkas_url_safe_base64() {
        assert_eq!(cluster_id(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(cluster_id(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(cluster_id(Uuid::max()), "_____________________w");
        let bytes: [u8; 16] = std::array::from_fn(|i| u8::try_from(i * 17).unwrap_or(0));
        assert_eq!(cluster_id(Uuid::from_bytes(bytes)), "ABEiM0RVZneImaq7zN3u_w");
    }
}
