//! The shell, and what can be typed in it: the commands of the program, and some of its own.

use clap::builder::Resettable;
use clap::{Args, Command as Definition, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{Command, Globals};

#[derive(Debug, Args)]
#[command(after_help = "\
A line is a command as it is typed outside, without the program and its store. Words are parted by
spaces. What stands in single quotes is taken as it is; in double quotes \\\" \\\\ \\n \\r \\t \\xNN and
\\u{N} are understood; elsewhere a backslash takes the next character as it is. A line that ends in an
open quote, or with a backslash, goes on in the next. What follows # is skipped. A value ends with
a line feed, unless `get` is told --raw.

On a terminal, Tab completes commands, options, keys and paths, lines are kept from one session to
the next, but for those that begin with a space, Ctrl-C abandons a line or ends a command, and an
error ends nothing. A command that does not heed Ctrl-C is ended by the third, and the shell with it.

Elsewhere the first error ends it, with the exit code of it. That something is absent is no error:
the rest is done, and the exit code is 1.

Examples:
  bitcask --db ./database shell
  printf 'set a 1\\nget a\\n' | bitcask --db ./database shell
  bitcask --db ./database --json shell < commands.txt")]
pub(crate) struct Shell {}

const AFTER_HELP: &str = "\
A line goes on in the next after a backslash, and within quotes. `help COMMAND` has examples.";

/// What can be typed:
#[derive(Debug, Parser)]
#[command(
    name = "bitcask",
    no_binary_name = true,
    override_usage = "COMMAND [OPTIONS] [WORDS]",
    after_help = AFTER_HELP
)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) globals: Globals,

    #[command(subcommand)]
    pub(crate) command: LineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Outside(Command),
    /// Tells from now on how long each command takes, or does so no longer
    #[command(after_help = "Examples:\n  time on")]
    Time {
        #[arg(value_enum, value_name = "on|off", hide_possible_values = true)]
        switch: Switch,
    },
    /// Leaves the shell; so does Ctrl-D
    #[command(visible_alias = "quit")]
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Line {
    /// What can be typed. What the shell was started with stands, so the environment is not asked again.
    pub(crate) fn definition() -> Definition {
        Self::command()
            .mut_arg("db", |arg| arg.env(Resettable::Reset))
            .mut_subcommand("shell", |command| command.hide(true))
            .mut_subcommand("completions", |command| command.hide(true))
            .mut_subcommand("man", |command| command.hide(true))
            .mut_subcommands(with_examples_of_lines)
    }
}

/// Examples as they are typed here. Those with pipes and redirections are for other shells.
fn with_examples_of_lines(command: Definition) -> Definition {
    let command = command.mut_subcommands(with_examples_of_lines);
    let Some(help) = command.get_after_help().map(ToString::to_string) else { return command };
    let mut lines = Vec::new();
    for line in help.lines() {
        match line.strip_prefix("  bitcask --db ./database ") {
            Some(line) if [" | ", " > ", " < "].iter().any(|mark| line.contains(mark)) => {}
            Some(line) => lines.push(format!("  {line}")),
            None if line.contains(" | bitcask --db ") => {}
            None => lines.push(line.to_owned()),
        }
    }
    command.after_help(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Line::definition().debug_assert();
    }

    #[test]
    fn examples_are_those_of_the_shell() {
        for command in Line::definition().get_subcommands().filter(|command| !command.is_hide_set())
        {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.contains("--db") && !help.contains("| "), "{help}");
        }
    }
}
