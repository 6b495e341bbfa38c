//! What Tab completes: commands, options and their values, keys of the store, and paths. All but keys and paths is
//! taken from the definition of what can be typed.

use std::cell::RefCell;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bitcask::{Index, Options, ReadOnly};
use clap::{Arg, Command, ValueHint};
use rustyline::completion::{Completer, Pair};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use crate::cli::Line;
use crate::text::shortened;
use crate::words::{End, Word, first, in_quotes, is_plain};

/// More are not read, as nobody wants to see them.
const CANDIDATES_MAX: usize = 200;
/// In a larger store keys are not completed: the first time every key is read, 2 million in some 3 seconds.
const KEYS_MAX: u64 = 2_000_000;
/// Of a key that is shown.
const SHOWN_CHARS_MAX: usize = 60;

pub(super) struct Helper {
    definition: Command,
    dir: PathBuf,
    /// Held from the first time on: keys in their order take their time to be read, and other commands do without.
    reader: RefCell<Option<ReadOnly>>,
}

/// What a word can become.
struct Candidate {
    word: Vec<u8>,
    /// There may be more of it: a directory.
    goes_on: bool,
}

impl Candidate {
    fn whole(word: impl Into<Vec<u8>>) -> Self {
        Self { word: word.into(), goes_on: false }
    }
}

impl Helper {
    pub(super) fn new(dir: &Path) -> Self {
        let mut definition = Line::definition();
        // Only then the commands have the options of all, and `help` has commands.
        definition.build();
        Self { definition, dir: dir.to_owned(), reader: RefCell::new(None) }
    }

    /// Takes in what has changed. So the space of files is free again that a merge has replaced.
    pub(super) fn refresh(&self) {
        let mut held = self.reader.borrow_mut();
        if held.as_ref().is_some_and(|reader| reader.refresh().is_err()) {
            *held = None;
        }
    }

    /// What the last of the words, which is not at its end, can become.
    fn candidates(&self, before: &[Word], last: &[u8]) -> Vec<Candidate> {
        let mut command = &self.definition;
        let mut positionals = 0;
        let mut option: Option<&Arg> = None;
        let mut options_end = false;
        for Word { bytes: word, .. } in before {
            if option.take().is_some() {
            } else if !options_end && word == b"--" {
                options_end = true;
            } else if !options_end && word.starts_with(b"-") {
                option = option_named(command, word).filter(|arg| arg.get_action().takes_values());
            } else if command.has_subcommands() {
                let name = String::from_utf8_lossy(word);
                let Some(found) = command.find_subcommand(&*name) else { return Vec::new() };
                command = found;
            } else {
                positionals += 1;
            }
        }
        let mut found = if let Some(option) = option {
            self.values(option, before, last)
        } else if !options_end && last.starts_with(b"-") {
            let options = command.get_arguments().filter(|arg| !arg.is_hide_set());
            let names = options.filter_map(|arg| arg.get_long());
            names.map(|name| Candidate::whole(format!("--{name}"))).collect()
        } else if command.has_subcommands() {
            let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
            commands.map(|command| Candidate::whole(command.get_name())).collect()
        } else {
            positional(command, positionals)
                .map_or_else(Vec::new, |arg| self.values(arg, before, last))
        };
        found.retain(|candidate| candidate.word.starts_with(last));
        found
    }

    /// What can be the value of an option, or a word in its place.
    fn values(&self, arg: &Arg, before: &[Word], last: &[u8]) -> Vec<Candidate> {
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            return possible.iter().map(|value| Candidate::whole(value.get_name())).collect();
        }
        if arg.get_value_hint() == ValueHint::AnyPath {
            return paths(last);
        }
        let is_key = |name: &clap::builder::Str| name == "KEY" || name == "PREFIX";
        let is_elsewhere = before.iter().any(|word| {
            let name = word.bytes.split(|&byte| byte == b'=').next();
            name.is_some_and(|name| name == b"--db" || name == b"-db")
        });
        match arg.get_value_names() {
            Some([name, ..]) if is_key(name) && !is_elsewhere => {
                self.keys(last).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Keys of the store that begin so. An error is told by the command that is typed, if it meets it.
    fn keys(&self, prefix: &[u8]) -> bitcask::Result<Vec<Candidate>> {
        self.refresh();
        let mut held = self.reader.borrow_mut();
        let reader = match &mut *held {
            Some(reader) => reader,
            none => {
                if Options::new().open_read_only(&self.dir)?.len() > KEYS_MAX {
                    return Ok(Vec::new());
                }
                let options = Options::new().index(Index::Ordered);
                none.insert(options.open_read_only(&self.dir)?)
            }
        };
        let entries = reader.prefix(prefix).take(CANDIDATES_MAX);
        entries.map(|entry| entry.map(|(key, _)| Candidate::whole(key))).collect()
    }
}

fn option_named<'a>(command: &'a Command, word: &[u8]) -> Option<&'a Arg> {
    let name = std::str::from_utf8(word).ok()?;
    command.get_arguments().find(|arg| {
        match name.strip_prefix("--").or(name.strip_prefix("-db").map(|_| "db")) {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| name == format!("-{short}")),
        }
    })
}

/// The argument that has this place. The last one may take many.
fn positional(command: &Command, place: usize) -> Option<&Arg> {
    let at = command.get_positionals().nth(place);
    at.or_else(|| {
        command
            .get_positionals()
            .last()
            .filter(|arg| arg.get_num_args().is_some_and(|count| count.max_values() > place))
    })
}

fn paths(start: &[u8]) -> Vec<Candidate> {
    let name_at = start.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let (parent, name) = start.split_at(name_at);
    let dir = if parent.is_empty() {
        Path::new(".")
    } else {
        Path::new(std::ffi::OsStr::from_bytes(parent))
    };
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| (entry.path().is_dir(), entry.file_name().into_vec()))
        .filter(|(_, found)| {
            found.starts_with(name) && (!name.is_empty() || !found.starts_with(b"."))
        })
        .take(CANDIDATES_MAX)
        .map(|(is_dir, name)| {
            let end: &[u8] = if is_dir { b"/" } else { b"" };
            Candidate { word: [parent, &name, end].concat(), goes_on: is_dir }
        })
        .collect();
    found.sort_unstable_by(|a, b| a.word.cmp(&b.word));
    found
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let none = Ok((pos, Vec::new()));
        let text = line.as_bytes().get(..pos).unwrap_or_default();
        let Some((mut words, end, from)) = last_command(text) else { return none };
        let last = match end {
            End::Space => Word { start: text.len() - from, bytes: Vec::new() },
            End::Word | End::Quote(_) => match words.pop() {
                Some(last) => last,
                None => return none,
            },
            End::Backslash | End::Comment => return none,
        };
        let start = from + last.start;
        let found = self.candidates(&words, &last.bytes);
        // What is common to all is put in place of the word, so all are quoted or none is.
        let is_quoted = text.get(start).is_some_and(|byte| b"'\"".contains(byte))
            || found.iter().any(|candidate| !is_plain(&candidate.word));
        let is_only = found.len() == 1;
        let pairs = found.into_iter().map(|Candidate { word, goes_on }| {
            let display = shortened(&word, SHOWN_CHARS_MAX);
            let mut replacement = if is_quoted {
                in_quotes(&word)
            } else {
                String::from_utf8_lossy(&word).into_owned()
            };
            if goes_on && is_quoted {
                replacement.pop();
            } else if is_only && !goes_on {
                replacement.push(' ');
            }
            Pair { display, replacement }
        });
        Ok((start, pairs.collect()))
    }
}

/// The words of the last command in a text, what its end is in, and where the command begins.
fn last_command(text: &[u8]) -> Option<(Vec<Word>, End, usize)> {
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let typed = first(rest).ok()?;
        if typed.len == rest.len() && !rest.ends_with(b"\n")
            || typed.end.is_open()
            || rest.is_empty()
        {
            return Some((typed.words, typed.end, from));
        }
        from += typed.len;
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let is_open =
            last_command(context.input().as_bytes()).is_some_and(|(_, end, _)| end.is_open());
        Ok(if is_open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl rustyline::Helper for Helper {}
impl rustyline::highlight::Highlighter for Helper {}
impl rustyline::hint::Hinter for Helper {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use bitcask::Bitcask;
    use rustyline::history::DefaultHistory;

    use super::*;

    /// What stands in the line if the only candidate is taken, or what all of them are.
    fn completed(helper: &Helper, line: &str) -> String {
        let history = DefaultHistory::new();
        let (start, found) =
            helper.complete(line, line.len(), &Context::new(&history)).expect(line);
        match found.as_slice() {
            [only] => line.chars().take(start).collect::<String>() + &only.replacement,
            many => many.iter().map(|one| one.replacement.clone()).collect::<Vec<_>>().join("|"),
        }
    }

    #[test]
    fn commands_options_keys_and_paths_are_completed() {
        let name = format!("bitcask-cli-complete-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let db = Bitcask::open(dir.join("db")).expect("it opens");
        for key in ["user:ada", "user:alan", "two words", "-dash"] {
            db.put(key.as_bytes(), b"1").expect("it is stored");
        }
        let path = dir.display();
        let helper = Helper::new(&dir.join("db"));
        for (line, expected) in [
            ("co", "count "),
            ("ex", "exists|expire|export|exit"),
            ("nonsense ", ""),
            ("json g", "json get "),
            ("help mer", "help merge "),
            ("--q", "--quiet "),
            ("scan --rev", "scan --reverse "),
            ("scan --reverse --k", "scan --reverse --keys-only "),
            ("export --to j", "export --to jsonl "),
            ("get user:", "user:ada|user:alan"),
            ("get t", "get \"two words\" "),
            ("get 'two", "get \"two words\" "),
            ("json get user:al", "json get user:alan "),
            ("del x user:al", "del x user:alan "),
            ("del -- -", "del -- -dash "),
            ("count --prefix user:al", "count --prefix user:alan "),
            ("set user:ada ", ""),
            ("get user:ada ", ""),
            ("--db other get ", ""),
            ("get a\nget user:al", "get a\nget user:alan "),
            ("get # ", ""),
            (&format!("import {path}/d"), &format!("import {path}/db/")),
        ] {
            assert_eq!(completed(&helper, line), expected, "{line}");
        }
        // What is stored meanwhile is found, too.
        db.put(b"user:bob", b"1").expect("it is stored");
        assert_eq!(completed(&helper, "get user:b"), "get user:bob ");
        db.close().expect("it closes");
        fs::remove_dir_all(&dir).expect("it goes");
    }
}
