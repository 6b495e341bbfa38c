//! The checks of our own rules, for what neither rustc nor clippy looks at.
//!
//! A check is a function from the [`Tree`] to what breaks its rule; [`CHECKS`] lists them, and exceptions are
//! in `exceptions.rs`. Nothing here touches the disk but [`Tree::read`], so tests plant violations in trees of
//! literals. `docs/style.md` has the rules with their reasons.

mod code;
mod constants;
mod exceptions;
mod files;
mod layers;
mod links;
mod markdown;
mod rust;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use exceptions::{EXCEPTIONS, Exception};

/// A rule.
struct Check {
    name: &'static str,
    about: &'static str,
    run: fn(&Tree) -> Vec<Violation>,
}

const CHECKS: &[Check] = &[
    Check { name: "ascii", about: "sources are ASCII", run: text::ascii },
    Check { name: "space", about: "no tabs, no space at the end of a line", run: text::space },
    Check { name: "todo", about: "what is left to do has an issue number", run: text::todo },
    Check { name: "machine", about: "no absolute path of some machine", run: text::machine },
    Check { name: "matches", about: "matches! is inside an assert", run: code::bare_matches },
    Check { name: "ignored", about: "no test is ignored, doctests included", run: code::ignored },
    Check { name: "not-test", about: "tests run what users run", run: code::not_test },
    Check { name: "file-name", about: "files are named after a noun", run: files::names },
    Check { name: "file-length", about: "files stay short", run: files::lengths },
    Check {
        name: "manifest",
        about: "every crate takes the lints of the workspace",
        run: files::manifests,
    },
    Check {
        name: "clippy-toml",
        about: "every clippy.toml repeats the root's",
        run: files::clippy_settings,
    },
    Check { name: "link", about: "relative links lead somewhere", run: links::links },
    Check { name: "layer", about: "modules know only those below them", run: layers::layers },
    Check {
        name: "constant",
        about: "docs/format.md has the constants of the code",
        run: constants::constants,
    },
];

/// The files of the repository by their path from its root, with `/` between names.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Those that are text.
    texts: BTreeMap<String, String>,
    /// All of them.
    paths: BTreeSet<String>,
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    /// Counted from 1; 0 stands for the whole file.
    line: usize,
    what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

impl Tree {
    /// Reads what git tracks, and what it would track after `git add --all`.
    fn read(root: &Path) -> Result<Self, String> {
        // In containers the clone often belongs to another user, which git refuses without the setting.
        let args = ["-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"];
        let listed = Command::new("git").args(args).current_dir(root).output();
        let listed = listed.map_err(|e| format!("git, which lists the files for tidy: {e}"))?;
        if !listed.status.success() {
            return Err(format!(
                "git ls-files: {}",
                String::from_utf8_lossy(&listed.stderr).trim()
            ));
        }
        let mut tree = Self::default();
        for path in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            match std::fs::read(root.join(path)) {
                Ok(bytes) => tree.add(path, String::from_utf8(bytes).ok()),
                // Removed, but not yet from git's index; or a link to a directory.
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
                Err(e) => return Err(format!("{path}: {e}")),
            }
        }
        Ok(tree)
    }

    fn add(&mut self, path: &str, text: Option<String>) {
        self.paths.insert(path.to_owned());
        self.texts.extend(text.map(|text| (path.to_owned(), text)));
    }

    /// The text files whose names end so, with their text.
    fn ending<'a>(&'a self, ends: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let texts = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        texts.filter(move |(path, _)| ends.iter().any(|end| path.ends_with(end)))
    }

    /// The Rust files, cut into tokens.
    fn rust(&self) -> impl Iterator<Item = (&str, rust::Source<'_>)> {
        self.ending(&[".rs"]).map(|(path, text)| (path, rust::Source::new(text)))
    }

    /// Whether there is a file or directory at `path`.
    fn has(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        let next = self.paths.range(inside.clone()..).next();
        path.is_empty()
            || self.paths.contains(path)
            || next.is_some_and(|next| next.starts_with(&inside))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path, Some((*text).to_owned()));
        }
        tree
    }
}

/// Whether a file holds only tests, going by its path.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests")
}

/// What breaks a rule and is not excepted, and exceptions that except nothing any more.
fn violations(tree: &Tree, exceptions: &[Exception]) -> Vec<(&'static str, Violation)> {
    let mut used = BTreeSet::new();
    let mut left = Vec::new();
    for check in CHECKS {
        for violation in (check.run)(tree) {
            let covers = |e: &Exception| e.check == check.name && e.path == violation.path;
            match exceptions.iter().position(covers) {
                Some(index) => {
                    used.insert(index);
                }
                None => left.push((check.name, violation)),
            }
        }
    }
    for (index, exception) in exceptions.iter().enumerate() {
        let check = exception.check;
        let what = if !used.contains(&index) {
            format!("has an exception from `{check}` that it does not need: remove it")
        } else if exception.reason.is_empty() {
            format!("has an exception from `{check}` without a reason")
        } else {
            continue;
        };
        left.push(("exceptions", Violation::new(exception.path, 0, what)));
    }
    left
}

/// Prints what breaks a rule; an error if anything does.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let found = violations(&tree, EXCEPTIONS);
    for (check, violation) in &found {
        println!("{violation} [{check}]");
    }
    match found.len() {
        0 => {
            println!("tidy: {} files, {} rules", tree.paths.len(), CHECKS.len());
            Ok(())
        }
        n => Err(format!("tidy found {n} to mend; `cargo xtask tidy --help` has the rules")),
    }
}

pub(crate) fn help() -> String {
    let mut text = "\
Checks our own rules. Writes nothing.

Usage: cargo xtask tidy

Rules:
"
    .to_owned();
    for check in CHECKS {
        writeln!(text, "  {:<12} {}", check.name, check.about).expect("a string takes any text");
    }
    text.push_str(
        "
The reasons are in docs/style.md. An exception is a line in crates/xtask/src/tidy/exceptions.rs
with its reason; one that is no longer needed is reported too. Layers are a table in layers.rs there.

Example:
  cargo xtask tidy
",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tree cannot do without.
    const TABLE: &str = "<!-- constants -->\n<!-- /constants -->\n";

    fn exception(check: &'static str, path: &'static str) -> Exception {
        Exception { check, path, reason: "a test" }
    }

    /// What `check` says about `files`: `path:line` each.
    pub(super) fn places(
        check: fn(&Tree) -> Vec<Violation>,
        files: &[(&str, &str)],
    ) -> Vec<String> {
        let found = check(&Tree::of(files));
        found
            .into_iter()
            .map(|violation| format!("{}:{}", violation.path, violation.line))
            .collect()
    }

    #[test]
    fn an_exception_covers_one_rule_in_one_file() {
        let tree = Tree::of(&[("a.rs", "\t\n"), ("b.rs", "\t\n"), ("docs/format.md", TABLE)]);
        let found = violations(&tree, &[exception("space", "a.rs")]);
        let found: Vec<String> =
            found.iter().map(|(check, v)| format!("{check} {}", v.path)).collect();
        assert_eq!(found, ["space b.rs"]);
    }

    #[test]
    fn an_exception_that_excepts_nothing_is_reported() {
        let tree = Tree::of(&[("docs/format.md", TABLE)]);
        let found = violations(&tree, &[exception("space", "a.rs")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "exceptions");
    }

    #[test]
    fn directories_exist_through_their_files() {
        let tree = Tree::of(&[("a/b/c", ""), ("a-b", "")]);
        assert!(tree.has("") && tree.has("a") && tree.has("a/b") && tree.has("a/b/c"));
        assert!(!tree.has("a/") && !tree.has("b") && !tree.has("a/b/c/d"));
    }

    #[test]
    fn an_exception_without_a_reason_is_reported() {
        let tree = Tree::of(&[("a.rs", "\t\n"), ("docs/format.md", TABLE)]);
        let found = violations(&tree, &[Exception { reason: "", ..exception("space", "a.rs") }]);
        assert_eq!(found.len(), 1);
    }
}
