//! Which module of the engine may know which. The tables are meant to be edited; tests may know all.

use super::rust::{Kind, Source, Token};
use super::{Tree, Violation, is_test_file};

const SRC: &str = "crates/bitcask/src/";

/// Modules that know no others of the crate than these.
const KNOWS_ONLY: &[(&str, &[&str])] = &[
    // Formats are pure functions over bytes.
    ("record", &["error", "place"]),
    ("header", &[]),
    ("place", &[]),
    ("compress", &["place", "record"]),
    // Reads its own blocks.
    ("hint", &["error", "fs", "place", "record"]),
    ("scan", &["error", "fs", "header", "place", "record"]),
];

/// Modules, of ours or not, that no others than these know.
const KNOWN_ONLY_BY: &[(&str, &[&str])] = &[
    // The store is the top. `options` opens it; the others are further parts of its API.
    ("db", &["lib", "options", "stores", "stream", "train", "transaction", "typed", "update"]),
    // The operating system is reached through the `fs` seam, or the simulated disk would miss it.
    ("rustix", &["fs"]),
];

pub(crate) fn layers(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, source) in tree.rust().filter(|(path, _)| !is_test_file(path)) {
        let Some(inner) = path.strip_prefix(SRC) else { continue };
        let module = inner.split(['/', '.']).next().unwrap_or(inner);
        for used in used_modules(&source, module, !inner.contains('/')) {
            let what = fault(module, used.text);
            found.extend(what.map(|what| Violation::new(path, used.line, what)));
        }
    }
    found
}

/// What is wrong with `module` using `used`.
fn fault(module: &str, used: &str) -> Option<String> {
    if module == used {
        return None;
    }
    let knows = KNOWS_ONLY.iter().find(|(name, _)| *name == module);
    if let Some((_, known)) = knows.filter(|(_, known)| !known.contains(&used) && used != "rustix")
    {
        return Some(format!("`{module}` may use only {known:?} of this crate, not `{used}`"));
    }
    let known_by = KNOWN_ONLY_BY.iter().find(|(name, _)| *name == used);
    let (_, users) = known_by.filter(|(_, users)| !users.contains(&module))?;
    Some(format!("only {users:?} may use `{used}`"))
}

/// The names after `crate::`, in braces too, and those crates that [`KNOWN_ONLY_BY`] has. In a file
/// directly in the source directory `super::` is `crate::`, and in `lib.rs` modules are used by name.
fn used_modules<'a>(source: &Source<'a>, module: &str, top: bool) -> Vec<Token<'a>> {
    let tokens = source.before_tests();
    let mut used = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let from_root = token.text == "crate" || (top && module != "lib" && token.text == "super");
        if from_root && source.is_at(at + 1, &[":", ":"]) {
            used.extend(names_at(source, at + 3));
        }
        let path_head =
            source.is_at(at + 1, &[":", ":"]) && !(at > 0 && source.is_at(at - 1, &[":"]));
        if path_head && token.text == "rustix" {
            used.push(*token);
        }
    }
    used
}

/// The name at `at`, or the first name of each path in the braces there.
fn names_at<'a>(source: &Source<'a>, at: usize) -> Vec<Token<'a>> {
    if !source.is_at(at, &["{"]) {
        return source.tokens.get(at).copied().into_iter().collect();
    }
    let mut names = Vec::new();
    let (mut index, end) = (at + 1, source.closing(at));
    let mut first = true;
    while index < end {
        let token = source.tokens[index];
        match token.text {
            "{" => index = source.closing(index),
            "," => first = true,
            _ if first && token.kind == Kind::Word => {
                names.push(token);
                first = false;
            }
            _ => {}
        }
        index += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<usize> {
        let tree = Tree::of(&[(&format!("{SRC}{file}"), text)]);
        layers(&tree).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_format_that_knows_more_than_formats_is_found() {
        assert_eq!(lines("record.rs", "use crate::error::Result;\nuse crate::fs::File;\n"), [2]);
        assert_eq!(
            lines("record.rs", "use crate::{\n  place::{ALIGNMENT, fs},\n  keydir,\n};\n"),
            [3]
        );
        assert_eq!(lines("hint.rs", "fn a() {\n  super::log::b()\n}\n"), [2]);
        assert_eq!(lines("hint.rs", "use crate::Options;\n"), [1]);
        assert_eq!(lines("hint.rs", "use crate::record::Record;\nuse crate::hint::A;\n"), [0; 0]);
    }

    #[test]
    fn a_module_that_knows_the_top_is_found() {
        assert_eq!(lines("merge.rs", "use crate::db::Bitcask;\n"), [1]);
        assert_eq!(lines("fs/disk.rs", "use crate::{error, db};\n"), [1]);
        assert_eq!(lines("lib.rs", "use crate::db::Bitcask;\n"), [0; 0]);
        assert_eq!(lines("db.rs", "use crate::db::Bitcask;\n"), [0; 0]);
    }

    #[test]
    fn the_operating_system_is_behind_the_seam() {
        assert_eq!(lines("lock.rs", "a();\nrustix::fs::flock(b);\n"), [2]);
        assert_eq!(lines("fs/disk.rs", "use rustix::fs::flock;\n"), [0; 0]);
    }

    #[test]
    fn tests_may_know_all() {
        let text = "#[cfg(test)]\nmod tests {\n  use crate::db::Bitcask;\n}\n";
        assert_eq!(lines("record.rs", text), [0; 0]);
        assert_eq!(lines("merge/tests.rs", "use crate::db::Bitcask;\n"), [0; 0]);
        let other = [("crates/bitcask-cli/src/record.rs", "use crate::db::Bitcask;\n")];
        assert_eq!(places(layers, &other), [""; 0]);
    }
}
