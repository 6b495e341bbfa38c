//! Links between documents: a relative link leads to a file of the repository, and its anchor to a heading.

use super::markdown::{anchors, links as links_of};
use super::{Tree, Violation};

pub(crate) fn links(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(&[".md"]) {
        for (line, target) in links_of(text) {
            if let Some(what) = fault(tree, path, &target) {
                found.push(Violation::new(path, line, what));
            }
        }
    }
    found
}

/// What is wrong with a link from the file `from`.
fn fault(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, a)| (file, Some(a)));
    let path = if file.is_empty() { Some(from.to_owned()) } else { resolve(from, file) };
    let Some(path) = path.filter(|path| tree.has(path)) else {
        return Some(format!("the link to {target} leads nowhere"));
    };
    let (anchor, text) = (anchor?, tree.texts.get(&path)?);
    let leads = !path.ends_with(".md") || anchors(text).iter().any(|a| a == anchor);
    (!leads).then(|| format!("{path} has no heading for #{anchor}"))
}

/// The path from the root of what `from` calls `file`; none if that is outside.
fn resolve(from: &str, file: &str) -> Option<String> {
    // A leading slash is the root of the repository, as on its web pages.
    let dir =
        if file.starts_with('/') { "" } else { from.rsplit_once('/').map_or("", |(dir, _)| dir) };
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(file.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    #[test]
    fn dead_links_and_anchors_are_found() {
        let a = "[1](docs/b.md) [2](docs/)\n[3](c.md)\n[4](docs/b.md#there)\n[5](#here)\n[6](../out.md)\n";
        let b = "# Here\n[1](../a.md) [2](#here) [3](../a.md#no)\n[4](/a.md) [5](https://x/y#z)\n";
        let found = places(links, &[("a.md", a), ("docs/b.md", b)]);
        assert_eq!(found, ["a.md:2", "a.md:3", "a.md:4", "a.md:5", "docs/b.md:2"]);
    }

    #[test]
    fn anchors_are_looked_for_in_documents_only() {
        let files = [("a.md", "[1](b.rs#c) [2](b.rs)\n"), ("b.rs", "")];
        assert_eq!(places(links, &files), [""; 0]);
    }
}
