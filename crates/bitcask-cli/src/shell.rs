//! Commands line by line, from a terminal or from anything else that can be read.
//!
//! A line is taken apart into words, and these go the way of the arguments of the program: the same definition, the
//! same commands. Each opens the store and closes it again, so a shell that waits for a line keeps nobody out.

mod complete;
mod editor;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use clap::FromArgMatches;

use crate::ExitCode;
use crate::cli::{self, Globals, Line, LineCommand, Switch};
use crate::commands::{self, Outcome};
use crate::failure::Failure;
use crate::output::to_stderr;
use crate::terminal::{forget_interrupts, interrupted, listen_for_interrupts};
use crate::words::{self, End, Typed};

/// A command that is longer is no line that anybody wants: `set KEY -` takes a value of any length.
const COMMAND_LEN_MAX: usize = 1 << 30;

/// How a line ended.
enum Ended {
    Done(Outcome),
    /// Somebody wants to leave.
    Exit,
    /// It was told what is wrong.
    Failed(ExitCode),
}

/// What lasts from one line to the next.
struct Shell {
    globals: Globals,
    is_timed: bool,
    /// On a terminal Ctrl-C ends a command, elsewhere everything.
    is_terminal: bool,
}

/// Until the end of the input, or an error in it. On a terminal until somebody leaves.
pub(crate) fn run(globals: Globals) -> Result<ExitCode, Failure> {
    let dir = globals.db.clone().ok_or_else(Failure::no_directory)?;
    let is_terminal = io::stdin().is_terminal();
    let mut shell = Shell { globals, is_timed: false, is_terminal };
    if is_terminal {
        return editor::run(&mut shell, &dir);
    }
    shell.run_input()
}

impl Shell {
    /// Commands from standard input. Those that read it themselves get the rest of it.
    fn run_input(&mut self) -> Result<ExitCode, Failure> {
        let mut any_absent = false;
        let (mut line, mut lines) = (0, 0);
        let mut text = Vec::new();
        let mut open_quote = None;
        loop {
            let from = text.len();
            let at_end = read_line(&mut text)? == 0;
            lines += 1;
            // A long value is not to be looked through again and again.
            if let Some(quote) = open_quote
                && !at_end
                && !text.get(from..).unwrap_or_default().contains(&quote)
            {
                continue;
            }
            let typed = words::first(text.strip_suffix(b"\n").unwrap_or(&text));
            if let Ok(typed) = &typed
                && typed.end.is_open()
                && !at_end
            {
                open_quote = if let End::Quote(quote) = typed.end { Some(quote) } else { None };
                continue;
            }
            open_quote = None;
            let ended = match typed {
                Ok(typed) => self.run_typed(typed),
                Err(what) => Ended::Failed(not_understood(&what).tell()),
            };
            text.clear();
            match ended {
                Ended::Done(outcome) => any_absent |= outcome == Outcome::Absent,
                Ended::Exit => break,
                Ended::Failed(code) => {
                    if !self.globals.quiet && code != ExitCode::SUCCESS {
                        to_stderr(format_args!(
                            "note: that was line {}; the rest is left",
                            line + 1
                        ));
                    }
                    return Ok(code);
                }
            }
            line = lines;
            if at_end {
                break;
            }
        }
        Ok(if any_absent { Outcome::Absent } else { Outcome::Done }.into())
    }

    /// A text with one command, or more of them. Behind an error there is nothing done.
    fn run_text(&mut self, text: &str) -> ControlFlow<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let ended = match words::first(rest) {
                Ok(typed) => {
                    rest = rest.get(typed.len..).unwrap_or_default();
                    self.run_typed(typed)
                }
                Err(what) => Ended::Failed(not_understood(&what).tell()),
            };
            match ended {
                Ended::Done(_) => {}
                Ended::Exit => return ControlFlow::Break(()),
                Ended::Failed(_) => break,
            }
        }
        ControlFlow::Continue(())
    }

    fn run_typed(&mut self, typed: Typed) -> Ended {
        if typed.end.is_open() {
            return Ended::Failed(not_understood("a quote or a word is not at its end").tell());
        }
        if typed.words.is_empty() {
            return Ended::Done(Outcome::Done);
        }
        let (was_timed, started) = (self.is_timed, Instant::now());
        let words = typed.words.into_iter().map(|word| OsString::from_vec(word.bytes));
        let ended = self.run_words(cli::with_old_forms(words));
        if was_timed && self.is_timed {
            to_stderr(format_args!("time: {:.1} ms", started.elapsed().as_secs_f64() * 1000.0));
        }
        ended.unwrap_or_else(|failure| Ended::Failed(failure.tell()))
    }

    fn run_words(&mut self, words: Vec<OsString>) -> Result<Ended, Failure> {
        let line = Line::definition()
            .try_get_matches_from(words)
            .and_then(|matches| Line::from_arg_matches(&matches));
        let line = match line {
            Ok(line) => line,
            Err(e) => return tell_usage(&e),
        };
        let command = match line.command {
            LineCommand::Outside(command) => command,
            LineCommand::Time { switch } => {
                self.is_timed = switch == Switch::On;
                return Ok(Ended::Done(Outcome::Done));
            }
            LineCommand::Exit => return Ok(Ended::Exit),
        };
        let globals = Globals {
            db: line.globals.db.or_else(|| self.globals.db.clone()),
            json: line.globals.json || self.globals.json,
            quiet: line.globals.quiet || self.globals.quiet,
            in_shell: true,
        };
        forget_interrupts();
        if self.is_terminal {
            listen_for_interrupts()?;
        }
        let outcome = commands::run(&globals, command)?;
        if !self.is_terminal && interrupted().is_break() {
            return Err(Failure::interrupted("the command before this is the last one"));
        }
        Ok(Ended::Done(outcome))
    }
}

/// Adds a line to the text.
fn read_line(text: &mut Vec<u8>) -> Result<usize, Failure> {
    // Ctrl-C is to end the program while it waits.
    forget_interrupts();
    let left = COMMAND_LEN_MAX.saturating_sub(text.len());
    let mut input = io::stdin().lock().take(u64::try_from(left).unwrap_or(u64::MAX));
    let read = input.read_until(b'\n', text);
    let read = read.map_err(|e| Failure::stdio("cannot read: standard input", &e))?;
    if text.len() >= COMMAND_LEN_MAX {
        let what = format!("a command has {COMMAND_LEN_MAX} bytes, or more");
        return Err(Failure::invalid(what).advise("`set KEY --file PATH` takes long values"));
    }
    if text.ends_with(b"\r\n") {
        text.truncate(text.len() - 2);
        text.push(b'\n');
    }
    Ok(read)
}

fn not_understood(what: &str) -> Failure {
    Failure::invalid(format!("the line is not understood: {what}"))
        .advise("in single quotes everything stands for itself")
}

/// Help, or what is wrong with the words.
fn tell_usage(e: &clap::Error) -> Result<Ended, Failure> {
    if let Err(e) = e.print() {
        return Err(crate::output::cannot_write(&e));
    }
    Ok(match u8::try_from(e.exit_code()) {
        Ok(0) => Ended::Done(Outcome::Done),
        code => Ended::Failed(code.map_or(ExitCode::FAILURE, ExitCode::from)),
    })
}
