//! JSON as text: where a value begins and ends, and a text with other values in it.
//!
//! A document is changed in its text, and not read into values and written again: numbers keep their digits, members
//! their order, and all that is not meant stays byte for byte as it is.
//!
//! Everything but [`check`] is for text that it has let pass. Of other text the answers are wrong, but there always
//! is one.

use std::ops::Range;

use serde_json::Value;

use super::path::Step;
use crate::text::shortened;

/// Why there is no place for a value.
pub(super) struct NoPlace {
    pub(super) what: String,
    pub(super) help: Option<&'static str>,
}

/// The text without the space around it, if it is JSON, or what is wrong with it.
pub(super) fn check(text: &[u8]) -> Result<&str, String> {
    serde_json::from_slice::<Value>(text).map_err(|e| e.to_string())?;
    let text = str::from_utf8(text).map_err(|e| e.to_string())?;
    Ok(text.trim_matches(is_space))
}

/// The part that a path leads to.
pub(super) fn part<'a>(text: &'a str, steps: &[Step]) -> Option<&'a str> {
    let mut at = 0..text.len();
    for step in steps {
        at = find(text, &parts(text, at.start), step)?.value.clone();
    }
    text.get(at)
}

/// The text with a value in the place that a path leads to. Objects on the way to it are made; a list is only made
/// longer by one.
pub(super) fn with(text: &str, steps: &[Step], value: &str) -> Result<String, NoPlace> {
    let mut at = 0..text.len();
    for (index, step) in steps.iter().enumerate() {
        let parts = parts(text, at.start);
        if let Some(part) = find(text, &parts, step) {
            at = part.value.clone();
            continue;
        }
        let is_object = check_place(text, &at, &parts, step)?;
        let rest = steps.get(index + 1..).unwrap_or_default();
        let value = rest
            .iter()
            .rev()
            .fold(value.to_owned(), |value, step| format!("{{{}:{value}}}", quoted(&step.name())));
        let name = is_object.then(|| quoted(&step.name()));
        return Ok(appended(text, at, &parts, name, &value));
    }
    Ok(spliced(text, at, value))
}

/// The text without the part that a path leads to, if there is one.
pub(super) fn without(text: &str, before: &[Step], last: &Step) -> Option<String> {
    let mut at = 0..text.len();
    for step in before {
        at = find(text, &parts(text, at.start), step)?.value.clone();
    }
    let parts = parts(text, at.start);
    let is_meant: Vec<bool> =
        parts.iter().enumerate().map(|(index, part)| part.is(text, index, last)).collect();
    if !is_meant.contains(&true) {
        return None;
    }
    // A member goes with the comma before it, but the first ones with that behind them.
    let start = |index: usize| parts.get(index).map_or(0, Part::start);
    let end = |index: usize| parts.get(index).map_or(0, |part| part.value.end);
    let mut gone = Vec::new();
    let kept = is_meant.iter().position(|meant| !meant);
    match kept {
        None => gone.push(at.start + 1..at.end - 1),
        Some(0) => {}
        Some(first) => gone.push(start(0)..start(first)),
    }
    if let Some(first) = kept {
        let behind = (first + 1..parts.len()).filter(|&index| is_meant.get(index) == Some(&true));
        gone.extend(behind.map(|index| end(index - 1)..end(index)));
    }
    let mut left = String::with_capacity(text.len());
    let mut from = 0;
    for range in gone {
        left.push_str(text.get(from..range.start)?);
        from = range.end;
    }
    left.push_str(text.get(from..)?);
    Some(left)
}

/// The text on one line, or as people read it; otherwise as it is.
pub(super) fn laid_out(text: &str, is_pretty: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut at): (usize, usize) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, behind) = rest.split_at(token_len(rest));
        at = text.len() - behind.len();
        if token.starts_with(is_space) {
            continue;
        }
        let closes = matches!(token, "}" | "]");
        depth = if closes { depth.saturating_sub(1) } else { depth };
        // A list and an object begin a line with each part, and with their end, but where they have no parts.
        let is_first = out.ends_with(['{', '[']);
        let begins_line = if closes { !is_first } else { is_first || out.ends_with(',') };
        if is_pretty && begins_line {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
        out.push_str(token);
        if is_pretty && token == ":" {
            out.push(' ');
        }
        depth += usize::from(matches!(token, "{" | "["));
    }
    out
}

/// A member of an object, or an element of a list.
struct Part {
    /// With its quotes.
    name: Option<Range<usize>>,
    value: Range<usize>,
}

impl Part {
    fn start(&self) -> usize {
        self.name.as_ref().unwrap_or(&self.value).start
    }

    fn is(&self, text: &str, index: usize, step: &Step) -> bool {
        match (&self.name, step) {
            (None, Step::Index(wanted)) => index == *wanted,
            (None, Step::Name(_)) => false,
            (Some(name), step) => {
                let name = text.get(name.clone()).unwrap_or_default();
                serde_json::from_str::<String>(name).is_ok_and(|name| name == step.name())
            }
        }
    }
}

/// Of a name that comes twice the last is meant, as elsewhere.
fn find<'a>(text: &str, parts: &'a [Part], step: &Step) -> Option<&'a Part> {
    let mut parts = parts.iter().enumerate().rev();
    parts.find(|(index, part)| part.is(text, *index, step)).map(|(_, part)| part)
}

/// The parts of what begins there, if it has any.
fn parts(text: &str, at: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let is_object = match byte(text, at) {
        Some(b'{') => true,
        Some(b'[') => false,
        _ => return parts,
    };
    let mut at = behind_space(text, at + 1);
    while !matches!(byte(text, at), None | Some(b'}' | b']')) {
        let mut name = None;
        if is_object {
            let end = value_end(text, at);
            name = Some(at..end);
            // The colon.
            at = behind_space(text, behind_space(text, end) + 1);
        }
        let end = value_end(text, at);
        parts.push(Part { name, value: at..end });
        at = behind_space(text, end);
        if byte(text, at) == Some(b',') {
            at = behind_space(text, at + 1);
        }
    }
    parts
}

/// Where the value ends that begins there.
fn value_end(text: &str, at: usize) -> usize {
    let mut rest = text.get(at..).unwrap_or_default();
    let mut depth: usize = 0;
    while !rest.is_empty() {
        let (token, behind) = rest.split_at(token_len(rest));
        rest = behind;
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    text.len() - rest.len()
}

/// How long the first token is: a mark, a string, space, or anything else up to one of these.
fn token_len(text: &str) -> usize {
    let end = |found: Option<usize>| found.unwrap_or(text.len());
    match text.as_bytes() {
        [b'{' | b'}' | b'[' | b']' | b',' | b':', ..] => 1,
        [b'"', inside @ ..] => {
            let mut is_escaped = false;
            let quote = inside.iter().position(|&byte| {
                let closes = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                closes
            });
            end(quote.map(|at| at + 2))
        }
        [first, ..] if is_space(char::from(*first)) => end(text.find(|c| !is_space(c))),
        _ => end(text.find(|c| is_space(c) || "{}[],:\"".contains(c))),
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

fn behind_space(text: &str, at: usize) -> usize {
    text.len() - text.get(at..).unwrap_or_default().trim_start_matches(is_space).len()
}

fn quoted(name: &str) -> String {
    Value::from(name).to_string()
}

fn spliced(text: &str, at: Range<usize>, value: &str) -> String {
    let (before, behind) = (text.get(..at.start), text.get(at.end..));
    [before.unwrap_or_default(), value, behind.unwrap_or_default()].concat()
}

/// Whether the place is in an object, where there is one at all.
fn check_place(
    text: &str,
    at: &Range<usize>,
    parts: &[Part],
    step: &Step,
) -> Result<bool, NoPlace> {
    match (byte(text, at.start), step) {
        (Some(b'{'), _) => Ok(true),
        (Some(b'['), Step::Index(index)) if *index == parts.len() => Ok(false),
        (Some(b'['), Step::Index(index)) => Err(NoPlace {
            what: format!("the list has {} elements, and none is number {index}", parts.len()),
            help: Some("the next one can be added, others not"),
        }),
        (Some(b'['), Step::Name(_)) => {
            Err(NoPlace { what: "the path leads into a list by a name".into(), help: None })
        }
        _ => {
            let scalar = shortened(text.get(at.clone()).unwrap_or_default().as_bytes(), 100);
            let what = format!("the path leads into {scalar}, which has no parts");
            Err(NoPlace { what, help: None })
        }
    }
}

/// A part more in the container there, set apart from the one before it as that is from what is before it.
fn appended(
    text: &str,
    at: Range<usize>,
    parts: &[Part],
    name: Option<String>,
    value: &str,
) -> String {
    let Some(last) = parts.last() else {
        let member = name.map_or_else(|| value.to_owned(), |name| format!("{name}:{value}"));
        return spliced(text, at.start + 1..at.end - 1, &member);
    };
    let before = match parts.len().checked_sub(2).and_then(|index| parts.get(index)) {
        // Behind its comma.
        Some(part) => behind_space(text, part.value.end) + 1,
        None => at.start + 1,
    };
    let space = text.get(before..last.start()).unwrap_or_default();
    let colon = last.name.as_ref().and_then(|name| text.get(name.end..last.value.start));
    let name = name.map_or_else(String::new, |name| name + colon.unwrap_or(":"));
    spliced(text, last.value.end..last.value.end, &format!(",{space}{name}{value}"))
}

#[cfg(test)]
mod tests {
    use bitcask_random::Random;

    use super::super::path::parse;
    use super::*;

    fn set(text: &str, path: &str, value: &str) -> String {
        with(text, &parse(path).unwrap(), value).ok().unwrap()
    }

    fn del(text: &str, path: &str) -> Option<String> {
        let steps = parse(path).unwrap();
        let (last, before) = steps.split_last().unwrap();
        without(text, before, last)
    }

    const DOCUMENT: &str =
        r#"{"z" : 1.10, "n":12345678901234567890123, "a":[ 1e2 ,{"q":"\"}]"}], "z":2}"#;

    #[test]
    fn nothing_but_the_part_is_changed() {
        let changed = set(DOCUMENT, "$.a[1].q", "0.10");
        assert_eq!(changed, DOCUMENT.replace(r#""\"}]""#, "0.10"));
        // The last of a name that comes twice.
        assert_eq!(set(DOCUMENT, "z", "[3]"), DOCUMENT.replace("\"z\":2", "\"z\":[3]"));
        assert_eq!(set(DOCUMENT, "", "null"), "null");
        assert_eq!(set(r#"{"a\u0062":1}"#, "ab", "2"), r#"{"a\u0062":2}"#);
    }

    #[test]
    fn what_is_new_stands_as_its_neighbours_do() {
        for (text, path, expected) in [
            ("{}", "a.b[0]", r#"{"a":{"b":{"0":9}}}"#),
            ("{ }", "a", r#"{"a":9}"#),
            ("[]", "[0]", "[9]"),
            ("[1, 2]", "[2]", "[1, 2, 9]"),
            ("[1,2]", "/2", "[1,2,9]"),
            ("{\n  \"a\": 1\n}", "b", "{\n  \"a\": 1,\n  \"b\": 9\n}"),
            ("{\"a\":1 , \"b\" :2}", "/c\"", "{\"a\":1 , \"b\" :2, \"c\\\"\" :9}"),
        ] {
            assert_eq!(set(text, path, "9"), expected, "{text} {path}");
        }
        for (text, path) in [("[1]", "[2]"), ("[1]", "a"), ("{\"a\":1}", "a.b"), ("\"a\"", "a")] {
            assert!(with(text, &parse(path).unwrap(), "9").is_err(), "{text} {path}");
        }
    }

    #[test]
    fn what_is_taken_out_takes_its_comma_along() {
        for (text, path, expected) in [
            ("[ 1, 2, 3 ]", "[0]", "[ 2, 3 ]"),
            ("[ 1, 2, 3 ]", "[1]", "[ 1, 3 ]"),
            ("[ 1, 2, 3 ]", "[2]", "[ 1, 2 ]"),
            ("[ 1 ]", "[0]", "[]"),
            ("{\"a\":1}", "a", "{}"),
            // All of a name: the first would be seen once the last is gone.
            ("{\"a\":1,\"a\":2,\"b\":1.0,\"a\":3,\"c\":{},\"a\":4}", "a", "{\"b\":1.0,\"c\":{}}"),
            ("{\"a\":1, \"a\":2}", "a", "{}"),
            ("{\"l\":[1,{\"x\":1,\"y\":2}]}", "l[1].x", "{\"l\":[1,{\"y\":2}]}"),
        ] {
            assert_eq!(del(text, path).as_deref(), Some(expected), "{text} {path}");
        }
        for (text, path) in [("[1]", "[1]"), ("{}", "a"), ("1", "a"), ("{\"a\":1}", "b.c")] {
            assert_eq!(del(text, path), None, "{text} {path}");
        }
    }

    #[test]
    fn parts_are_found_and_laid_out_with_their_digits() {
        assert_eq!(part(DOCUMENT, &parse("z").unwrap()), Some("2"));
        assert_eq!(part(DOCUMENT, &parse("/a/0").unwrap()), Some("1e2"));
        assert_eq!(part(DOCUMENT, &parse("a[2]").unwrap()), None);
        let text = " { \"b\" : [ ] ,\"a\":[1.10,{ }, { \"c\":\" \\\" {\" } ] } ";
        let line = "{\"b\":[],\"a\":[1.10,{},{\"c\":\" \\\" {\"}]}";
        assert_eq!(laid_out(text, false), line);
        // As serde_json would, but for digits and order.
        for text in [r#"{"a":[1,{},[],{"c":" \" {"}],"b":{}}"#, "[]", "1", "\"a b\"", "[[[1]]]"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(laid_out(text, true), format!("{value:#}"), "{text}");
            assert_eq!(laid_out(text, false), format!("{value}"), "{text}");
        }
    }

    /// A random value, and a text of it with space wherever there may be some.
    fn random_text(random: &mut Random, depth: u64) -> String {
        let space = |random: &mut Random| ["", "", " ", "\n\t"][random.index(4)];
        let parts = |random: &mut Random, open: &str, close: &str, named: bool| {
            let mut text = open.to_owned() + space(random);
            let names = ["\"a\"", "\"b\\\\\"", "\"\\u0063]\"", "\"0\""];
            for (index, name) in names.iter().take(random.index(5)).enumerate() {
                let comma = if index > 0 { "," } else { "" };
                text += &format!("{comma}{}", space(random));
                if named {
                    text += &format!("{name}{}:{}", space(random), space(random));
                }
                text += &random_text(random, depth + 1);
                text += space(random);
            }
            text + close
        };
        match depth {
            4.. => ["1.5", "null", "\"\\\"{,\"", "[ ]", "true"][random.index(5)].into(),
            _ if random.one_in(2) => parts(random, "{", "}", true),
            _ => parts(random, "[", "]", false),
        }
    }

    /// What is there, in values.
    fn at<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
        steps.iter().try_fold(value, |value, step| match (step, value) {
            (Step::Index(index), Value::Array(list)) => list.get_mut(*index),
            (step, Value::Object(map)) => map.get_mut(&*step.name()),
            _ => None,
        })
    }

    #[test]
    fn texts_are_changed_as_values_would_be() {
        let mut random = crate::fuzzing::seeded();
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (mut found, mut added) = (0, 0);
        for _ in 0..20_000 {
            let text = random_text(&mut random, 0);
            let steps: Vec<Step> = (0..1 + random.index(3))
                .map(|_| match random.index(6) {
                    0 => Step::Name("a".into()),
                    1 => Step::Name("b\\".into()),
                    2 => Step::Name("c]".into()),
                    index => Step::Index(index - 3),
                })
                .collect();
            let mut value = read(&text);
            assert_eq!(laid_out(&text, true), laid_out(&laid_out(&text, false), true), "{text}");
            assert_eq!(read(&laid_out(&text, true)), value, "{text}");
            let there = at(&mut value, &steps).cloned();
            assert_eq!(part(&text, &steps).map(read), there, "{text} {steps:?}");

            let (last, before) = steps.split_last().unwrap();
            let taken = without(&text, before, last).map(|text| read(&text));
            assert_eq!(taken.is_some(), there.is_some(), "{text} {steps:?}");
            let set = with(&text, &steps, "[7]").ok().map(|text| read(&text));
            if there.is_some() {
                found += 1;
                let mut changed = value.clone();
                *at(&mut changed, &steps).unwrap() = read("[7]");
                assert_eq!(set, Some(changed), "{text} {steps:?}");
                match at(&mut value, before).unwrap() {
                    Value::Object(map) => drop(map.remove(&*last.name())),
                    Value::Array(list) => drop(list.remove(last.name().parse().unwrap())),
                    _ => unreachable!("something is there"),
                }
                assert_eq!(taken, Some(value), "{text} {steps:?}");
            } else if let Some(mut set) = set {
                added += 1;
                assert_eq!(at(&mut set, &steps), Some(&mut read("[7]")), "{text} {steps:?}");
            }
        }
        assert!(found > 1000 && added > 1000, "{found} {added}");
    }

    #[test]
    fn any_text_has_an_end() {
        for text in ["{", "{\"", "[1", "{\"a\":", "[,,]", "}{", "{\"a\" 1}", "\"\\", "{]:[}\u{e4}"]
        {
            let _ignored = (set_or_not(text), del(text, "a.b"), del(text, "[0]"));
            assert!(check(text.as_bytes()).is_err(), "{text}");
            laid_out(text, true);
        }
    }

    fn set_or_not(text: &str) -> bool {
        ["a", "a.b", "[0]", "[1]"].iter().all(|path| with(text, &parse(path).unwrap(), "9").is_ok())
    }
}
