//! `bitcask shell` without a terminal: lines come from a pipe, and the first error ends it.

use std::fs;

use crate::{Ran, Scene, names, run_with_input};

/// Gives lines to a shell on the store `db`.
fn shell(scene: &Scene, options: &str, input: &[u8]) -> Ran {
    let words = format!("--db db {options} shell");
    run_with_input(&mut scene.command(words.split_whitespace()), input)
}

/// Gives lines to a shell, which must end with this code, and gives both that it prints.
#[track_caller]
fn said(scene: &Scene, input: &str, code: i32) -> (String, String) {
    let ran = shell(scene, "", input.as_bytes());
    assert_eq!(ran.code, Some(code), "{input}: {}", ran.stderr);
    (String::from_utf8(ran.stdout).unwrap(), ran.stderr)
}

#[test]
fn lines_are_commands() {
    let scene = Scene::new("shell-lines");
    let input = "set a 1\n\n  # a word of mine\nget a # is it there?\nincr b 2\r\ncount";
    assert_eq!(said(&scene, input, 0), ("1\n2\n2\n".into(), String::new()));
    // They are what they are outside.
    assert_eq!(scene.ok("--db db get a"), "1");
    assert_eq!(said(&scene, "", 0), Default::default());
    assert_eq!(said(&scene, "exit\nget nokey\n", 0), Default::default());
    assert_eq!(said(&scene, "quit\nnonsense\n", 0), Default::default());
}

#[test]
fn words_are_any_bytes() {
    let scene = Scene::new("shell-words");
    let input = b"set 'two words' \"\\x00\\xff \\\"\"\nset e ''\nset \xc3\xff a\\ b\n";
    assert_eq!(shell(&scene, "", input).code, Some(0));
    let ran = shell(&scene, "", b"get two\\ words\nget e\nget \xc3\xff\n");
    assert_eq!((ran.code, ran.stdout), (Some(0), b"\0\xff \"\n\na b\n".to_vec()));
    let ran = shell(&scene, "", b"get two\\ words --raw\nget \xc3\xff --raw\n");
    assert_eq!((ran.code, ran.stdout), (Some(0), b"\0\xff \"a b".to_vec()));
}

#[test]
fn a_command_goes_on_in_the_next_line() {
    let scene = Scene::new("shell-more");
    let input = "set long 'one\n # two\n\n\"three'\nset \\\n  b \\\n 2\nset c \"4\\\n5\"\n";
    assert_eq!(said(&scene, input, 0), Default::default());
    let (values, _) = said(&scene, "get long\nget b\nget c\n", 0);
    assert_eq!(values, "one\n # two\n\n\"three\n2\n45\n");
    let long = format!("set long '{}'\ncount", "line\n".repeat(300_000));
    assert_eq!(said(&scene, &long, 0).0, "3\n");
    assert_eq!(scene.ok("--db db get long").len(), 1_500_000);
}

#[test]
fn the_first_error_ends_it() {
    let scene = Scene::new("shell-errors");
    scene.ok("--db db set text abc");
    let note = |line| format!("note: that was line {line}; the rest is left\n");
    let (printed, told) = said(&scene, "set a '1\n'\n\nget a\nincr text\nset b 1\n", 2);
    assert_eq!(printed, "1\n\n");
    let failed = "error: the value is no 64-bit number (key \"text\")\nhelp: fix the call\n";
    assert_eq!(told, format!("{failed}{}", note(5)));
    assert_eq!(scene.run("--db db get b").code, Some(1));

    for (input, error) in [
        ("put a 1\ncount", "error: unrecognized subcommand 'put'"),
        ("get\ncount", "error: the following required arguments were not provided:"),
        ("get \"a\\q\"\ncount", "error: the line is not understood: a backslash stands before one"),
        ("get 'a\ncount", "error: the line is not understood: a quote or a word is not at its end"),
        ("get a \\", "error: the line is not understood: a quote or a word is not at its end"),
        ("shell\ncount", "error: this is the shell already"),
        ("del --prefix t\ncount", "error: nobody can be asked here"),
    ] {
        let (printed, told) = said(&scene, input, 2);
        assert!(printed.is_empty() && told.starts_with(error), "{input}: {told}");
        assert!(told.ends_with(&note(1)), "{input}: {told}");
    }
    let ran = shell(&scene, "--quiet", b"get a --output no/where\n");
    assert_eq!(ran.code, Some(6));
    assert!(!ran.stderr.contains("note"), "{}", ran.stderr);
    scene.fails("shell", 2, "error: no store was given\nhelp: pass --db DIR, or set BITCASK_DB\n");
}

#[test]
fn what_is_absent_is_no_error_but_told_at_the_end() {
    let scene = Scene::new("shell-absent");
    scene.ok("--db db set a 1");
    let absent = "note: no such key: b\n".to_owned();
    assert_eq!(said(&scene, "get b\nget a\n", 1), ("1\n".into(), absent));
}

#[test]
fn options_of_the_shell_are_those_of_each_line() {
    let scene = Scene::new("shell-options");
    scene.ok("--db other set a other");
    let ran = shell(&scene, "--json --quiet", b"set a mine\nget b\nget a\nget a -db other\n");
    let rows = ["{\"key\":\"a\",\"value\":\"mine\"}\n", "{\"key\":\"a\",\"value\":\"other\"}\n"];
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), rows.concat());
    // The store that the shell was given, not that of the environment.
    let mut command = scene.command(["--db", "db", "shell"]);
    command.env("BITCASK_DB", "other");
    assert_eq!(run_with_input(&mut command, b"get a\n").stdout, b"mine\n");
}

#[test]
fn a_command_that_reads_takes_the_rest() {
    let scene = Scene::new("shell-rest");
    assert_eq!(said(&scene, "set a -\nget a\n'", 0), Default::default());
    assert_eq!(scene.ok("--db db get a"), "get a\n'");
    let (printed, _) = said(&scene, "batch -\nset b 2\ndel a\n", 0);
    assert_eq!(printed, "made 2 changes\n");
    assert_eq!(scene.ok("--db db count"), "1\n");
}

#[test]
fn help_and_time_are_there() {
    let scene = Scene::new("shell-help");
    let (help, _) = said(&scene, "help\nhelp get\nget --help\nhelp time\n", 0);
    for line in [
        "Usage: COMMAND [OPTIONS] [WORDS]",
        "  exit     Leaves the shell; so does Ctrl-D [alias: quit]",
        "Usage: get [OPTIONS] <KEY>",
        "  get photo --output photo.jpg",
        "Usage: time [OPTIONS] <on|off>",
    ] {
        assert!(help.lines().any(|found| found == line), "{line}: {help}");
    }
    assert!(!help.contains("completions") && !help.contains("> photo"), "{help}");
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");

    let (_, told) = said(&scene, "time on\nset a 1\ntime off\nset a 2\n", 0);
    let ms = told.strip_prefix("time: ").and_then(|told| told.strip_suffix(" ms\n"));
    assert!(ms.is_some_and(|ms| ms.parse::<f64>().is_ok()), "{told}");
}

#[test]
fn nothing_is_kept_of_lines_from_a_pipe() {
    let scene = Scene::new("shell-history");
    fs::create_dir(scene.path("home")).unwrap();
    let mut command = scene.command(["--db", "db", "shell"]);
    command.env("HOME", scene.path("home")).env_remove("XDG_STATE_HOME");
    assert_eq!(run_with_input(&mut command, b"set a 1\n").code, Some(0));
    assert!(names(&scene.path("home")).is_empty());
}
