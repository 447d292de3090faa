//! Bracket expressions and escapes.

use super::{
    Invalid,
    rewrite::{Input, literal},
};

/// The names between `[:` and `:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Unicode's general categories.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// What a backslash and what follows stand for.
pub(super) enum Escape {
    Character(char),
    /// A class in the engine's syntax.
    Class(String),
}

/// Reads a bracket expression behind its `[`. A bracket, `&&`, `--` or `~~` inside means nothing to
/// RE2 and something to the engine: all characters come out as code points.
pub(super) fn rewrite(input: &mut Input<'_>, output: &mut String) -> Result<(), Invalid> {
    output.push('[');
    if input.take("^") {
        output.push('^');
    }
    let mut first = true;
    loop {
        if !first && input.take("]") {
            output.push(']');
            return Ok(());
        }
        first = false;
        if input.rest.starts_with("[:") && input.rest.contains(":]") {
            input.take("[:");
            let name = input.take_until(":]").unwrap_or_default();
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(Invalid::Syntax("invalid character class range"));
            }
            output.push_str(&format!("[:{name}:]"));
            continue;
        }
        match character(input, true)? {
            Escape::Class(class) => output.push_str(&class),
            Escape::Character(low) => range(input, output, low)?,
        }
    }
}

fn range(input: &mut Input<'_>, output: &mut String, low: char) -> Result<(), Invalid> {
    literal(output, low);
    if !input.rest.starts_with('-') || input.rest.starts_with("-]") {
        return Ok(());
    }
    input.take("-");
    let Escape::Character(high) = character(input, false)? else {
        return Err(Invalid::Syntax("invalid escape sequence"));
    };
    if high < low {
        return Err(Invalid::Syntax("invalid character class range"));
    }
    output.push('-');
    literal(output, high);
    Ok(())
}

fn character(input: &mut Input<'_>, classes: bool) -> Result<Escape, Invalid> {
    match input.next() {
        None => Err(Invalid::Syntax("missing closing ]")),
        Some('\\') => match escape(input)? {
            Escape::Class(_) if !classes => Err(Invalid::Syntax("invalid escape sequence")),
            escape => Ok(escape),
        },
        Some(character) => Ok(Escape::Character(character)),
    }
}

/// Reads what follows a backslash, inside or outside of brackets.
pub(super) fn escape(input: &mut Input<'_>) -> Result<Escape, Invalid> {
    const INVALID: Invalid = Invalid::Syntax("invalid escape sequence");
    let next = input.next().ok_or(Invalid::Syntax("trailing backslash at end of expression"))?;
    let character = match next {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => return Ok(Escape::Class(format!("\\{next}"))),
        'p' | 'P' => return property(input, next == 'P'),
        'a' => '\u{7}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'x' => hexadecimal(input).ok_or(INVALID)?,
        // A single digit would be a reference to a group, which RE2 has not.
        '1'..='7' if !input.peek().is_some_and(is_octal) => return Err(INVALID),
        '0'..='7' => octal(input, next).ok_or(INVALID)?,
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
        _ => return Err(INVALID),
    };
    Ok(Escape::Character(character))
}

fn is_octal(character: char) -> bool {
    character.is_digit(8)
}

fn octal(input: &mut Input<'_>, first: char) -> Option<char> {
    let mut code = first.to_digit(8)?;
    for _ in 0..2 {
        let Some(digit) = input.peek().and_then(|next| next.to_digit(8)) else { break };
        input.next();
        code = code * 8 + digit;
    }
    char::from_u32(code)
}

fn hexadecimal(input: &mut Input<'_>) -> Option<char> {
    let digits = if input.take("{") {
        input.take_until("}")?.to_owned()
    } else {
        [input.next()?, input.next()?].iter().collect()
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

/// `\pN`, `\p{Greek}` and their negations.
fn property(input: &mut Input<'_>, mut negated: bool) -> Result<Escape, Invalid> {
    const INVALID: Invalid = Invalid::Syntax("invalid character class range");
    let mut letter = [0; 4];
    let mut name = if input.take("{") {
        input.take_until("}").ok_or(INVALID)?
    } else {
        input.next().ok_or(INVALID)?.encode_utf8(&mut letter)
    };
    if let Some(rest) = name.strip_prefix('^') {
        negated = !negated;
        name = rest;
    }
    let mark = if negated { 'P' } else { 'p' };
    if name == "Any" || CATEGORIES.contains(&name) {
        return Ok(Escape::Class(format!("\\{mark}{{{name}}}")));
    }
    // A script: RE2 writes them as Unicode does, the engine would also take other spellings and
    // other properties.
    let spelt = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.len() > 2
        && name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_');
    if !spelt {
        return Err(INVALID);
    }
    Ok(Escape::Class(format!("\\{mark}{{Script={name}}}")))
}
