//! The terminal: drawing on it, keys from it, and giving it back as it was, however this ends.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::backend::Backend as _;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;

use super::draw::{Theme, draw};
use super::keys::Key;
use super::signals::Guarded;
use super::source::Source;
use super::state::State;
use crate::failure::Failure;
use crate::terminal::interrupted;
use crate::time::now_ms;

/// How often it is looked whether somebody sent what Ctrl-C sends.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the screen waits for.
enum Next {
    /// It is time to look again.
    Look,
    Resized,
    Pressed(Key),
    /// Somebody wants it to end.
    Leave,
}

/// Draws, looks again and does what keys say, until somebody leaves or after so many looks, of which one was taken.
pub(crate) fn run(source: &mut Source, state: &mut State, looks: u64) -> Result<(), Failure> {
    let _guarded = Guarded::new(give_back)?;
    let failed = |e: &io::Error| Failure::stdio("cannot use the terminal", e);
    let mut screen = Screen::take().map_err(|e| failed(&e))?;
    let is_colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let theme = Theme::new(is_colored);
    let (mut left, mut looked) = (looks, Instant::now());
    loop {
        screen.draw(state, &theme).map_err(|e| failed(&e))?;
        match next(state, looked).map_err(|e| failed(&e))? {
            Next::Leave => return Ok(()),
            Next::Resized => {}
            Next::Pressed(key) => {
                if key == Key::Redraw {
                    screen.forget().map_err(|e| failed(&e))?;
                }
                if state.press(key) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
            Next::Look => {
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
                looked = Instant::now();
                match source.look() {
                    Ok(look) => state.take(look, now_ms()),
                    // It may be over soon: somebody just puts a backup in place of the store, say.
                    Err(e) => state.fail(&e, now_ms()),
                }
            }
        }
    }
}

fn next(state: &State, looked: Instant) -> io::Result<Next> {
    loop {
        if interrupted().is_break() {
            return Ok(Next::Leave);
        }
        let mut wait = LOOK_EVERY;
        if !state.is_paused() {
            wait = wait.min(state.interval().saturating_sub(looked.elapsed()));
            if wait.is_zero() {
                return Ok(Next::Look);
            }
        }
        match event::poll(wait) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        let event = event::read()?;
        if let Event::Resize(..) = event {
            return Ok(Next::Resized);
        }
        if let Some(key) = Key::of(&event) {
            return Ok(Next::Pressed(key));
        }
    }
}

/// A terminal in raw mode, with another screen than that which was there.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| give_back())
    }

    fn draw(&mut self, state: &mut State, theme: &Theme) -> io::Result<()> {
        self.0.draw(|frame| {
            state.resize(usize::from(frame.area().height));
            draw(frame, state, theme);
        })?;
        Ok(())
    }

    /// What is drawn next is drawn as if nothing were there. `Terminal::clear` would ask where the cursor is, and wait.
    fn forget(&mut self) -> io::Result<()> {
        self.0.backend_mut().clear()?;
        self.0.swap_buffers();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has given it back before it said what happened; a second time would move the cursor over that.
        if !std::thread::panicking() {
            give_back();
        }
    }
}

fn give_back() {
    // Ignored: there may be no terminal any more.
    drop(ratatui::try_restore());
    drop(execute!(io::stdout(), Show));
}
