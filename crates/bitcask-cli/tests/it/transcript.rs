//! docs/cli.md, run as it stands.

use std::fs;
use std::process::Command;

use crate::Scene;

/// One command of the document: its line, and what stands below it.
struct Typed {
    line: usize,
    command: String,
    expected: String,
}

fn typed(document: &str) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    let mut in_block = false;
    for (index, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) {
            let (line, command, expected) = (index + 1, command.to_owned(), String::new());
            commands.push(Typed { line, command, expected });
        } else if in_block {
            let last = commands.last_mut().unwrap();
            last.expected += line;
            last.expected += "\n";
        }
    }
    commands
}

#[test]
fn the_document_shows_what_the_program_does() {
    let scene = Scene::new("transcript");
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bitcask"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let commands = typed(&document);
    assert!(commands.len() > 40, "{}", commands.len());
    for Typed { line, command, expected } in commands {
        // Both streams in the order in which they are written.
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {{ {command}\n}} 2>&1")])
            .env("PATH", &path)
            .env_remove("BITCASK_DB")
            .current_dir(&scene.0)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let mut said = String::from_utf8(output.stdout).unwrap();
        // A value has no line feed of its own.
        if !said.is_empty() && !said.ends_with('\n') {
            said.push('\n');
        }
        match output.status.code() {
            Some(0) => {}
            code => said += &format!("[{}]\n", code.unwrap()),
        }
        assert_eq!(said, expected, "docs/cli.md:{line}: {command}");
    }
}

#[test]
fn every_command_is_in_the_document() {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let scene = Scene::new("transcript-commands");
    let help = scene.ok("--help");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        let is_shown = document
            .lines()
            .any(|line| line.starts_with("$ ") && line.contains(&format!(" {name}")));
        assert!(is_shown || ["help", "completions"].contains(&name), "{name}");
    }
}
