//! What the figures were measured on: cores, kernel, file system; and memory that the process takes.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::Result;

/// Where a run took place.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// Runnable threads in the last minute: above the number of cores, the machine was busy with other work.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn of(dir: &Path) -> Self {
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = read("/proc/loadavg");
        Self {
            cores: cores(),
            cpu: cpu.map_or("unknown", |(_, name)| name).to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            file_system: file_system(dir),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
        }
    }

    /// Whether a sync has nothing to do.
    pub(crate) fn in_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&&*self.file_system)
    }

    pub(crate) fn line(&self) -> String {
        let Self { cores, cpu, kernel, file_system, load } = self;
        format!("{cores} cores ({cpu}), Linux {kernel}, {file_system}, load {load} at the start")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let Self { cores, cpu, kernel, file_system, load } = self;
        json!({ "cores": cores, "cpu": cpu, "kernel": kernel, "file_system": file_system,
                "load_at_start": load })
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Empty if it cannot be read: it is for information.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn file_system(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    file_system_in(&read("/proc/self/mountinfo"), &dir).unwrap_or("unknown").to_owned()
}

/// The kind of the innermost mount that holds `dir`; of several at one place, the last.
fn file_system_in<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        dir.starts_with(point).then_some((point.len(), after.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// Bytes that `dir` has left.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Bytes of memory of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What it has allocated, without mapped files.
    pub(crate) anonymous: f64,
    /// With the pages of mapped files that it has touched: these are the page cache's.
    pub(crate) resident: f64,
    /// The most that `resident` has been.
    pub(crate) resident_max: f64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        Self::of(&read("/proc/self/status"))
    }

    fn of(status: &str) -> Self {
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kib.map_or(f64::NAN, |kib| kib * 1024.0)
        };
        Self { anonymous: field("RssAnon"), resident: field("VmRSS"), resident_max: field("VmHWM") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n\
            23 22 0:20 / /tmp rw - tmpfs tmpfs rw\n\
            24 22 0:21 / /tmp rw master:2 - xfs /dev/sdb rw\n";
        let of = |dir: &str| file_system_in(mounts, Path::new(dir));
        assert_eq!(
            [of("/tmp/a"), of("/tmpfoo"), of("/")],
            [Some("xfs"), Some("ext4"), Some("ext4")]
        );
        assert_eq!(file_system_in("", Path::new("/")), None);
    }

    #[test]
    fn memory_is_read_from_the_status() {
        let memory = Memory::of("VmHWM:\t  12 kB\nVmRSS:\t    8 kB\nRssAnon:\t 2 kB\n");
        assert_eq!(memory.anonymous, 2048.0);
        assert_eq!((memory.resident, memory.resident_max), (8192.0, 12288.0));
        assert!(Memory::of("").anonymous.is_nan());
    }
}
