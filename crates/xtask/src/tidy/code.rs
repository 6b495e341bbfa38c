//! Rules for Rust that no lint has.

use super::rust::Source;
use super::{Tree, Violation};

/// Finds `matches!(..);` as a statement: its answer is dropped, and neither rustc nor clippy says so.
pub(crate) fn bare_matches(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.rust() {
        for at in source.find(&["matches", "!", "("]) {
            if is_statement(&source, at) {
                let line = source.tokens[at].line;
                found.push(Violation::new(
                    path,
                    line,
                    "the answer of matches! is dropped: assert it",
                ));
            }
        }
    }
    found
}

/// Whether the macro call at `at` stands alone between `;`, `{` or `}` and `;`.
fn is_statement(source: &Source<'_>, at: usize) -> bool {
    if !source.is_at(source.closing(at + 2) + 1, &[";"]) {
        return false;
    }
    let mut start = at;
    while start >= 3 && source.is_at(start - 2, &[":", ":"]) {
        start -= 3;
    }
    match start.checked_sub(1).map(|before| source.tokens[before].text) {
        // After `]` of an attribute.
        Some(before) => matches!(before, ";" | "{" | "}" | "]"),
        None => true,
    }
}

/// Finds tests, and doctests, that are never run.
pub(crate) fn ignored(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.rust() {
        for at in source.find(&["#", "["]) {
            let attribute = source.tokens.get(at..source.closing(at + 1)).unwrap_or_default();
            let head = attribute.get(2).map(|token| token.text);
            let ignores = match head {
                Some("ignore") => true,
                Some("cfg_attr") => attribute.iter().any(|token| token.text == "ignore"),
                _ => false,
            };
            if ignores {
                let line = source.tokens[at].line;
                found.push(Violation::new(path, line, "an ignored test: mend or remove it"));
            }
        }
        for comment in &source.comments {
            for (index, line) in comment.text.lines().enumerate() {
                let fence = line.split_once("```").map_or("", |(_, info)| info);
                if fence.split(',').any(|word| word.trim() == "ignore") {
                    let what = "an ignored doctest: let it run, or mark it `text` or `no_run`";
                    found.push(Violation::new(path, comment.line + index, what));
                }
            }
        }
    }
    found
}

/// Finds code that tests leave out, which is then the code no test runs.
pub(crate) fn not_test(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.rust() {
        for at in source.find(&["not", "(", "test", ")"]) {
            let line = source.tokens[at].line;
            found.push(Violation::new(
                path,
                line,
                "code that no test runs: put it behind the `fs` seam",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    fn lines(check: fn(&Tree) -> Vec<Violation>, text: &str) -> Vec<String> {
        places(check, &[("a.rs", text)])
    }

    #[test]
    fn a_bare_matches_is_found() {
        assert_eq!(lines(bare_matches, "fn a() {\n  matches!(b, Some(_));\n}"), ["a.rs:2"]);
        assert_eq!(lines(bare_matches, "if a {}\nstd::matches!(b, c);"), ["a.rs:2"]);
        assert_eq!(
            lines(bare_matches, "a();\n#[rustfmt::skip]\nmatches!(\n  b,\n  c\n);"),
            ["a.rs:3"]
        );
        assert_eq!(lines(bare_matches, "matches!(a, b);"), ["a.rs:1"]);
    }

    #[test]
    fn a_matches_that_is_used_is_fine() {
        for fine in [
            "assert!(matches!(a, b));",
            "let a = matches!(b, c);",
            "fn a() -> bool {\n matches!(b, c)\n}",
            "return matches!(a, b);",
            "match a { b => matches!(c, d), }",
            "// matches!(a, b);\n",
            "let a = \"; matches!(b, c);\";",
            "!matches!(a, b);",
        ] {
            assert_eq!(lines(bare_matches, fine), [""; 0], "{fine}");
        }
    }

    #[test]
    fn ignored_tests_and_doctests_are_found() {
        assert_eq!(lines(ignored, "#[test]\n#[ignore]\nfn a() {}"), ["a.rs:2"]);
        assert_eq!(lines(ignored, "#[ignore = \"slow\"]"), ["a.rs:1"]);
        assert_eq!(lines(ignored, "#[cfg_attr(miri, ignore)]"), ["a.rs:1"]);
        assert_eq!(lines(ignored, "/// ```rust,ignore\n/// a\n/// ```\n"), ["a.rs:1"]);
        assert_eq!(
            lines(ignored, "//! ```no_run\n#[derive(A)] // ignore\nlet ignore = 1;"),
            [""; 0]
        );
    }

    #[test]
    fn code_left_out_of_tests_is_found() {
        assert_eq!(lines(not_test, "a\n#[cfg(not(test))]\nb"), ["a.rs:2"]);
        assert_eq!(lines(not_test, "#[cfg(all(unix, not( test )))]"), ["a.rs:1"]);
        assert_eq!(lines(not_test, "#[cfg(not(feature = \"test\"))] // cfg(not(test))"), [""; 0]);
    }
}
