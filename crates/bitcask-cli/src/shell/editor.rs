//! The shell on a terminal: lines that can be edited, and are kept for the next time.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::Shell;
use super::complete::Helper;
use crate::ExitCode;
use crate::failure::Failure;
use crate::output::to_stderr;

/// How many lines are kept.
const HISTORY_LEN: usize = 1000;

pub(super) fn run(shell: &mut Shell, dir: &Path) -> Result<ExitCode, Failure> {
    let mut editor = editor(dir).map_err(|e| broken(&e))?;
    let mut history = history_path();
    let loaded = history.as_deref().map_or(Ok(()), |path| load(&mut editor, path));
    note_not_kept(shell, &mut history, loaded);
    if !shell.globals.quiet {
        let version = env!("CARGO_PKG_VERSION");
        to_stderr(format_args!("bitcask {version}, {}: help, or exit", dir.display()));
    }
    loop {
        let text = match editor.readline("bitcask> ") {
            Ok(text) => text,
            // The line is abandoned.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(ReadlineError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
                Failure::invalid("the line is not UTF-8")
                    .advise("any byte can be typed as \\xNN in double quotes")
                    .tell();
                continue;
            }
            Err(e) => return Err(broken(&e)),
        };
        let kept = keep(&mut editor, history.as_deref(), &text);
        note_not_kept(shell, &mut history, kept);
        let flow = shell.run_text(&text);
        if let Some(helper) = editor.helper() {
            helper.refresh();
        }
        if flow.is_break() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn editor(dir: &Path) -> rustyline::Result<Editor<Helper, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LEN)?
        .history_ignore_dups(true)?
        // As in other shells, a way to type what is not to be kept.
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        // A value may end without a line feed.
        .check_cursor_position(true)
        // Standard output is for data, and may lead elsewhere.
        .behavior(Behavior::PreferTerm)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Helper::new(dir)));
    Ok(editor)
}

fn load(editor: &mut Editor<Helper, FileHistory>, path: &Path) -> rustyline::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    if path.exists() { editor.load_history(path) } else { Ok(()) }
}

/// The shell works without.
fn note_not_kept(shell: &Shell, history: &mut Option<PathBuf>, done: rustyline::Result<()>) {
    if let Err(e) = done
        && let Some(path) = history.take()
        && !shell.globals.quiet
    {
        to_stderr(format_args!("note: lines are not kept from now on: {}: {e}", path.display()));
    }
}

/// In the user's directory for what programs keep.
fn history_path() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("bitcask/history"))
}

fn keep(
    editor: &mut Editor<Helper, FileHistory>,
    history: Option<&Path>,
    text: &str,
) -> rustyline::Result<()> {
    let is_new = editor.add_history_entry(text)?;
    match history {
        Some(path) if is_new => editor.append_history(path),
        _ => Ok(()),
    }
}

fn broken(e: &ReadlineError) -> Failure {
    let e = io::Error::other(e.to_string());
    Failure::stdio("cannot read: the terminal", &e)
}
