//! Kafka's names as Rust names.

/// `ThrottleTimeMs` as `throttle_time_ms`; a Rust keyword gets a trailing underscore.
pub(super) fn snake(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|i| characters.get(i));
        let after = characters.get(index + 1);
        let starts_word = before.is_some_and(|c| !c.is_uppercase())
            || (before.is_some() && after.is_some_and(|c| c.is_lowercase()));
        if character.is_uppercase() && starts_word {
            out.push('_');
        }
        out.extend(character.to_lowercase());
    }
    const KEYWORDS: [&str; 6] = ["type", "match", "ref", "move", "use", "where"];
    if KEYWORDS.contains(&out.as_str()) { out + "_" } else { out }
}

/// Text as `///` lines of at most 100 columns at `indent`, with Markdown's specials escaped.
pub(super) fn doc(text: &str, indent: usize) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if "[]<>*_".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    let width = 100 - indent - "/// ".len();
    let mut lines = vec![String::new()];
    for word in escaped.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + 1 + word.len() > width {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.iter().map(|line| format!("/// {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_keeps_acronyms_whole() {
        assert_eq!(snake("ThrottleTimeMs"), "throttle_time_ms");
        assert_eq!(snake("timeoutMs"), "timeout_ms");
        assert_eq!(snake("ISRNodes"), "isr_nodes");
        assert_eq!(snake("Type"), "type_");
    }
}
