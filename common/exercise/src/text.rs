//! Sentences on a terminal: lines break between words, and a verdict has a color.

use std::io::{IsTerminal, stderr, stdout};

use terminal_size::{Height, Width, terminal_size_of};

use crate::picture::is_set;

/// Returns `text` for stdout: on a terminal, its lines break between words.
pub fn wrapped(text: &str) -> String {
    wrap(text, width(terminal_size_of(stdout())))
}

/// Prints `text` on stderr, as [`wrapped`] does for stdout.
pub fn complain(text: &str) {
    eprintln!("{}", wrap(text, width(terminal_size_of(stderr()))));
}

/// Returns `text` with the first occurrence of `verdict` in color, if stdout is a terminal.
pub fn colored(text: &str, verdict: &str) -> String {
    paint(text, verdict, stdout().is_terminal() && !is_set("NO_COLOR"))
}

fn width(terminal: Option<(Width, Height)>) -> usize {
    terminal.map_or(usize::MAX, |(Width(width), _)| width.into())
}

/// Breaks the lines of `text` between words, so that each has at most `width` columns. A longer
/// word stays whole.
pub fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for line in text.split_inclusive('\n') {
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > 0 && column + length > width {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                column = 0;
            }
            wrapped += word;
            column += word.chars().count();
        }
    }
    wrapped
}

fn paint(text: &str, verdict: &str, has_colors: bool) -> String {
    // The board of a class has the same colors.
    let color = if verdict == "held" { 32 } else { 31 };
    match has_colors {
        true => text.replacen(verdict, &format!("\x1b[{color}m{verdict}\x1b[0m"), 1),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mention_of_a_verdict_is_colored() {
        for (text, verdict, shown) in [
            ("held: all is held", "held", "\x1b[32mheld\x1b[0m: all is held"),
            ("broken: 8", "broken", "\x1b[31mbroken\x1b[0m: 8"),
            ("not tried", "held", "not tried"),
        ] {
            assert_eq!(paint(text, verdict, true), shown);
            assert_eq!(paint(text, verdict, false), text);
        }
    }

    #[test]
    fn lines_break_between_words() {
        let text = "  one  two\n\nthree four-and-more five\n";
        for (width, shown) in [
            (80, text),
            (19, "  one  two\n\nthree four-and-more\nfive\n"),
            (18, "  one  two\n\nthree\nfour-and-more five\n"),
            (10, "  one  two\n\nthree\nfour-and-more\nfive\n"),
            (9, "  one\ntwo\n\nthree\nfour-and-more\nfive\n"),
        ] {
            assert_eq!(wrap(text, width), shown, "{width}");
        }
        assert_eq!(wrap(text, usize::MAX), text);
    }
}
