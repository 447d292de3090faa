//! The syntax of `server.properties`: Java's `Properties.load`, with its comments, continuations,
//! escapes and three kinds of separators.

use std::{iter::Peekable, str::Chars};

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped; empty where there is none.
    pub value: String,
    /// The line that it begins on, from 1.
    pub line: usize,
}

/// Reads all assignments in order. A key may come twice; the last one counts, as in Java.
///
/// # Errors
/// A message with its line for a malformed `\uXXXX`, the only thing that is an error.
pub fn parse(text: &str) -> Result<Vec<Property>, String> {
    logical_lines(text).into_iter().map(|(line, content)| split(&content, line)).collect()
}

/// Lines without comments and blank ones, joined where one ends in an odd number of backslashes.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut result = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in text.lines().enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let (line, mut joined) = open.take().unwrap_or_else(|| (index + 1, String::new()));
        joined.push_str(content);
        let backslashes = joined.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 1 {
            joined.pop();
            open = Some((line, joined));
        } else {
            result.push((line, joined));
        }
    }
    result.extend(open);
    result
}

fn split(content: &str, line: usize) -> Result<Property, String> {
    let mut rest = content.chars().peekable();
    let key = unescape(&mut rest, line, |c| is_blank(c) || matches!(c, '=' | ':'))?;
    skip_blanks(&mut rest);
    if rest.next_if(|c| matches!(c, '=' | ':')).is_some() {
        skip_blanks(&mut rest);
    }
    let value = unescape(&mut rest, line, |_| false)?;
    Ok(Property { key, value, line })
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| is_blank(*c)).is_some() {}
}

/// Takes characters until an unescaped one ends the token.
fn unescape(
    rest: &mut Peekable<Chars<'_>>,
    line: usize,
    ends: impl Fn(char) -> bool,
) -> Result<String, String> {
    let mut token = String::new();
    while let Some(c) = rest.next_if(|c| !ends(*c)) {
        if c != '\\' {
            token.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => token.push('\t'),
            Some('n') => token.push('\n'),
            Some('r') => token.push('\r'),
            Some('f') => token.push('\u{c}'),
            Some('u') => token.push(unicode(rest, line)?),
            Some(other) => token.push(other),
            None => {}
        }
    }
    Ok(token)
}

fn unicode(rest: &mut Peekable<Chars<'_>>, line: usize) -> Result<char, String> {
    let digits: String = rest.by_ref().take(4).collect();
    let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| is_hex)
        .and_then(char::from_u32)
        .ok_or_else(|| format!("line {line}: malformed \\uXXXX escape"))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.key, p.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_what_java_reads() {
        let text = "# comment\n! also\n\n  a=1\nb : 2\r\nc 3\nd\ne==x\nf = y # z \ng\\ h=i\\=j\n";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", ""),
            pair("e", "=x"),
            pair("f", "y # z "),
            pair("g h", "i=j"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn joins_continued_lines_and_keeps_even_backslashes() {
        assert_eq!(
            pairs("list=a,\\\n    b,\\\n  c\npath=C\\:\\\\dir\\\\\nx=1"),
            [pair("list", "a,b,c"), pair("path", "C:\\dir\\"), pair("x", "1")]
        );
        assert_eq!(pairs("last=open\\"), [pair("last", "open")]);
    }

    #[test]
    fn understands_escapes() {
        assert_eq!(pairs("k=a\\tb\\u00e9\\q"), [pair("k", "a\tb\u{e9}q")]);
        assert!(parse("ok=1\nk=\\u12").unwrap_err().contains("line 2"));
        assert!(parse("k=\\u+123").is_err());
    }

    #[test]
    fn knows_the_line_of_each_key() {
        let lines: Vec<_> = parse("a=1\n#\nb=\\\n2\nc=3").unwrap().iter().map(|p| p.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}
