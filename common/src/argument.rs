//! The command line of a program.

use std::env;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::process::exit;

/// Returns the bytes of this program's argument, if it has one. `usage` lists the possible
/// arguments, such as `VALUE | --get`. `source` is the source of the program.
///
/// `--help` prints the lines at the top of `source` and ends the program. A second argument, or an
/// option that `usage` doesn't list, ends the program with status 2.
pub fn argument(usage: &str, source: &str) -> Option<Vec<u8>> {
    let is_named = |argument: &str| match argument.starts_with("--") {
        true => usage.split(" | ").any(|name| name == argument),
        false => !usage.is_empty(),
    };
    let arguments = arguments(source);
    match &arguments[..] {
        [] => None,
        [argument] if is_named(&argument.to_string_lossy()) => {
            Some(argument.clone().into_encoded_bytes())
        }
        [argument] | [_, argument, ..] => {
            let help = help(source);
            let command = help.lines().find(|line| line.starts_with("cargo run"));
            let usage = if usage.is_empty() { "" } else { &format!(" -- [{usage}]") };
            cannot_use(&argument.to_string_lossy(), &format!("{}{usage}", command.unwrap_or("")))
        }
    }
}

/// Ends the program as [`argument`] does if it has an argument. For programs that take none.
pub fn no_argument(source: &str) {
    argument("", source);
}

/// Returns the arguments of a program that takes several, with `�` for bytes that aren't UTF-8.
/// `--help` prints the lines at the top of `source` and ends the program.
pub fn words(source: &str) -> Vec<String> {
    let lossy = |word: OsString| word.to_string_lossy().into_owned();
    arguments(source).into_iter().map(lossy).collect()
}

/// Ends the program with status 2, because it doesn't understand `words`. `usage` is the command
/// that it understands.
pub fn cannot_use(words: &str, usage: &str) -> ! {
    eprintln!("Error: cannot use {words:?}; usage: {usage}");
    exit(2)
}

fn arguments(source: &str) -> Vec<OsString> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments == ["--help"] {
        exit(writeln!(stdout(), "{}", help(source)).is_err().into());
    }
    arguments
}

/// Returns the lines at the top of a program's source, without the fences of code blocks.
fn help(source: &str) -> String {
    let top = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    top.filter(|line| !line.starts_with("```")).collect::<Vec<_>>().join("\n")
}
