//! Keys that are pressed, and what they mean.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Leave,
    /// Closes the help, and leaves where there is none.
    Back,
    Pause,
    LessOften,
    MoreOften,
    Sort,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Help,
    /// Draws all of it again, over what others have written there.
    Redraw,
}

impl Key {
    /// None if it means nothing here.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return None };
        if *kind == KeyEventKind::Release {
            return None;
        }
        if modifiers.contains(KeyModifiers::CONTROL) {
            return match code {
                KeyCode::Char('c') => Some(Self::Leave),
                KeyCode::Char('l') => Some(Self::Redraw),
                _ => None,
            };
        }
        Some(match code {
            KeyCode::Char('q') => Self::Leave,
            KeyCode::Esc => Self::Back,
            KeyCode::Char('p' | ' ') => Self::Pause,
            // Without shift, too.
            KeyCode::Char('+' | '=') => Self::LessOften,
            KeyCode::Char('-') => Self::MoreOften,
            KeyCode::Char('s') => Self::Sort,
            KeyCode::Char('k') | KeyCode::Up => Self::Up,
            KeyCode::Char('j') | KeyCode::Down => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::First,
            KeyCode::End => Self::Last,
            KeyCode::Char('h' | '?') => Self::Help,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_help_says() {
        let key = |code, modifiers| Key::of(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, meaning) in [
            (KeyCode::Char('q'), Some(Key::Leave)),
            (KeyCode::Esc, Some(Key::Back)),
            (KeyCode::Char('?'), Some(Key::Help)),
            (KeyCode::Down, Some(Key::Down)),
            (KeyCode::Char('c'), None),
            (KeyCode::Tab, None),
        ] {
            assert_eq!(key(code, KeyModifiers::NONE), meaning, "{code:?}");
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Leave));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Char('+'), KeyModifiers::SHIFT), Some(Key::LessOften));
        assert_eq!(Key::of(&Event::Resize(80, 24)), None);
    }
}
