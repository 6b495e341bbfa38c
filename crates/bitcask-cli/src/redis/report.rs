//! What an import has to say when it is done.

use std::collections::BTreeMap;
use std::path::Path;

use crate::incoming::Notices;

/// Different names that are counted one by one. Files of strangers may have any number.
const NAMES_MAX: usize = 256;

/// Under which all further names are counted.
const OTHERS: &str = "others";

/// What was taken, what was not, and what was strange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Keys that snapshots gave.
    pub(crate) snapshot_keys: u64,
    /// Commands on strings that were carried out.
    pub(crate) commands: u64,
    /// Keys whose time was over.
    pub(crate) expired: u64,
    /// What holds no string, by what it is: `list`, `function`.
    pub(crate) other_types: BTreeMap<String, u64>,
    /// Commands that were not carried out, by their names in capitals.
    pub(crate) other_commands: BTreeMap<String, u64>,
    /// Keys and commands of databases that are not imported, by the database.
    pub(crate) other_databases: BTreeMap<String, u64>,
    /// What else to know.
    pub(crate) notices: Notices,
}

impl Report {
    pub(super) fn notice(&mut self, file: &Path, offset: u64, what: String) {
        let place = file.file_name().unwrap_or(file.as_os_str()).display().to_string();
        self.notices.add(&place, Some(offset), what);
    }

    pub(super) fn other_type(&mut self, name: &str) {
        count(&mut self.other_types, name);
    }

    pub(super) fn other_command(&mut self, name: &str) {
        count(&mut self.other_commands, name);
    }

    pub(super) fn other_database(&mut self, db: u64) {
        count(&mut self.other_databases, &db.to_string());
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    let is_known = counts.contains_key(name);
    let name = if is_known || counts.len() < NAMES_MAX { name } else { OTHERS };
    *counts.entry(name.into()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notices_have_a_limit() {
        let mut report = Report::default();
        for index in 0..1000 {
            report.other_database(index);
            report.notice(Path::new("f"), index, "strange".into());
        }
        report.other_database(0);
        assert_eq!(report.other_databases.len(), NAMES_MAX + 1);
        assert_eq!(report.other_databases["0"], 2);
        assert_eq!(report.other_databases[OTHERS], 744);
        assert_eq!((report.notices.list.len(), report.notices.left_out), (100, 900));
    }
}
