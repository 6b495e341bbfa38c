//! The way to a part of a document.

use std::borrow::Cow;

use crate::failure::Failure;

/// A step from a value to a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    /// Of a list; in a JSON pointer it may be a name, too.
    Index(usize),
}

impl Step {
    /// What it is called in an object.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Name(name) => name.into(),
            Self::Index(index) => index.to_string().into(),
        }
    }
}

/// `$.a.b[0]`, `a.b[0]` or `/a/b/0`; empty or `$` for the whole.
pub(super) fn parse(path: &str) -> Result<Vec<Step>, Failure> {
    if let Some(pointer) = path.strip_prefix('/') {
        let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
        return Ok(pointer.split('/').map(|part| named_or_numbered(unescape(part))).collect());
    }
    let bad = || {
        Failure::invalid(format!("this is no path: {path}"))
            .advise("a path is $.name.list[0], or a JSON pointer, /name/list/0")
    };
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('[') {
            let (index, behind) = behind.split_once(']').ok_or_else(bad)?;
            steps.push(Step::Index(index.parse().ok().ok_or_else(bad)?));
            rest = behind;
            continue;
        }
        let named = rest.strip_prefix('.').unwrap_or(rest);
        let end = named.find(['.', '[']).unwrap_or(named.len());
        let (name, behind) = named.split_at(end);
        if name.is_empty() {
            return Err(bad());
        }
        steps.push(Step::Name(name.to_owned()));
        rest = behind;
    }
    Ok(steps)
}

fn named_or_numbered(part: String) -> Step {
    match part.parse() {
        Ok(index) if part == "0" || !part.starts_with('0') => Step::Index(index),
        _ => Step::Name(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_both_forms() {
        let name = |name: &str| Step::Name(name.into());
        for (path, steps) in [
            ("", vec![]),
            ("$", vec![]),
            ("$.a.b[0]", vec![name("a"), name("b"), Step::Index(0)]),
            ("a[1][2].c", vec![name("a"), Step::Index(1), Step::Index(2), name("c")]),
            ("/a/0/x~1y~0", vec![name("a"), Step::Index(0), name("x/y~")]),
        ] {
            assert_eq!(parse(path).expect(path), steps, "{path}");
        }
        for path in ["$.", "a..b", "a[", "a[x]", "a[-1]"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
