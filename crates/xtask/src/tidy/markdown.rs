//! As much Markdown as the checks need: prose without code, links, and the anchors of headings.

/// The lines of `text`, with fenced blocks and code spans blanked.
pub(crate) fn prose(text: &str) -> Vec<String> {
    unfenced(text).into_iter().map(without_code_spans).collect()
}

/// The lines of `text`, those of fenced blocks empty.
fn unfenced(text: &str) -> Vec<&str> {
    let mut fence: Option<&str> = None;
    let line_of = |line| {
        let mark = ["```", "~~~"].into_iter().find(|mark| str::trim_start(line).starts_with(mark));
        match (fence, mark) {
            (None, None) => return line,
            (None, Some(_)) => fence = mark,
            (Some(open), Some(close)) if open == close => fence = None,
            (Some(_), _) => {}
        }
        ""
    };
    text.lines().map(line_of).collect()
}

/// A span opened on one line and closed on the next is not known; the rest of its line stays.
fn without_code_spans(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some((before, from_ticks)) = rest.find('`').map(|at| rest.split_at(at)) {
        let body = from_ticks.trim_start_matches('`');
        let ticks = from_ticks.strip_suffix(body).unwrap_or_default();
        kept.push_str(before);
        let Some((span, after)) = body.split_once(ticks) else {
            rest = body;
            continue;
        };
        kept.extend(span.chars().map(|_| ' '));
        rest = after;
    }
    kept + rest
}

/// The targets of `[text](target)` and `[text]: target`, each with its line.
pub(crate) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in prose(text).iter().enumerate() {
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let defined = line.strip_prefix('[').filter(|rest| !rest.starts_with('^'));
        let defined = defined.and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(defined) {
            // What follows a space is a title.
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push((index + 1, target.to_owned()));
        }
    }
    found
}

/// The anchors that hosts make from headings.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for line in unfenced(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if (1..=6).contains(&level) && title.starts_with(' ') {
            let slug = slug(title.trim());
            let repeated = (1..).map(|n| format!("{slug}-{n}"));
            let mut names = std::iter::once(slug.clone()).chain(repeated);
            anchors.extend(names.find(|name| !anchors.contains(name)));
        }
    }
    anchors
}

fn slug(title: &str) -> String {
    let mut text = String::new();
    // Of a link in a heading only its text counts.
    let mut rest = title;
    while let Some((before, target_on)) = rest.split_once("](") {
        text.push_str(before);
        rest = target_on.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_not_prose() {
        let text = "a `b` c ``d ` e`` f\n```\ng\n~~~\nh\n```\ni `j\n";
        assert_eq!(prose(text), ["a   c       f", "", "", "", "", "", "i j"]);
    }

    #[test]
    fn links_are_found_in_both_forms() {
        let text = "[a](b.md) and ![`c`](d.png \"title\")\n[e]: f.md#g\n`[h](i.md)`\n[^1]: note\n";
        let found: Vec<String> = links(text).into_iter().map(|(_, target)| target).collect();
        assert_eq!(found, ["b.md", "d.png", "f.md#g"]);
    }

    #[test]
    fn anchors_are_slugs_of_headings() {
        let text =
            "# A `b_c`: D!\n## See [e](f.md)\n## Twice\n## Twice\n```\n# not one\n```\n#tag\n";
        assert_eq!(anchors(text), ["a-b_c-d", "see-e", "twice", "twice-1"]);
    }
}
