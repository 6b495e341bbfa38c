//! Rules for files as a whole: names, lengths, and the settings they must take over.

use super::exceptions::{LONG_FILES, LongFile};
use super::rust::Source;
use super::{Tree, Violation, is_test_file};

/// Names under which anything could be put.
const VAGUE: [&str; 8] =
    ["common", "helper", "helpers", "misc", "types", "util", "utilities", "utils"];

pub(crate) fn names(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, _) in tree.ending(&[".rs"]) {
        let module =
            path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or(path);
        let name = module.rsplit('/').next().unwrap_or(module);
        if VAGUE.contains(&name) {
            let what = format!("`{name}` says nothing: put each thing with the noun it serves");
            found.push(Violation::new(path, 0, what));
        }
    }
    found
}

/// Lines of a file before its test module.
const LINES_MAX: usize = 600;

pub(crate) fn lengths(tree: &Tree) -> Vec<Violation> {
    lengths_with(tree, LONG_FILES)
}

fn lengths_with(tree: &Tree, long_files: &[LongFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&[".rs"]).filter(|(path, _)| !is_test_file(path)) {
        let tests = Source::new(text).tests_line();
        let lines = tests.map_or(text.lines().count(), |line| line - 1);
        let exception = long_files.iter().find(|long| long.path == path);
        let max = exception.map_or(LINES_MAX, |long| long.lines_max);
        if lines > max {
            let why = exception.map_or("", |long| long.reason);
            let what =
                format!("{lines} lines before the tests, {max} at most: split by noun. {why}");
            found.push(Violation::new(path, 0, what.trim_end()));
        }
        if exception.is_some() && lines <= LINES_MAX {
            let what = format!("{lines} lines need no entry in LONG_FILES: remove it");
            found.push(Violation::new(path, 0, what));
        }
    }
    for long in long_files.iter().filter(|long| !tree.has(long.path)) {
        found.push(Violation::new(long.path, 0, "is gone: remove it from LONG_FILES"));
    }
    found
}

pub(crate) fn manifests(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&["Cargo.toml"]) {
        let lines = || text.lines().map(str::trim);
        let is_crate = lines().any(|line| line == "[package]");
        let section = lines().skip_while(|line| *line != "[lints]").skip(1);
        let mut section = section.take_while(|line| !line.starts_with('['));
        if is_crate && !section.any(|line| line.replace(' ', "") == "workspace=true") {
            let what = "lacks `[lints]` with `workspace = true`: the rules would not hold here";
            found.push(Violation::new(path, 0, what));
        }
    }
    found
}

/// Clippy takes the nearest `clippy.toml` and no other, so each must say what the root's says.
pub(crate) fn clippy_settings(tree: &Tree) -> Vec<Violation> {
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let root = tree.texts.get("clippy.toml").map(|text| settings(text)).unwrap_or_default();
    let mut found = Vec::new();
    for (path, text) in tree.ending(&["/clippy.toml"]) {
        let here = settings(text);
        for missing in root.iter().filter(|line| !here.contains(line)) {
            let what = format!(
                "lacks `{missing}` of the root's clippy.toml, which clippy does not read here"
            );
            found.push(Violation::new(path, 0, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found() {
        let files = [("src/util.rs", ""), ("tests/common/mod.rs", ""), ("src/types_of_ink.rs", "")];
        assert_eq!(places(names, &files), ["src/util.rs:0", "tests/common/mod.rs:0"]);
    }

    fn of_lines(count: usize) -> String {
        "a\n".repeat(count)
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let (long, fine) = (of_lines(LINES_MAX + 1), of_lines(LINES_MAX));
        let tested = format!("{fine}#[cfg(test)]\nmod tests {{\n{long}\n}}\n");
        let files =
            [("a.rs", &*long), ("b.rs", &*fine), ("c.rs", &*tested), ("x/tests/it.rs", &*long)];
        assert_eq!(places(lengths, &files), ["a.rs:0"]);
    }

    #[test]
    fn a_long_file_with_an_entry_must_not_grow() {
        let entries = [LongFile { path: "a.rs", lines_max: 700, reason: "a test" }];
        let found = |lines| lengths_with(&Tree::of(&[("a.rs", &of_lines(lines))]), &entries).len();
        assert_eq!((found(LINES_MAX), found(700), found(701)), (1, 0, 1));
        assert_eq!(lengths_with(&Tree::of(&[]), &entries).len(), 1, "the file is gone");
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        let files = [
            ("a/Cargo.toml", "[package]\n[lints]\n[dependencies]\nworkspace = true\n"),
            ("b/Cargo.toml", "[package]\n"),
            ("c/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"),
            ("Cargo.toml", "[workspace]\n"),
        ];
        assert_eq!(places(manifests, &files), ["a/Cargo.toml:0", "b/Cargo.toml:0"]);
    }

    #[test]
    fn a_clippy_toml_that_drops_a_setting_is_found() {
        let files = [
            ("clippy.toml", "a = 1\nb = 2\n"),
            ("x/clippy.toml", "b = 2\n"),
            ("y/clippy.toml", "# y\nb = 2\na = 1"),
        ];
        assert_eq!(places(clippy_settings, &files), ["x/clippy.toml:0"]);
    }
}
