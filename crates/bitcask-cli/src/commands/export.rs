//! All of a store, or a part, as a stream.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitcask::ReadOnly;
use serde_json::json;

use super::{Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::outfile::Outfile;
use crate::output::{keys, to_stderr, to_stdout};
use crate::pace::Pace;
use crate::terminal::{Progress, interrupted, listen_for_interrupts};
use crate::time;
use crate::transfer::{self, Entry};

/// Counts what goes through it.
struct Counted {
    out: Box<dyn Write>,
    bytes: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn export(context: &Context, args: &cli::Export) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    let to_file = args.path != Path::new("-");
    let cannot_create = |e| Failure::file("cannot create", &args.path, &e);
    let file = to_file.then(|| Outfile::create(&args.path)).transpose().map_err(cannot_create)?;
    let out: Box<dyn Write> = match &file {
        Some(file) => Box::new(file.writer().map_err(cannot_create)?),
        None => Box::new(io::stdout()),
    };
    listen_for_interrupts()?;
    let bytes = Arc::new(AtomicU64::new(0));
    let out = Box::new(Counted { out, bytes: bytes.clone() });
    let mut writer = transfer::writer(args.to, args.format, out);
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::BrokenPipe if !to_file => Failure::nobody_listens(),
        _ => Failure::file("cannot write", &args.path, &e),
    };

    let prefix = args.keys.prefix.as_deref().unwrap_or_default().as_bytes();
    let progress = Progress::keys("exporting", context.quiet || !to_file);
    let pace = Pace::new(args.rate);
    let (mut count, all) = (0, reader.len());
    let mut stopped = false;
    each_entry(&reader, prefix, |entry| {
        writer.write(&entry).map_err(failed)?;
        count += 1;
        if count % 256 == 0 {
            progress.show(count, all, format_args!(""));
            pace.reach(bytes.load(Ordering::Relaxed));
            stopped = interrupted().is_break();
        }
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if stopped {
        // Without its end, which says that it is whole.
        let done = if to_file { "the file is as it was before" } else { "the stream has no end" };
        return Err(Failure::interrupted(format!("{done}, after {}", keys(count))));
    }
    writer.finish().map_err(failed)?;
    file.map_or(Ok(()), Outfile::finish).map_err(failed)?;
    drop(progress);
    let bytes = bytes.load(Ordering::Relaxed);
    let said = json!({ "keys": count, "bytes": bytes });
    match (context.json, to_file) {
        (true, true) => to_stdout(format!("{said}\n").as_bytes())?,
        (true, false) => to_stderr(said),
        (false, _) => context.note(format_args!("exported {}", keys(count))),
    }
    Ok(Outcome::Done)
}

fn each_entry(
    reader: &ReadOnly,
    prefix: &[u8],
    mut each: impl FnMut(Entry) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let snapshot = reader.snapshot();
    let some_expire = reader.stats().expiring_keys > 0;
    for entry in snapshot.prefix(prefix) {
        let (key, value) = entry?;
        let expiry = if some_expire { snapshot.expires_at(&key)? } else { None };
        let expires_ms = expiry.and_then(time::expires_ms);
        if each(Entry { key, value: value.into_vec(), expires_ms })?.is_break() {
            break;
        }
    }
    Ok(())
}
