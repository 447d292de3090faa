//! Regular expressions over topic names: RE2's syntax, as Kafka compiles it, on Rust's linear-time
//! engine.
//!
//! Both are of one family; where they differ, the expression is rewritten into what the engine
//! understands, and what RE2 refuses is refused. Of that rewriting a literal always comes out as a
//! code point, so that nothing of it can be taken for syntax. One thing is refused here that RE2
//! accepts: an expression whose program would exceed [`PROGRAM_BYTES_MAX`].

mod class;
mod rewrite;

use regex::{Regex, RegexBuilder};

/// How large a compiled expression may be. Nested repetitions grow exponentially; this is room for
/// thousands of alternatives.
pub(crate) const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// An expression that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// RE2 does not know this syntax.
    #[error("{0}")]
    Syntax(&'static str),
    /// The engine says no.
    #[error("{0}")]
    Engine(String),
}

/// A compiled expression that has to match a whole topic name.
#[derive(Debug)]
pub(crate) struct TopicRegex(Regex);

impl TopicRegex {
    pub(crate) fn compile(expression: &str) -> Result<Self, Invalid> {
        let rewritten = rewrite::rewrite(expression)?;
        let whole = format!(r"\A(?:{rewritten})\z");
        let compiled = RegexBuilder::new(&whole).size_limit(PROGRAM_BYTES_MAX).build();
        compiled.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Invalid::Syntax("the expression is too large"),
            other => Invalid::Engine(other.to_string()),
        })
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that each line of `re2j.tsv` was matched against.
    const NAMES: [&str; 23] = [
        "foo", "foo-1", "foo.bar", "bar", "a", "aa", "aaa", "a-b", "b", "x1", "FOO", "_x", "a{",
        "a{,2}", "foo\\.", "S", "-", "[", "&&", "ab", "^", "5", "a.b",
    ];

    /// What RE2/J 1.8, Kafka's engine, answered: one expression a line, then a digit per name.
    const RE2J: &str = include_str!("regex/re2j.tsv");

    #[test]
    fn agrees_with_kafkas_engine() {
        let mut disagreements = Vec::new();
        for line in RE2J.lines() {
            let (expression, expected) = line.rsplit_once('\t').unwrap();
            let found = match TopicRegex::compile(expression) {
                Ok(regex) => NAMES.map(|name| if regex.matches(name) { '1' } else { '0' }),
                Err(_) => {
                    if expected != "ERR" {
                        disagreements.push(format!("{expression}: refused, RE2 says {expected}"));
                    }
                    continue;
                }
            };
            let found: String = found.iter().collect();
            if found != expected {
                disagreements.push(format!("{expression}: {found}, RE2 says {expected}"));
            }
        }
        assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    }

    #[test]
    fn an_expression_that_grows_without_bound_is_refused() {
        let error = TopicRegex::compile("(a{500}){500}").unwrap_err();
        assert_eq!(error, Invalid::Syntax("the expression is too large"));
    }

    #[test]
    fn the_whole_name_has_to_match() {
        let regex = TopicRegex::compile("a|ab").unwrap();
        assert!(regex.matches("ab"));
        assert!(!regex.matches("abc"));
        assert!(!regex.matches("xa"));
    }

    #[test]
    fn parentheses_cannot_reach_out_of_the_expression() {
        assert!(TopicRegex::compile("a)|(b").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_expression_makes_it_panic(expression in r"[\[\](){}*+?|^$.\\,:<>\-QEPpdDwx0-9a-c&~é]{0,24}") {
            if let Ok(regex) = TopicRegex::compile(&expression) {
                regex.matches("abc");
            }
        }

        #[test]
        fn a_quoted_name_matches_itself_only(name in "[a-zA-Z0-9._-]{1,20}", other in "[a-zA-Z0-9._-]{1,20}") {
            let regex = TopicRegex::compile(&format!("\\Q{name}\\E")).unwrap();
            proptest::prop_assert!(regex.matches(&name));
            proptest::prop_assert_eq!(regex.matches(&other), name == other);
        }
    }
}
