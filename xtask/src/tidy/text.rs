//! Rules for the text of one source file.

/// Marks of unfinished work; assembled here so that this file does not contain them itself.
const UNFINISHED: [[&str; 2]; 5] =
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["to", "do!("], ["unimple", "mented!("]];

/// What a line must mention to be allowed to carry a mark of unfinished work.
const RFC_LINK: &str = "docs/rfcs/";

/// One line per rule that the file breaks.
pub(super) fn broken_rules(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//! ") {
        broken.push(format!("{file}:1: does not open with `//!`"));
    }
    for (index, line) in text.lines().enumerate() {
        let mark = UNFINISHED.map(|halves| halves.concat()).into_iter().find(|m| has(line, m));
        if let (Some(mark), false) = (mark, line.contains(RFC_LINK)) {
            broken.push(format!("{file}:{}: {mark} without a link to an RFC", index + 1));
        }
    }
    broken
}

/// Whether `mark` stands in `line` as a word of its own.
fn has(line: &str, mark: &str) -> bool {
    let is_part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(mark).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + mark.len()..).and_then(|text| text.chars().next());
        let open_call = mark.ends_with('(');
        !before.is_some_and(is_part_of_word) && (open_call || !after.is_some_and(is_part_of_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_with_its_story() {
        assert!(broken_rules("a.rs", "//! Story.\nuse x;\n").is_empty());
        assert_eq!(broken_rules("a.rs", "use x;\n"), ["a.rs:1: does not open with `//!`"]);
    }

    #[test]
    fn unfinished_work_needs_a_link() {
        let mark = UNFINISHED[0].concat();
        let linked = format!("//! A.\n// {mark}: docs/rfcs/0001-x.md\n");
        assert!(broken_rules("a.rs", &linked).is_empty());
        let bare = format!("//! A.\n// {mark}: later\n");
        assert_eq!(broken_rules("a.rs", &bare).len(), 1);
        let part_of_a_name = format!("//! A.\nconst MY_{mark}_LIST: u8 = 0;\n");
        assert!(broken_rules("a.rs", &part_of_a_name).is_empty());
    }
}
