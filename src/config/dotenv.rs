//! The text of a `.env` file, as `dotenvy` reads it: `NAME=value`, quotes, comments, and `$NAME` or `${NAME}` in values that are not in
//! single quotes. `dotenvy` silently replaces a name that is not set by nothing, so each is reported: it may be a part of a password.

use super::variables::Variables;
use std::collections::BTreeSet;

/// What a file says.
#[derive(Debug, Default)]
pub struct Dotenv {
    /// Names and values.
    pub variables: Variables,
    /// Lines whose values lost something.
    pub warnings: Vec<DotenvWarning>,
}

/// Something in the file that was probably not meant.
#[derive(Debug, PartialEq, Eq)]
pub struct DotenvWarning {
    /// Counted from 1.
    pub line: usize,
    /// Quotes no part of the value, which may be a secret.
    pub message: String,
}

/// Reads the text of a file. `environment` is what names in values stand for, beside the variables of earlier lines.
pub fn parse(text: &str, environment: &Variables) -> Result<Dotenv, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let variables: Result<Variables, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    let variables = variables.map_err(|error| match error {
        dotenvy::Error::LineParse(line, _) => {
            let first = line.lines().next().unwrap_or_default();
            let number = text.lines().position(|l| l.contains(first)).map_or(0, |n| n + 1);
            // The line itself may be a secret.
            let hint = if line.contains('$') { "; a value with a literal $ goes into single quotes" } else { "" };
            format!("{number}: is not NAME=value{hint}")
        }
        error => error.to_string(),
    })?;
    let warnings = lost(text, environment, &variables);
    Ok(Dotenv { variables, warnings })
}

/// Every `$` that stands for nothing.
fn lost(text: &str, environment: &Variables, variables: &Variables) -> Vec<DotenvWarning> {
    let is_set = |name: &str| environment.contains_key(name) || variables.contains_key(name);
    let lines: BTreeSet<usize> = references(text).into_iter().filter(|(_, name)| !is_set(name)).map(|(line, _)| line).collect();
    let message = "a $ begins the name of a variable, here one that is not set and counts as nothing. A literal $ is written \\$, \
                   or the value stands in single quotes; a name with an underscore is written ${NAME}";
    lines.into_iter().map(|line| DotenvWarning { line, message: message.into() }).collect()
}

/// The names behind each `$` that is neither in single quotes, nor escaped, nor in a comment; with its line.
fn references(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut line, mut quote, mut before) = (1, None, '\n');
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (_, '\n') => line += 1,
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => {
                line += usize::from(chars.next().is_some_and(|(_, escaped)| escaped == '\n'));
            }
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if before.is_whitespace() => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            (_, '$') => found.push((line, name_in(&text[at + 1..]))),
            _ => {}
        }
        before = c;
    }
    found
}

/// `NAME` of `NAME…` or `{NAME}…`: letters and digits, or whatever stands in the braces.
fn name_in(rest: &str) -> &str {
    match rest.strip_prefix('{') {
        Some(braced) => braced.split('}').next().unwrap_or_default(),
        None => {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            // Here a name ends before an underscore, which is never what was meant.
            if rest[end..].starts_with('_') { "" } else { &rest[..end] }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Dotenv {
        let environment = [("SET".to_owned(), "set".to_owned())].into_iter().collect();
        parse(text, &environment).unwrap()
    }

    #[test]
    fn a_dollar_that_is_lost_is_told_of_and_no_other() {
        for (value, is_lost) in [
            ("pa$word", true),
            ("\"pa $word x\"", true),
            ("pa$", true),
            ("pa$$word", true),
            ("${word}", true),
            ("$A_B", true),
            ("pa\\$word", false),
            ("\"pa\\$word\"", false),
            ("'pa$word'", false),
            ("word # costs $5", false),
            ("$SET-${SET}", false),
            ("$A/${A}", false),
            ("word", false),
        ] {
            let dotenv = parsed(&format!("# what $this is\nA=1\nSECRET={value}\nB='it''s'\n"));
            let lines: Vec<usize> = dotenv.warnings.iter().map(|warning| warning.line).collect();
            assert_eq!(lines, if is_lost { vec![3] } else { vec![] }, "{value}");
            assert_eq!(dotenv.variables.len(), 3, "{value}");
            assert!(dotenv.warnings.iter().all(|warning| !warning.message.contains("word")), "it may be a secret");
        }
    }

    #[test]
    fn each_line_is_told_of_once_with_its_number() {
        let dotenv = parsed("A='two\nlines $x'\nB=$x$y\nC=\"a\nb $x c\"\n");
        assert_eq!(dotenv.warnings.iter().map(|warning| warning.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn a_line_that_is_none_has_its_number_and_a_hint() {
        let error = |text: &str| parse(text, &Variables::new()).unwrap_err();
        assert_eq!(error("A=1\nwhat is this\n"), "2: is not NAME=value");
        assert_eq!(error("A=1\nB=\"a$b\"\n"), "2: is not NAME=value; a value with a literal $ goes into single quotes");
    }
}
