//! From RE2's syntax to the engine's.

use std::collections::BTreeSet;

use super::{
    Invalid,
    class::{self, Escape},
};

/// RE2's own limit.
const REPEAT_MAX: u32 = 1000;

pub(super) fn rewrite(expression: &str) -> Result<String, Invalid> {
    let mut rewriter = Rewriter {
        input: Input { rest: expression },
        output: String::with_capacity(expression.len() * 2),
        names: BTreeSet::new(),
        depth: 0,
        repeated: false,
    };
    rewriter.run()?;
    Ok(rewriter.output)
}

/// What is left to read.
pub(super) struct Input<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Input<'a> {
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        Some(next)
    }

    pub(super) fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What stands before `end`, which is taken too.
    pub(super) fn take_until(&mut self, end: &str) -> Option<&'a str> {
        let (before, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(before)
    }
}

/// A character that means itself, whatever it is.
pub(super) fn literal(output: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        output.push(character);
    } else {
        output.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
    }
}

struct Rewriter<'a> {
    input: Input<'a>,
    output: String,
    names: BTreeSet<&'a str>,
    depth: usize,
    /// Whether what was read last is a repetition: another one may not follow.
    repeated: bool,
}

impl Rewriter<'_> {
    fn run(&mut self) -> Result<(), Invalid> {
        while let Some(next) = self.input.next() {
            let repeated = std::mem::take(&mut self.repeated);
            match next {
                '\\' => self.escape()?,
                '[' => class::rewrite(&mut self.input, &mut self.output)?,
                '(' => self.open()?,
                ')' => self.close()?,
                '*' | '+' | '?' => {
                    self.output.push(next);
                    self.finish_repetition(repeated)?;
                }
                '{' => self.brace(repeated)?,
                '|' | '^' | '$' | '.' => self.output.push(next),
                other => literal(&mut self.output, other),
            }
        }
        if self.depth > 0 { Err(Invalid::Syntax("missing closing )")) } else { Ok(()) }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        if self.input.take("Q") {
            let quoted = match self.input.take_until("\\E") {
                Some(quoted) => quoted,
                None => std::mem::take(&mut self.input.rest),
            };
            quoted.chars().for_each(|character| literal(&mut self.output, character));
            return Ok(());
        }
        match self.input.peek() {
            Some(anchor @ ('A' | 'z' | 'b' | 'B')) => {
                self.input.next();
                self.output.push('\\');
                self.output.push(anchor);
                Ok(())
            }
            _ => match class::escape(&mut self.input)? {
                Escape::Character(character) => {
                    literal(&mut self.output, character);
                    Ok(())
                }
                Escape::Class(class) => {
                    self.output.push_str(&class);
                    Ok(())
                }
            },
        }
    }

    fn open(&mut self) -> Result<(), Invalid> {
        self.depth += 1;
        if !self.input.take("?") {
            self.output.push('(');
            return Ok(());
        }
        if self.input.take("P<") || self.input.take("<") {
            return self.named_group();
        }
        let mut flags = String::new();
        loop {
            match self.input.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U' | '-')) => flags.push(flag),
                Some(':') => break,
                Some(')') => {
                    self.depth -= 1;
                    self.output.push_str(&format!("(?{flags})"));
                    return Ok(());
                }
                _ => return Err(Invalid::Syntax("invalid or unsupported Perl syntax")),
            }
        }
        self.output.push_str(&format!("(?{flags}:"));
        Ok(())
    }

    /// Its name only has to be a name, and the only one of its kind.
    fn named_group(&mut self) -> Result<(), Invalid> {
        let name = self.input.take_until(">").unwrap_or_default();
        let valid = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(Invalid::Syntax("invalid named capture"));
        }
        if !self.names.insert(name) {
            return Err(Invalid::Syntax("duplicate capture group name"));
        }
        self.output.push('(');
        Ok(())
    }

    fn close(&mut self) -> Result<(), Invalid> {
        self.depth = self.depth.checked_sub(1).ok_or(Invalid::Syntax("unexpected )"))?;
        self.output.push(')');
        Ok(())
    }

    /// A counted repetition if it reads as one, a brace if not.
    fn brace(&mut self, repeated: bool) -> Result<(), Invalid> {
        let Some((body, rest)) = self.input.rest.split_once('}') else {
            literal(&mut self.output, '{');
            return Ok(());
        };
        let (least, most) = match body.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (body, None),
        };
        let is_count = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|digit| digit.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'))
        };
        if !is_count(least) || most.is_some_and(|most| !most.is_empty() && !is_count(most)) {
            literal(&mut self.output, '{');
            return Ok(());
        }
        let bound = |text: &str| text.parse().ok().filter(|count| *count <= REPEAT_MAX);
        let too_many = Invalid::Syntax("invalid repeat count");
        let least: u32 = bound(least).ok_or(too_many.clone())?;
        match most {
            None => self.output.push_str(&format!("{{{least}}}")),
            Some("") => self.output.push_str(&format!("{{{least},}}")),
            Some(most) => {
                let most = bound(most).filter(|most| *most >= least).ok_or(too_many)?;
                self.output.push_str(&format!("{{{least},{most}}}"));
            }
        }
        self.input.rest = rest;
        self.finish_repetition(repeated)
    }

    fn finish_repetition(&mut self, repeated: bool) -> Result<(), Invalid> {
        if repeated {
            return Err(Invalid::Syntax("invalid nested repetition operator"));
        }
        if self.input.take("?") {
            self.output.push('?');
        }
        self.repeated = true;
        Ok(())
    }
}
