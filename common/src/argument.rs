//! The argument of a program.

use std::env;
use std::io::{Write, stdout};
use std::process::exit;

/// Returns the bytes of this program's argument, if it has one. `usage` says what that can be, such as
/// `VALUE | --get`. `source` is the source of the program.
///
/// Ends the program after `--help`, which prints the lines at the top of `source`. Also ends it, with
/// status 2, if there is a second argument, or an option that `usage` does not name.
pub fn argument(usage: &str, source: &str) -> Option<Vec<u8>> {
    let top = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let help: Vec<_> = top.filter(|line| !line.starts_with("```")).collect();
    let is_named = |argument: &str| match argument.starts_with("--") {
        true => usage.split(" | ").any(|name| name == argument),
        false => !usage.is_empty(),
    };
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match &arguments[..] {
        [] => None,
        [argument] if argument == "--help" => {
            let shown = writeln!(stdout(), "{}", help.join("\n"));
            exit(shown.is_err().into())
        }
        [argument] if is_named(&argument.to_string_lossy()) => {
            Some(argument.clone().into_encoded_bytes())
        }
        [argument] | [_, argument, ..] => {
            let command = help.iter().find(|line| line.starts_with("cargo run")).unwrap_or(&"");
            let usage = if usage.is_empty() { "" } else { &format!(" -- [{usage}]") };
            eprintln!("Error: cannot use {argument:?}; usage: {command}{usage}");
            exit(2)
        }
    }
}

/// Ends a program that takes no argument if it has one, as [`argument`] does.
pub fn no_argument(source: &str) {
    argument("", source);
}
