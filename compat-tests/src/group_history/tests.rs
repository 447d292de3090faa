//! Histories written by hand: each thing that must not happen, and what looks like it.

use super::*;

/// Words: `a+01` is given 0 and 1, `a-0` gives 0 up, `a!0` lost it, `a0:5` read offset 5 of
/// partition 0, `a.` left, `ax` was killed.
fn judge(repeats: bool, words: &str) -> Result<History> {
    let dir = tempfile::tempdir()?;
    let mut history = History::new(&dir.path().join("history"))?;
    if repeats {
        history.repeats();
    }
    let mut file = history.output()?;
    for word in words.split_whitespace() {
        let (member, rest) = word.split_at(1);
        let numbers = || rest[1..].chars().map(|it| it.to_digit(10).unwrap()).collect();
        let event = match &rest[..1] {
            "+" => Event::Assigned { partitions: numbers() },
            "-" => Event::Revoked { partitions: numbers() },
            "!" => Event::Lost { partitions: numbers() },
            "." => Event::Left,
            "x" => Event::Killed,
            _ => {
                let (partition, offset) = rest.split_once(':').unwrap();
                let records = vec![(offset.parse()?, rest.to_owned())];
                Event::Read { partition: partition.parse()?, records }
            }
        };
        let line = Line { member: member.to_owned(), event };
        writeln!(file, "{}", serde_json::to_string(&line)?)?;
    }
    history.update().map(|()| history)
}

#[track_caller]
fn refused(words: &str, why: &str) {
    let error = format!("{:#}", judge(false, words).unwrap_err());
    assert!(error.contains(why), "{words}: {error}");
}

#[test]
fn a_clean_handover_is_right() {
    let history = judge(false, "a+01 a0:0 a0:1 a-0 b+0 b0:2 a1:0 a. b+1 b1:1").unwrap();
    assert_eq!(history.owned_by("b"), [0, 1].into());
    assert!(history.owned_by("a").is_empty());
    assert_eq!(history.values().len(), 5);
}

#[test]
fn one_partition_is_not_given_to_two() {
    refused("a+01 b+1", "b was given partition 1 while a had it");
    refused("a+01 a-0 b+01", "while a had it");
    judge(false, "a+01 a+0").unwrap();
    judge(false, "a+01 ax b+01").unwrap();
    judge(false, "a+01 a. b+01").unwrap();
}

#[test]
fn members_read_what_they_have() {
    refused("a+0 b0:0", "b read partition 0, which Some(\"a\") has");
    refused("a+0 a-0 a0:0", "which None has");
    refused("a+0 ax a0:0", "which None has");
}

#[test]
fn nobody_that_lives_loses_anything() {
    refused("a+0 a!0", "lost its partitions");
    judge(false, "a+0 a!").unwrap();
}

#[test]
fn a_record_is_read_again_only_after_a_kill() {
    refused("a+0 a0:0 a-0 b+0 b0:0", "b read 0:0, which a had read");
    refused("a+0 a0:0 a-0 a+0 a0:0", "a read 0:0, which a had read");
    judge(false, "a+0 a0:0 ax b+0 b0:0 b0:1").unwrap();
    judge(true, "a+0 a0:0 a-0 b+0 b0:0").unwrap();
    // Of two readers the last one counts.
    refused("a+0 a0:0 ax b+0 b0:0 b-0 c+0 c0:0", "c read 0:0, which b had read");
}

#[test]
fn nothing_is_skipped_while_a_member_has_a_partition() {
    refused("a+0 a0:0 a0:2", "a stood at 1 of partition 0 and read 2");
    judge(false, "a+0 a0:0 a-0 a+0 a0:2").unwrap();
}

#[test]
fn a_half_written_line_waits_for_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::new(&dir.path().join("history")).unwrap();
    let mut file = history.output().unwrap();
    file.write_all(b"{\"member\":\"a\",\"event\":\"ass").unwrap();
    history.update().unwrap();
    file.write_all(b"igned\",\"partitions\":[3]}\n").unwrap();
    history.update().unwrap();
    assert_eq!(history.owned_by("a"), [3].into());
    file.write_all(b"nonsense\n").unwrap();
    assert!(history.update().is_err());
}
