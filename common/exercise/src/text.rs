//! How a sentence is shown: on a terminal, its lines end at word ends.

use std::io::{stderr, stdout};

use terminal_size::{Height, Width, terminal_size_of};

/// Returns a text as it is shown on stdout: each line ends at a word end there, if it is a terminal.
pub fn wrapped(text: &str) -> String {
    wrap(text, terminal_size_of(stdout()))
}

/// Prints a text on stderr, in the same way.
pub fn complain(text: &str) {
    eprintln!("{}", wrap(text, terminal_size_of(stderr())));
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

#[cfg(test)]
mod tests {
    use super::*;

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
