//! A child process, as the parent sees it: what it says, whether it lives, when it is to end and how.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::counts::{self, Sums};
use crate::{Result, Role, Setting};

/// A child that takes longer to open, to close, or to get on, hangs.
const PATIENCE: Duration = Duration::from_secs(180);
const NAP: Duration = Duration::from_millis(10);

pub(crate) struct Process {
    role: Role,
    child: Child,
    lines: Receiver<String>,
    /// What it last said it had done.
    pub(crate) sums: Sums,
    pub(crate) is_ready: bool,
    /// When it was started, or was ready.
    since: Instant,
    /// When it last did anything.
    heard: Instant,
}

impl Process {
    pub(crate) fn start(role: Role, setting: &Setting, life: u64) -> Result<Self> {
        let Setting { dir, seed, threads, keys } = setting;
        let name = role.to_possible_value().ok_or("a role without a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", name.get_name(), "--dir"]).arg(dir);
        for (flag, number) in [
            ("--life", life),
            ("--seed", *seed),
            ("--threads", u64::from(*threads)),
            ("--keys", u64::from(*keys)),
        ] {
            command.arg(flag).arg(number.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let (sender, lines) = channel();
        // It ends with the child.
        thread::spawn(move || {
            let read: Box<dyn Read + Send> = Box::new(output);
            for line in BufReader::new(read).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (sums, now) = (Sums::new(), Instant::now());
        Ok(Self { role, child, lines, sums, is_ready: false, since: now, heard: now })
    }

    /// How long it has been opening the store, or at work.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Hears what it says. It must live, and get on.
    pub(crate) fn attend(&mut self) -> Result<()> {
        self.listen();
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the {:?} ended by itself: {status}", self.role).into());
        }
        if self.heard.elapsed() > PATIENCE {
            let id = self.child.id();
            return Err(format!("the {:?} ({id}) hangs", self.role).into());
        }
        Ok(())
    }

    fn listen(&mut self) {
        for line in self.lines.try_iter() {
            if line == "ready" {
                (self.is_ready, self.since) = (true, Instant::now());
            }
            let said = counts::parse(&line);
            if said.as_ref() != Some(&self.sums) {
                self.heard = Instant::now();
            }
            self.sums = said.unwrap_or_else(|| std::mem::take(&mut self.sums));
        }
    }

    /// Ends it where it stands, by `SIGKILL`. Gives what it had done.
    pub(crate) fn kill(mut self) -> Result<Sums> {
        self.attend()?;
        self.child.kill()?;
        self.child.wait()?;
        self.last_words()
    }

    /// Has it close the store.
    pub(crate) fn close(mut self) -> Result<Sums> {
        self.attend()?;
        drop(self.child.stdin.take());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return self.last_words();
                }
                return Err(format!("the {:?} ended with {status}", self.role).into());
            }
            if started.elapsed() > PATIENCE {
                return Err(
                    format!("the {:?} ({}) does not close", self.role, self.child.id()).into()
                );
            }
            thread::sleep(NAP);
        }
    }

    fn last_words(mut self) -> Result<Sums> {
        // The thread that listens ends when it has heard all.
        while let Ok(line) = self.lines.recv() {
            self.sums = counts::parse(&line).unwrap_or_else(|| std::mem::take(&mut self.sums));
        }
        Ok(std::mem::take(&mut self.sums))
    }

    /// Bytes of memory that it has allocated, and files that it has open.
    pub(crate) fn usage(&self) -> Option<(u64, u64)> {
        let proc = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{proc}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        let files = fs::read_dir(format!("{proc}/fd")).ok()?.count();
        Some((kib << 10, files as u64))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ignored: it has ended, or ends with its parent's end of the pipe.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
