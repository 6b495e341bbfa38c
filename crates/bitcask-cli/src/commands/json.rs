//! JSON documents, and parts of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Map, Value};

use super::data::value_of;
use super::{Answer, Context, Outcome};
use crate::cli::JsonCommand;
use crate::failure::Failure;

pub(super) fn json(context: &Context, command: JsonCommand) -> Result<Outcome, Failure> {
    match command {
        JsonCommand::Set { key, words } => set(context, &key, words),
        JsonCommand::Get { key, path } => get(context, &key, path.as_deref().unwrap_or_default()),
        JsonCommand::Del { key, path } => del(context, &key, &path),
    }
}

fn set(context: &Context, key: &OsString, mut words: Vec<String>) -> Result<Outcome, Failure> {
    let text = value_of(words.pop().unwrap_or_default().into())?;
    let value: Value = serde_json::from_slice(&text).map_err(|e| {
        Failure::invalid(format!("the value is not JSON: {e}"))
            .advise("a text stands in double quotes")
    })?;
    let steps = parse_path(words.first().map_or("", String::as_str))?;
    context.write(true, |db| {
        let mut failure = None;
        db.update(key.as_bytes(), |old| {
            let changed = document(key, old).and_then(|old| {
                let mut root = old.unwrap_or_else(|| Value::Object(Map::new()));
                put_at(&mut root, &steps, value.clone())?;
                Ok(root)
            });
            match changed {
                Ok(root) => Some(root.to_string().into_bytes()),
                Err(e) => {
                    failure = Some(e);
                    old.map(<[u8]>::to_vec)
                }
            }
        })?;
        failure.map_or_else(|| Ok(Answer::done([])), Err)
    })
}

fn get(context: &Context, key: &OsString, path: &str) -> Result<Outcome, Failure> {
    let steps = parse_path(path)?;
    let stored = context.reader()?.get(key.as_bytes())?;
    let Some(root) = document(key, stored.as_deref())? else {
        context.note_absent(key.as_bytes());
        return Ok(Outcome::Absent);
    };
    let Some(part) = steps.iter().try_fold(&root, |at, step| step.of(at)) else {
        context.note(format_args!("nothing is there: {path}"));
        return Ok(Outcome::Absent);
    };
    Answer::done(if context.json { format!("{part}\n") } else { format!("{part:#}\n") }).print()
}

fn del(context: &Context, key: &OsString, path: &str) -> Result<Outcome, Failure> {
    let steps = parse_path(path)?;
    let Some((last, before)) = steps.split_last() else {
        return Err(Failure::invalid("a path is wanted").advise("`del` deletes a whole document"));
    };
    context.write(false, |db| {
        let (mut failure, mut done) = (None, false);
        db.update(key.as_bytes(), |old| match document(key, old) {
            Ok(root) => {
                let mut root = root?;
                let parent = before.iter().try_fold(&mut root, |at, step| step.of_mut(at));
                done = parent.is_some_and(|parent| last.take_from(parent));
                Some(root.to_string().into_bytes())
            }
            Err(e) => {
                failure = Some(e);
                old.map(<[u8]>::to_vec)
            }
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !done {
            context.note(format_args!("nothing is there: {path}"));
        }
        Ok(Answer::of(done))
    })
}

fn document(key: &OsString, stored: Option<&[u8]>) -> Result<Option<Value>, Failure> {
    stored.map(serde_json::from_slice).transpose().map_err(|e| {
        let key = crate::text::shown(key.as_bytes());
        Failure::invalid(format!("what is stored is not JSON: {key}: {e}"))
    })
}

/// A step from a value to a part of it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    /// Of a list; in a JSON pointer it may be a name, too.
    Index(usize),
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Name(name) => value.get(name),
            Self::Index(index) => value.get(index).or_else(|| value.get(index.to_string())),
        }
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        match (self, value) {
            (Self::Name(name), Value::Object(map)) => map.get_mut(name),
            (Self::Index(index), Value::Object(map)) => map.get_mut(&index.to_string()),
            (Self::Index(index), Value::Array(list)) => list.get_mut(*index),
            _ => None,
        }
    }

    fn take_from(&self, value: &mut Value) -> bool {
        match (self, value) {
            (Self::Name(name), Value::Object(map)) => map.remove(name).is_some(),
            (Self::Index(index), Value::Object(map)) => map.remove(&index.to_string()).is_some(),
            (Self::Index(index), Value::Array(list)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Puts a value in its place. Objects on the way to it are made; a list is only made longer by one.
fn put_at(root: &mut Value, steps: &[Step], value: Value) -> Result<(), Failure> {
    let mut at = root;
    for step in steps {
        at = match at {
            Value::Object(map) => {
                let name = match step {
                    Step::Name(name) => name.clone(),
                    Step::Index(index) => index.to_string(),
                };
                map.entry(name).or_insert_with(|| Value::Object(Map::new()))
            }
            Value::Array(list) => element(list, step)?,
            other => {
                let what = format!("the path leads into {other}, which has no parts");
                return Err(Failure::invalid(what));
            }
        };
    }
    *at = value;
    Ok(())
}

fn element<'a>(list: &'a mut Vec<Value>, step: &Step) -> Result<&'a mut Value, Failure> {
    let len = list.len();
    let Step::Index(index) = step else {
        return Err(Failure::invalid("the path leads into a list by a name"));
    };
    if *index == len {
        list.push(Value::Object(Map::new()));
    }
    list.get_mut(*index).ok_or_else(|| {
        Failure::invalid(format!("the list has {len} elements, and none is number {index}"))
            .advise("the next one can be added, others not")
    })
}

/// `$.a.b[0]`, `a.b[0]` or `/a/b/0`; empty or `$` for the whole.
fn parse_path(path: &str) -> Result<Vec<Step>, Failure> {
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
            assert_eq!(parse_path(path).expect(path), steps, "{path}");
        }
        for path in ["$.", "a..b", "a[", "a[x]", "a[-1]"] {
            assert!(parse_path(path).is_err(), "{path}");
        }
    }
}
