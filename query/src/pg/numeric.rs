//! PostgreSQL's `numeric` in the binary format: digits to the base of 10,000.

use bytes::{BufMut as _, BytesMut};

const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;

/// Writes a number given by its decimal digits, such as `-12.340`.
pub(super) fn write(out: &mut BytesMut, decimal: &str) {
    let (sign, digits) = match decimal.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (POSITIVE, decimal),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // Filled up so that groups of four meet at the point.
    let left = "0".repeat((4 - whole.len() % 4) % 4);
    let right = "0".repeat((4 - fraction.len() % 4) % 4);
    let all = format!("{left}{whole}{fraction}{right}");
    let groups: Vec<i16> = all.as_bytes().chunks(4).map(group).collect();
    let before = (left.len() + whole.len()) / 4;
    let first = groups.iter().position(|group| *group != 0);
    let last = groups.iter().rposition(|group| *group != 0);
    let (groups, weight) = match (first, last) {
        (Some(first), Some(last)) => (&groups[first..=last], small(before) - 1 - small(first)),
        _ => (&groups[..0], 0),
    };
    out.put_i16(small(groups.len()));
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { POSITIVE } else { sign });
    out.put_i16(small(fraction.len()));
    groups.iter().for_each(|group| out.put_i16(*group));
}

fn group(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit.saturating_sub(b'0')))
}

/// Decimals have at most 76 digits.
fn small(number: usize) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// Reads a number as decimal digits; `None` where the bytes are none, or not finite.
pub(super) fn read(bytes: &[u8]) -> Option<String> {
    let (head, groups) = bytes.split_at_checked(8)?;
    let part = |at: usize| i16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, scale) = (part(0), i32::from(part(2)), usize::try_from(part(6)).ok()?);
    let is_negative = match u16::from_be_bytes([head[4], head[5]]) {
        POSITIVE => false,
        NEGATIVE => true,
        _ => return None,
    };
    if groups.len() != usize::try_from(count).ok()? * 2 {
        return None;
    }
    let groups: Vec<i16> =
        groups.chunks(2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]])).collect();
    let at = |exponent: i32| {
        let index = usize::try_from(weight - exponent).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut whole = String::new();
    for exponent in (0..=weight.max(0)).rev() {
        whole.push_str(&format!("{:04}", at(exponent)));
    }
    let mut fraction = String::new();
    let mut exponent = -1;
    while fraction.len() < scale {
        fraction.push_str(&format!("{:04}", at(exponent)));
        exponent -= 1;
    }
    fraction.truncate(scale);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if is_negative { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_meet_at_the_point() {
        let mut out = BytesMut::new();
        write(&mut out, "-12345.6780");
        let expected: Vec<u8> = [3_u16, 1, NEGATIVE, 4, 1, 2345, 6780]
            .iter()
            .flat_map(|part| part.to_be_bytes())
            .collect();
        assert_eq!(out, expected);
        let mut zero = BytesMut::new();
        write(&mut zero, "0.00");
        assert_eq!(zero[..], [0, 0, 0, 0, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(whole: u64, fraction in "[0-9]{0,12}", negative: bool) {
            let sign = if negative && (whole > 0 || fraction.contains(|c| c != '0')) { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let decimal = format!("{sign}{whole}{point}{fraction}");
            let mut out = BytesMut::new();
            write(&mut out, &decimal);
            prop_assert_eq!(read(&out).unwrap(), decimal);
        }

        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes);
        }
    }
}
