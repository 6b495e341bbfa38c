//! A store that another process has open, watched live.

use std::io::IsTerminal;

use super::{Context, Outcome, no_store};
use crate::cli;
use crate::failure::Failure;
use crate::output::to_stdout;
use crate::terminal::{self, interrupted, listen_for_interrupts};
use crate::time::now_ms;
use crate::top::{self, Source, State};

pub(super) fn top(context: &Context, args: &cli::Top) -> Result<Outcome, Failure> {
    let dir = context.dir()?;
    if !context.json {
        expect_a_screen()?;
    }
    // Before the screen is taken: that there is no store is told in its usual place.
    let mut source = Source::new(dir);
    let mut state = State::new(dir, args.interval);
    state.take(source.look().map_err(no_store)?, now_ms());
    let looks = args.count.unwrap_or(u64::MAX);
    listen_for_interrupts()?;
    if context.json {
        lines(&mut source, &mut state, looks)?;
    } else {
        top::run(&mut source, &mut state, looks)?;
    }
    Ok(Outcome::Done)
}

fn expect_a_screen() -> Result<(), Failure> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stdout().is_terminal() && !is_dumb {
        return Ok(());
    }
    Err(Failure::invalid("there is no terminal here to draw on")
        .advise("`top --json` prints a line each time, `stats --watch` a table"))
}

/// A line for each look, until Ctrl-C or until nobody reads them.
fn lines(source: &mut Source, state: &mut State, looks: u64) -> Result<(), Failure> {
    let mut left = looks;
    loop {
        to_stdout(format!("{}\n", top::as_json(state)).as_bytes())?;
        left -= 1;
        if left == 0 {
            return Ok(());
        }
        terminal::pause(state.interval());
        if interrupted().is_break() {
            return Ok(());
        }
        state.take(source.look()?, now_ms());
    }
}
