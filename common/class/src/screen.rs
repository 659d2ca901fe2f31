use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use anyhow::Result;
use exercise::{is_set, is_utf8, now};
use terminal_size::{Height, Width, terminal_size};
use tokio::time::Instant;
use unicode_width::UnicodeWidthChar;

/// A picture stays for so long at least.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a page is shown, where there are several.
const PAGE_TIME: Duration = Duration::from_secs(6);
/// After how many seconds of *broken* a student may be stuck.
const STUCK: u64 = 15 * 60;
/// The columns of how long ago the last verdict came, such as ` 12m! `.
const AGO_WIDTH: usize = 6;
/// The columns of a name, at most.
const NAME_WIDTH: usize = 16;

/// One row of a board.
#[derive(Clone)]
pub struct Row {
    /// Whatever somebody has typed: it is cleaned and cut before it is shown.
    pub name: String,
    /// Whether something was run in the last minutes.
    pub here: bool,
    /// One for each column.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Returns a row of so many cells with nothing in them.
    pub fn new(name: &str, cells: usize) -> Row {
        Row { name: name.to_owned(), here: false, cells: vec![Cell::default(); cells] }
    }

    fn is_stuck(&self) -> bool {
        let last = self.cells.iter().max_by_key(|cell| cell.last);
        last.is_some_and(|last| {
            last.held == Some(false) && last.since > 0 && now() >= last.since + STUCK
        })
    }

    /// Returns how long ago the last verdict came, with a mark for a student who may be stuck.
    fn ago(&self) -> String {
        let last = self.cells.iter().map(|cell| cell.last).max().filter(|last| *last > 0);
        let ago = last.map_or(String::new(), |last| match now().saturating_sub(last) {
            ago @ ..3600 => format!("{}m", ago / 60),
            ago @ ..86400 => format!("{}h", ago / 3600),
            ago => format!("{}d", (ago / 86400).min(999)),
        });
        format!("{ago:>4}{:<2}", if self.is_stuck() { "!" } else { "" })
    }
}

/// One exercise of one student.
#[derive(Clone, Copy, Default)]
pub struct Cell {
    /// The last verdict, if there was one.
    pub held: Option<bool>,
    /// How many verdicts there were.
    pub runs: i64,
    /// Whether it runs now.
    pub running: bool,
    /// When the last verdict came, in seconds since 1970, or 0.
    pub last: u64,
    /// Since when each verdict was the same.
    pub since: u64,
}

/// Where a board is shown: a terminal of any size, or else a line for each change.
pub struct Screen {
    columns: Vec<&'static str>,
    /// The line that a student types.
    invitation: String,
    is_terminal: bool,
    look: Look,
    begin: Instant,
    drawn: Option<Instant>,
    /// What the terminal shows.
    picture: String,
    rows: Vec<Row>,
    has_changed: bool,
    /// A text below the board.
    said: String,
}

/// What a terminal can show.
#[derive(Clone, Copy)]
struct Look {
    is_utf8: bool,
    has_colors: bool,
}

impl Screen {
    /// Returns the screen of this program, for a board with these columns below an invitation.
    pub fn new(columns: &[&'static str], invitation: String) -> Screen {
        Screen {
            columns: columns.to_vec(),
            invitation,
            is_terminal: stdout().is_terminal(),
            look: Look { is_utf8: is_utf8(), has_colors: !is_set("NO_COLOR") },
            begin: Instant::now(),
            drawn: None,
            picture: String::new(),
            rows: Vec::new(),
            has_changed: true,
            said: String::new(),
        }
    }

    /// Notes a change. Where there is no terminal, prints it.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.has_changed = true;
        self.said.clear();
        self.print(text)
    }

    /// Shows a line of text until the next change, or nothing instead.
    pub fn say(&mut self, text: &str) -> Result<()> {
        if self.said != text {
            self.said = text.to_owned();
            self.print(text)?;
        }
        self.paint()
    }

    fn print(&self, text: &str) -> Result<()> {
        if !self.is_terminal && !text.is_empty() {
            writeln!(stdout(), "{}", cleaned(text, usize::MAX, self.look))?;
        }
        Ok(())
    }

    /// Shows the board. Takes the rows only if there was a change, and not more often than ten times a
    /// second.
    pub fn draw(&mut self, rows: impl FnOnce() -> Vec<Row>) -> Result<()> {
        if !self.is_terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        if self.has_changed {
            self.rows = rows();
            self.has_changed = false;
        }
        self.paint()
    }

    /// Paints what is not there already, also when the terminal has got another size.
    fn paint(&mut self) -> Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        // A terminal without a size, as `docker exec -t` makes one, gets a board for 80x24.
        let (Width(width), Height(height)) = terminal_size().unwrap_or((Width(80), Height(24)));
        let picture = self.board(width.into(), height.into());
        if picture != self.picture {
            // From the upper left corner; each line, and what is below, is cleared.
            let lines = picture.replace('\n', "\x1b[K\r\n");
            write!(stdout(), "\x1b[H{lines}\x1b[J")?;
            stdout().flush()?;
            self.picture = picture;
        }
        Ok(())
    }

    fn board(&self, width: usize, height: usize) -> String {
        let look = self.look;
        let names = self.rows.iter().map(|row| wide(&cleaned(&row.name, NAME_WIDTH, look))).max();
        let names = names.unwrap_or(0).max("held".len()) + 2;
        let left = names + AGO_WIDTH;
        let cells = (width.saturating_sub(left) / self.columns.len().max(1)).clamp(4, 12);
        let is_short = cells < "broken 99 ".len();

        // A shell takes what is on several lines as one, with a backslash at the end of the others.
        let room = width.saturating_sub(" \\".len());
        let line = wrapped(&cleaned(&self.invitation, usize::MAX, look), room);
        let said = wrapped(&cleaned(&self.said, usize::MAX, look), width);
        // There are also a line about the invitation, a title, the heads and the sums.
        let rows = height.saturating_sub(line.len() + said.len() + 4).max(1);
        let pages = self.rows.len().div_ceil(rows).max(1);
        let page = (self.begin.elapsed().as_secs() / PAGE_TIME.as_secs()) as usize % pages;
        let here = self.rows.iter().filter(|row| row.here).count();
        let students = if self.rows.len() == 1 { "student" } else { "students" };
        let stuck = self.rows.iter().filter(|row| row.is_stuck()).count();
        let mut title =
            format!("{} {students}, {here} here (*), {stuck} stuck (!)", self.rows.len());
        if pages > 1 {
            title += &format!(", page {} of {pages}", page + 1);
        }
        if is_short {
            title += "   + held  x broken  ~ runs";
        }
        let cut = |text: &str| cleaned(text, width, look);
        let mut board = cut("Type this line, with your own name:") + "\n";
        board += &format!("{}\n{}\n", line.join(" \\\n"), cut(&title));
        let heads = self.columns.iter().map(|head| format!("{:<cells$.1$}", head, cells - 1));
        board += &cut(&format!("{:names$}last  {}", "", heads.collect::<String>()));

        for row in self.rows.iter().skip(page * rows).take(rows) {
            let name = cleaned(&row.name, NAME_WIDTH, look);
            let gap = " ".repeat(names - 1 - wide(&name));
            let here = if row.here { '*' } else { ' ' };
            board += &format!("\n{here}{name}{gap}{}", row.ago());
            let room = (width.saturating_sub(left) / cells).min(row.cells.len());
            for cell in &row.cells[..room] {
                let (color, text) = cell.shown(is_short);
                let text = format!("{text:<0$.1$}", cells, cells - 1);
                board +=
                    &if look.has_colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text };
            }
        }
        let held = |column: usize| {
            let held = self.rows.iter().filter(|row| row.cells[column].held == Some(true));
            format!("{:<cells$}", held.count())
        };
        let sums: String = (0..self.columns.len()).map(held).collect();
        board += &format!("\n{}", cut(&format!("{:<left$}{sums}", " held")));
        for line in said {
            board += &format!("\n{line}");
        }
        board
    }
}

impl Cell {
    /// Returns the color of the text, and the text.
    fn shown(self, is_short: bool) -> (u8, String) {
        let (color, sign, word, runs) = match self {
            Cell { running: true, runs, .. } => (33, '~', "runs", runs + 1),
            Cell { held: Some(true), runs, .. } => (32, '+', "held", runs),
            Cell { held: Some(false), runs, .. } => (31, 'x', "broken", runs),
            Cell { held: None, .. } => return (0, String::new()),
        };
        (color, if is_short { format!("{sign}{runs}") } else { format!("{word} {runs}") })
    }
}

/// Returns a text in lines of at most so many columns, broken between words: a line that breaks in
/// a word can't be copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| wide(line) + 1 + wide(word) <= width) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Returns a text of at most so many columns that does nothing to a terminal: without escape sequences,
/// control characters, and characters that take no column, such as those that change the direction.
fn cleaned(text: &str, width: usize, look: Look) -> String {
    let mut cleaned = String::new();
    let mut columns = 0;
    for char in strip_ansi_escapes::strip_str(text).chars() {
        let char = if look.is_utf8 || char.is_ascii() { char } else { '?' };
        let more = char.width().unwrap_or(0);
        if columns + more > width {
            break;
        }
        if more > 0 {
            columns += more;
            cleaned.push(char);
        }
    }
    cleaned
}

/// Returns how many columns a cleaned text takes.
fn wide(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

#[cfg(test)]
mod tests {
    use exercise::COURSE;

    use super::*;
    use crate::invitation;

    fn screen(students: usize, look: Look) -> Screen {
        let row = |number| {
            let mut row = Row::new(&format!("student{number}"), COURSE.len());
            row.here = number == 1;
            row.cells[0] = Cell { held: Some(true), runs: 3, ..Cell::default() };
            let (last, since) = (now() - 130, now() - STUCK * u64::from(number == 1));
            let running = number == 1;
            row.cells[1] = Cell { held: Some(false), runs: 1, running, last, since };
            row
        };
        let columns = COURSE.map(|exercise| exercise.name);
        let invitation = invitation("192.168.100.200:12379", "your-name", None);
        let screen = Screen::new(&columns, invitation);
        Screen { rows: (1..=students).map(row).collect(), look, ..screen }
    }

    const PLAIN: Look = Look { is_utf8: false, has_colors: false };

    #[test]
    fn a_board_fits_into_any_terminal() {
        let wide = "\
Type this line, with your own name:
export ETCDCTL_ENDPOINTS=192.168.100.200:12379 EXERCISE_NAME=your-name
2 students, 1 here (*), 1 stuck (!)
          last  counter    pages      reload     tidy       registry   heartbeat  fencing    leader     roster
*student1   2m! held 3     runs 2
 student2   2m  held 3     broken 1
 held           2          0          0          0          0          0          0          0          0";
        let board = screen(2, PLAIN).board(120, 30);
        let trimmed: Vec<_> = board.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n"), wide);
        assert!(screen(2, PLAIN).board(80, 30).contains("*student1   2m! +3     ~2 "));
        assert!(
            screen(300, PLAIN)
                .board(80, 24)
                .contains("300 students, 1 here (*), 1 stuck (!), page 1 of 16")
        );
        for (width, height) in (0..150).map(|size| (size, size / 3)) {
            let board = screen(30, PLAIN).board(width, height);
            let widest = board.lines().map(str::len).max().unwrap_or(0);
            assert!(widest <= width.max(41), "{width}\n{board}");
            assert!(board.lines().count() <= height.max(8), "{height}\n{board}");
        }
    }

    #[test]
    fn an_invitation_breaks_between_words() {
        let mut screen = screen(0, PLAIN);
        screen.invitation = invitation("192.168.100.200:12379", "your-name", Some("your-password"));
        screen.said = format!("{}end", "word ".repeat(30));
        let board = screen.board(80, 24);
        let lines: Vec<_> = board.lines().collect();
        let expected = [
            r"export ETCDCTL_ENDPOINTS=192.168.100.200:12379 EXERCISE_NAME=your-name \",
            "ETCDCTL_USER=your-name:your-password",
        ];
        assert_eq!(lines[1..3], expected.map(|line| line.replace(r"\\", r"\")));
        assert!(lines.iter().all(|line| line.len() <= 80), "{board}");
        assert!(board.ends_with("word end"), "{board}");
    }

    #[test]
    fn a_name_does_nothing_to_a_terminal() {
        let utf8 = Look { is_utf8: true, has_colors: false };
        for (name, shown) in [
            ("anna\u{1b}[2J\u{7}\n", "anna"),
            ("\u{1b}]0;title\u{7}ben", "ben"),
            ("a\u{202e}b\u{200b}c\u{9b}", "abc"),
            ("a-very-long-name-of-somebody", "a-very-long-name"),
            ("Zoë", "Zoë"),
            ("漢字漢字漢字漢字漢字", "漢字漢字漢字漢字"),
        ] {
            assert_eq!(cleaned(name, NAME_WIDTH, utf8), shown);
        }
        assert_eq!(cleaned("Zoë", NAME_WIDTH, PLAIN), "Zo?");
    }
}
