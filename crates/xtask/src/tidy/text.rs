//! Rules for any line of text.

use super::{Tree, Violation, markdown};

pub(crate) fn ascii(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&[".rs"]) {
        for (index, line) in text.lines().enumerate() {
            if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
                let what = format!("{c:?} is not ASCII: write {}", c.escape_unicode());
                found.push(Violation::new(path, index + 1, what));
            }
        }
    }
    found
}

pub(crate) fn space(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&[".rs", ".md", ".toml"]) {
        for (index, line) in text.split('\n').enumerate() {
            if line.contains('\t') {
                found.push(Violation::new(path, index + 1, "a tab"));
            } else if line.ends_with(char::is_whitespace) {
                found.push(Violation::new(path, index + 1, "space at the end of the line"));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            let last = text.lines().count();
            found.push(Violation::new(path, last, "a file ends with one line feed"));
        }
    }
    found
}

const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// In comments, documents and settings; code in documents may show the words.
pub(crate) fn todo(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut look = |path: &str, line: usize, text: &str| {
        if let Some(mark) = MARKS.into_iter().find(|mark| has_unnumbered(text, mark)) {
            let what = format!("{mark} without an issue number: write {mark}(#1), or do it");
            found.push(Violation::new(path, line, what));
        }
    };
    for (path, source) in tree.rust() {
        for comment in source.comments {
            for (index, line) in comment.text.lines().enumerate() {
                look(path, comment.line + index, line);
            }
        }
    }
    for (path, text) in tree.ending(&[".md"]) {
        for (index, line) in markdown::prose(text).iter().enumerate() {
            look(path, index + 1, line);
        }
    }
    for (path, text) in tree.ending(&[".toml"]) {
        for (index, line) in text.lines().enumerate() {
            look(path, index + 1, line);
        }
    }
    found
}

/// Whether `mark` is in `text` as a word that no `(#1)` follows.
fn has_unnumbered(text: &str, mark: &str) -> bool {
    let in_word = |c: char| c == '_' || c.is_alphanumeric();
    text.match_indices(mark).any(|(at, _)| {
        let (before, from) = text.split_at(at);
        let after = from.strip_prefix(mark).unwrap_or(from);
        let number = after.trim_start_matches([' ', '(']).strip_prefix('#');
        let numbered = number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        !before.ends_with(in_word) && !after.starts_with(in_word) && !numbered
    })
}

/// Where machines that worked on the project keep it. In pieces, or this file would hold them.
const MACHINE_DIRS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(crate) fn machine(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&[""]) {
        for (index, line) in text.lines().enumerate() {
            if let Some(dir) = MACHINE_DIRS.into_iter().find(|dir| has_absolute(line, dir)) {
                let what = format!(
                    "{dir} is a path of one machine: write one from the root of the repository"
                );
                found.push(Violation::new(path, index + 1, what));
            }
        }
    }
    found
}

/// Whether `dir` is in `line` where a path begins: `a/b/` is not in `c/a/b/`.
fn has_absolute(line: &str, dir: &str) -> bool {
    let inside_path = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    line.match_indices(dir)
        .any(|(at, _)| !line.get(..at).unwrap_or_default().ends_with(inside_path))
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    #[test]
    fn a_letter_beyond_ascii_is_found_in_sources_only() {
        let files = [("a.rs", "a\n// \u{e9}\n"), ("a.md", "\u{e9}\n")];
        assert_eq!(places(ascii, &files), ["a.rs:2"]);
    }

    #[test]
    fn tabs_and_trailing_space_are_found() {
        let files = [
            ("a.rs", "a\n\tb\n"),
            ("b.md", "a \nb\n"),
            ("c.toml", "a\r\n"),
            ("d.txt", "a\t \n"),
            ("e.rs", "a b\n"),
        ];
        assert_eq!(places(space, &files), ["a.rs:2", "b.md:1", "c.toml:1"]);
    }

    #[test]
    fn a_file_ends_with_one_line_feed() {
        let files = [("a.rs", "a"), ("b.rs", "b\n\n"), ("c.rs", ""), ("d.rs", "d\n")];
        assert_eq!(places(space, &files), ["a.rs:1", "b.rs:2"]);
    }

    #[test]
    fn unnumbered_marks_are_found_in_comments_and_prose() {
        let files = [
            ("a.rs", "// TODO: a\n/* b\n XXX */ \"TODO\"\n// TODO(#12): c\n// TODOS, A_TODO\n"),
            ("b.md", "FIXME later\n`TODO`\n"),
            ("c.toml", "# TODO(#1) and TODO\n"),
        ];
        assert_eq!(places(todo, &files), ["a.rs:1", "a.rs:3", "b.md:1", "c.toml:1"]);
    }

    #[test]
    fn paths_of_machines_are_found_in_any_text() {
        let planted = MACHINE_DIRS.map(|dir| format!("x\ncd {dir}a\n"));
        let files = [("a", &*planted[0]), ("b.sh", &*planted[1]), ("c", "frame/work_/root")];
        assert_eq!(places(machine, &files), ["a:2", "b.sh:2"]);
        let inner = format!("crates{}a", MACHINE_DIRS[0]);
        assert_eq!(places(machine, &[("a", &inner)]), [""; 0]);
    }
}
