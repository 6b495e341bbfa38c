//! A store that another process has open, watched live.
//!
//! [`Source`] looks at the store, [`State`] is what follows from the looks and from keys, and `draw` makes a screen of
//! it, `json` a line. Only `screen` knows that there is a terminal.

mod draw;
#[cfg(test)]
mod fixtures;
mod history;
mod json;
mod keys;
mod plan;
mod rates;
mod screen;
mod signals;
mod source;
mod state;

pub(crate) use json::as_json;
pub(crate) use screen::run;
pub(crate) use source::Source;
pub(crate) use state::State;
