//! `bitcask top` beside a process that writes: this one. On a terminal, too, which is made for the test.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bitcask::Bitcask;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Scene, run_with_input};

const NO_TERMINAL: &str = "error: there is no terminal here to draw on\n\
                           help: `top --json` prints a line each time, `stats --watch` a table\n";

/// A program on a terminal of its own.
struct OnTerminal {
    child: Child,
    /// The side of him who looks and types.
    outside: File,
    inside: OwnedFd,
    /// How the terminal was before.
    before: Termios,
    /// What was drawn.
    drawn: Vec<u8>,
}

impl OnTerminal {
    fn new(scene: &Scene, line: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        let mut command = scene.command(line.split(' '));
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        let (outside, inside) = (File::from(pair.master), pair.slave);
        let mut top = Self { child, outside, inside, before, drawn: Vec::new() };
        // From now on keys are read one by one.
        top.wait_for("\x1b[?1049h");
        top
    }

    /// Waits until something is written, behind what was waited for before, and gives what was written till then.
    fn wait_for(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) =
                self.drawn.windows(text.len()).position(|part| part == text.as_bytes())
            {
                return self.drawn.drain(..at + text.len()).collect();
            }
            let mut wanted = [PollFd::new(self.outside.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wanted, PollTimeout::from(30_000_u16)).unwrap();
            assert!(ready > 0, "{text:?} is not in {:?}", String::from_utf8_lossy(&self.drawn));
            let n = self.outside.read(&mut bytes).unwrap();
            self.drawn.extend_from_slice(&bytes[..n]);
        }
    }

    /// Waits until all of these texts are on the screen, in this order.
    fn wait_until_it_shows(&mut self, texts: &[&str]) {
        let started = Instant::now();
        loop {
            // Only what has changed is drawn, unless it is asked to draw all.
            self.press("\x0c");
            self.wait_for("\x1b[2J");
            let screen = visible(&self.wait_for("help"));
            let mut rest = screen.as_str();
            let all = texts.iter().all(|text| {
                let behind = rest.split_once(&text.replace(' ', "")).map(|(_, behind)| behind);
                rest = behind.unwrap_or_default();
                behind.is_some()
            });
            if all {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{texts:?} is not in {screen}");
        }
    }

    fn press(&mut self, keys: &str) {
        self.outside.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it has left, which it must do with the terminal as it was.
    fn left(mut self) -> ExitStatus {
        // The other screen is left, and the cursor is seen.
        self.wait_for("\x1b[?1049l");
        let status = self.child.wait().unwrap();
        assert_eq!(tcgetattr(&self.inside).unwrap(), self.before);
        status
    }
}

/// What was written, without spaces, for these are not drawn where nothing was, and without what commands the terminal.
fn visible(written: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = written.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == b'\x1b' {
            // Up to the letter that ends it.
            rest.find(u8::is_ascii_alphabetic);
        } else if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        }
    }
    text
}

#[test]
fn a_terminal_shows_what_another_process_does_and_is_given_back() {
    let scene = Scene::new("top-terminal");
    let db = Bitcask::open(scene.path("d")).unwrap();
    db.put(b"k", b"v").unwrap();
    let process = format!("process {} (it-", std::process::id());

    let mut top = OnTerminal::new(&scene, "--db d top --interval 100ms");
    let parts = ["bitcask top", &process, "keys 1", "OPERATIONS", "LATENCY", "SPACE", "total"];
    top.wait_until_it_shows(&parts);
    top.press("h");
    top.wait_until_it_shows(&["HELP"]);
    top.press("h+p");
    top.wait_until_it_shows(&["bitcask top", "PAUSED", "OPERATIONS"]);
    top.press("q");
    assert_eq!(top.left().code(), Some(0));

    // Ctrl-C is a key there; after so many looks it ends by itself.
    let mut top = OnTerminal::new(&scene, "--db d top");
    top.wait_for("SPACE");
    top.press("\x03");
    assert_eq!(top.left().code(), Some(0));
    let top = OnTerminal::new(&scene, "--db d top --interval 100ms --count 3");
    assert_eq!(top.left().code(), Some(0));

    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let mut top = OnTerminal::new(&scene, "--db d top --interval 1h");
        top.wait_for("SPACE");
        top.signal(signal);
        assert_eq!(top.left().signal(), Some(signal as i32));
    }
    let mut top = OnTerminal::new(&scene, "--db d top --interval 1h");
    top.wait_for("SPACE");
    top.signal(Signal::SIGINT);
    assert_eq!(top.left().code(), Some(0));
}

#[test]
fn a_terminal_that_goes_away_takes_it_along() {
    let scene = Scene::new("top-gone");
    scene.ok("--db d set k v");
    let mut top = OnTerminal::new(&scene, "--db d top --interval 1h");
    top.wait_for("SPACE");
    let OnTerminal { mut child, outside, inside, .. } = top;
    drop((outside, inside));
    // What the kernel sends to programs whose terminal is gone; from here on there are no keys to wait for.
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGHUP).unwrap();
    // Or it has met the end of the terminal before.
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_store_that_nobody_has_open_is_shown_as_it_lies_there() {
    let scene = Scene::new("top-nobody");
    scene.ok("--db d set k v");
    let mut top = OnTerminal::new(&scene, "--db d top --interval 100ms");
    let nobody = ["no process has this store open", "keys 1", "SPACE", "000000000001.data"];
    top.wait_until_it_shows(&nobody);
    let db = Bitcask::open(scene.path("d")).unwrap();
    top.wait_until_it_shows(&[&format!("process {}", std::process::id())]);
    db.close().unwrap();
    top.wait_until_it_shows(&nobody);
    top.press("\x1b");
    assert_eq!(top.left().code(), Some(0));

    let said: Value = serde_json::from_str(&scene.ok("--db d top --json --count 1")).unwrap();
    for name in ["process", "program", "age_ms", "over_ms", "per_second", "total", "merge"] {
        assert_eq!(said.get(name), Some(&Value::Null), "{name}: {said}");
    }
    assert_eq!(said["keys"], 1);
    assert_eq!(said["dir"], "d");
    let file = &said["files"][0];
    assert_eq!(file["name"], "000000000001.data");
    assert_eq!(file["bytes"], said["bytes"]);
}

#[test]
fn json_tells_rates_beside_a_writer() {
    let scene = Scene::new("top-json");
    let db = Bitcask::open(scene.path("d")).unwrap();
    for key in 0..500_u32 {
        db.put(&key.to_le_bytes(), b"").unwrap();
    }
    let line = "--db d top --json --interval 100ms";
    let mut child = scene.command(line.split(' ')).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut looks = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());

    let first = looks.next().unwrap();
    assert_eq!(first["process"], std::process::id());
    assert_eq!(first["per_second"], Value::Null);
    assert!(first["program"].as_str().unwrap().starts_with("it-"), "{first}");
    let mut n = 0_u32;
    let moving = looks.find(|look| {
        for _ in 0..1000 {
            n += 1;
            db.put(&(n % 500).to_le_bytes(), b"value").unwrap();
            db.get(&n.to_le_bytes()).unwrap();
        }
        look["per_second"]["puts"].as_f64().is_some_and(|puts| puts > 0.0)
            && look["latency_now"]["puts"]["count"].as_u64() > Some(0)
    });
    let moving = moving.unwrap();
    let number =
        |of: &Value, name: &str| of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"));
    assert_eq!(
        (number(&moving, "keys"), number(&moving, "process")),
        (500, std::process::id().into())
    );
    assert!(
        number(&moving, "over_ms") >= 100 && moving["dead_bytes"].as_u64() > Some(0),
        "{moving}"
    );
    let total = &moving["total"];
    assert_eq!(number(total, "deletes"), 0);
    assert!((1..=u64::from(n)).contains(&number(total, "puts")), "{total}");
    // No faster than all of them in the time between.
    let (puts, over_ms) =
        (moving["per_second"]["puts"].as_f64().unwrap(), number(&moving, "over_ms"));
    assert!(puts * over_ms as f64 / 1000.0 <= number(total, "puts") as f64 + 0.5, "{moving}");
    for latencies in ["latency_now", "latency_all"] {
        let times = &moving[latencies]["puts"];
        let sizes = ["p50_ns", "p99_ns", "p999_ns", "max_ns"].map(|name| number(times, name));
        assert!(sizes.is_sorted() && sizes[0] > 0, "{moving}");
    }

    // It goes on when the process has closed the store.
    db.close().unwrap();
    let closed = looks.find(|look| look["process"].is_null()).unwrap();
    assert_eq!((closed["total"].is_null(), number(&closed, "keys")), (true, 500));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn who_reads_json_may_go_away() {
    let scene = Scene::new("top-pipe");
    scene.ok("--db d set k v");
    let mut child = scene.command("--db d top --json --interval 100ms".split(' ')).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let scene = Scene::new("top-no-terminal");
    scene.ok("--db d set k v");
    scene.fails("--db d top", 2, NO_TERMINAL);
    let shell = |input: &[u8]| run_with_input(&mut scene.command(["--db", "d", "shell"]), input);
    let ran = shell(b"top");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with(NO_TERMINAL), "{ran:?}");
    // The shell has no store open between its lines.
    let ran = shell(b"top --json --count 2 --interval 100ms\nget k\n");
    let said = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((ran.code, lines.len(), lines[2]), (Some(0), 3, "v"), "{said}");
    let mut top = OnTerminal::new(&scene, "--db d top");
    top.wait_for("SPACE");
    top.press("q");
    top.left();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scene = Scene::new("top-refused");
    scene.ok("--db d set k v");
    for options in ["--interval 0", "--interval 2h", "--interval soon", "--count 0", "--count x"] {
        let ran = scene.run(&format!("--db d top --json {options}"));
        assert_eq!((ran.code, ran.stdout.len()), (Some(2), 0), "{options}: {ran:?}");
        assert!(ran.stderr.starts_with("error: invalid value "), "{options}: {ran:?}");
    }
    scene.fails(
        "--db nothing top --json",
        2,
        "error: there is no such directory: nothing\nhelp: check the directory; `set` creates a store\n",
    );
    scene.fails(
        "top --json",
        2,
        "error: no store was given\nhelp: pass --db DIR, or set BITCASK_DB\n",
    );
}
