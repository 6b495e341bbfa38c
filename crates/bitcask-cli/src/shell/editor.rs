//! The shell on a terminal: lines that can be edited, and are kept for the next time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::Shell;
use super::complete::Helper;
use crate::failure::Failure;
use crate::output::to_stderr;

/// How many lines are kept.
const HISTORY_LEN: usize = 1000;

pub(super) fn run(shell: &mut Shell, dir: &Path) -> Result<ExitCode, Failure> {
    let mut editor = editor(dir).map_err(|e| broken(&e))?;
    let history = history(shell, &mut editor);
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
            Err(e) => return Err(broken(&e)),
        };
        keep(&mut editor, history.as_deref(), &text).map_err(|e| broken(&e))?;
        let flow = shell.run_text(&text);
        if let Some(helper) = editor.helper() {
            helper.forget_keys();
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

/// Loads the lines of earlier sessions, and gives the file where those of this one go. The shell works without.
fn history(shell: &Shell, editor: &mut Editor<Helper, FileHistory>) -> Option<PathBuf> {
    let path = history_path()?;
    let loaded = path.parent().map_or(Ok(()), fs::create_dir_all);
    let loaded = loaded
        .map_err(ReadlineError::from)
        .and_then(|()| if path.exists() { editor.load_history(&path) } else { Ok(()) });
    match loaded {
        Ok(()) => Some(path),
        Err(e) => {
            if !shell.globals.quiet {
                to_stderr(format_args!("note: lines are not kept: {}: {e}", path.display()));
            }
            None
        }
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
    let e = std::io::Error::other(e.to_string());
    Failure::stdio("cannot read from the terminal, or keep lines", &e)
}
