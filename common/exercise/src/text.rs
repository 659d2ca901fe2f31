//! How a sentence is shown: on a terminal, its lines end at word ends, and a verdict has a color.

use std::io::{IsTerminal, stderr, stdout};

use terminal_size::{Height, Width, terminal_size_of};

use crate::picture::is_set;

/// Returns a text as stdout shows it. On a terminal, its lines end at word ends.
pub fn wrapped(text: &str) -> String {
    wrap(text, terminal_size_of(stdout()))
}

/// Prints a text on stderr, in the same way.
pub fn complain(text: &str) {
    eprintln!("{}", wrap(text, terminal_size_of(stderr())));
}

/// Returns a text with this verdict in color where it is first named, if stdout is a terminal.
pub fn colored(text: &str, verdict: &str) -> String {
    paint(text, verdict, stdout().is_terminal() && !is_set("NO_COLOR"))
}

fn wrap(text: &str, size: Option<(Width, Height)>) -> String {
    let Some((Width(width), _)) = size else {
        return text.to_owned();
    };
    let mut wrapped = String::new();
    for line in text.split_inclusive('\n') {
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > 0 && column + length > width.into() {
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
    // As on the board.
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
    fn a_verdict_has_a_color_where_it_is_named_first() {
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
    fn a_line_ends_at_a_word_end() {
        let text = "  one  two\n\nthree four-and-more five\n";
        for (width, shown) in [
            (80, text),
            (19, "  one  two\n\nthree four-and-more\nfive\n"),
            (18, "  one  two\n\nthree\nfour-and-more five\n"),
            (10, "  one  two\n\nthree\nfour-and-more\nfive\n"),
            (9, "  one\ntwo\n\nthree\nfour-and-more\nfive\n"),
        ] {
            assert_eq!(wrap(text, Some((Width(width), Height(24)))), shown, "{width}");
        }
        assert_eq!(wrap(text, None), text);
    }
}
