//! Data from elsewhere.

mod foreign;
mod fresh;
mod load;
mod noted;
mod rejects;
mod stream;

use serde_json::{Value, json};

use super::{Answer, Context, Outcome};
use crate::cli::{self, Source};
use crate::failure::Failure;
use crate::incoming::Notices;
use crate::transfer::Format;

/// What an import did.
#[derive(Debug, Default)]
struct Imported {
    /// What there is to tell, by name.
    counts: Vec<(&'static str, u64)>,
    notices: Notices,
    /// Something was not taken that should have been.
    is_partial: bool,
}

pub(super) fn import(context: &Context, args: &cli::Import) -> Result<Outcome, Failure> {
    context.dir()?;
    let imported = match args.from {
        Source::Jsonl => stream::import(context, args, Format::Jsonl),
        Source::Csv => stream::import(context, args, Format::Csv),
        Source::Binary => stream::import(context, args, Format::Binary),
        Source::Riak => foreign::riak(context, args),
        Source::Aof => foreign::aof(context, args),
        Source::Rdb => foreign::rdb(context, args),
    }?;
    let outcome = if imported.is_partial { Outcome::Absent } else { Outcome::Done };
    let said = if context.json { imported.json() } else { imported.text() };
    Answer { outcome, data: said.into() }.print()
}

impl Imported {
    fn text(&self) -> String {
        let mut text = String::new();
        for (what, count) in self.counts.iter().filter(|(_, count)| *count > 0) {
            text += &format!("{what:<24} {count}\n");
        }
        for notice in &self.notices.list {
            let at = notice.offset.map_or_else(String::new, |at| format!(" at offset {at}"));
            text += &format!("{}{at}: {}\n", notice.place, notice.what);
        }
        if self.notices.left_out > 0 {
            text += &format!("and {} more of these\n", self.notices.left_out);
        }
        if text.is_empty() { "nothing to import\n".into() } else { text }
    }

    fn json(&self) -> String {
        let counts =
            self.counts.iter().map(|&(what, count)| (what.replace(' ', "_"), count.into()));
        let mut map: serde_json::Map<String, Value> = counts.collect();
        let notices: Vec<_> = self
            .notices
            .list
            .iter()
            .map(|n| json!({ "place": n.place, "offset": n.offset, "what": n.what }))
            .collect();
        map.insert("notices".into(), notices.into());
        map.insert("notices_left_out".into(), self.notices.left_out.into());
        format!("{:#}\n", Value::Object(map))
    }
}
