use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use anyhow::Result;
use exercise::{is_set, is_utf8, now, wrap};
use terminal_size::{Height, Width, terminal_size};
use tokio::time::Instant;
use unicode_width::UnicodeWidthChar;

/// The shortest time between two pictures.
const PAUSE: Duration = Duration::from_millis(100);
/// How long each page is shown if the board has several.
const PAGE_TIME: Duration = Duration::from_secs(6);
/// The seconds of *broken* after which a student may be stuck.
const STUCK: u64 = 15 * 60;
/// The seconds without a verdict after which a student has left, and is no longer stuck.
const GONE: u64 = 60 * 60;
/// The columns for the time since the last verdict, such as ` 12m! `.
const AGO_WIDTH: usize = 6;
/// The columns of the longest name.
const NAME_WIDTH: usize = 16;

/// One row of a board.
#[derive(Clone)]
pub struct Row {
    /// Anything that somebody has typed. The screen sanitizes it.
    pub name: String,
    /// Whether the student started a run in the last minutes.
    pub here: bool,
    /// One cell for each column.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Returns a row with this many empty cells.
    pub fn new(name: &str, cells: usize) -> Row {
        Row { name: name.to_owned(), here: false, cells: vec![Cell::default(); cells] }
    }

    fn is_stuck(&self) -> bool {
        let last = self.cells.iter().max_by_key(|cell| cell.last);
        last.is_some_and(|last| {
            let is_here = now() < last.last + GONE;
            last.held == Some(false) && last.since > 0 && now() >= last.since + STUCK && is_here
        })
    }

    /// Returns the time since the last verdict, with a `!` if the student may be stuck.
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
    /// The number of verdicts.
    pub runs: i64,
    /// Whether the exercise runs now.
    pub running: bool,
    /// The time of the last verdict in seconds since 1970, or 0.
    pub last: u64,
    /// The time since which every verdict was the same.
    pub since: u64,
}

impl Cell {
    /// Returns the number of a color, and the text.
    fn display(self, is_short: bool) -> (u8, String) {
        let (color, symbol, word, runs) = match self {
            Cell { running: true, runs, .. } => (33, '~', "runs", runs + 1),
            Cell { held: Some(true), runs, .. } => (32, '+', "held", runs),
            Cell { held: Some(false), runs, .. } => (31, 'x', "broken", runs),
            Cell { held: None, .. } => return (0, String::new()),
        };
        (color, if is_short { format!("{symbol}{runs}") } else { format!("{word} {runs}") })
    }
}

/// Shows a board: on a terminal of any size, or else as a line for each change.
pub struct Screen {
    columns: Vec<&'static str>,
    /// The line that a student types.
    invitation: String,
    is_terminal: bool,
    look: Look,
    begin: Instant,
    drawn: Option<Instant>,
    /// What the terminal shows now.
    picture: String,
    rows: Vec<Row>,
    has_changed: bool,
    /// A text below the board.
    notice: String,
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
            notice: String::new(),
        }
    }

    /// Notes a change, and prints its `line` unless stdout is a terminal. Ends the notice.
    pub fn change(&mut self, line: &str) -> Result<()> {
        self.has_changed = true;
        self.notice.clear();
        self.print(line)
    }

    /// Shows a notice until the next change. An empty one ends the one before.
    pub fn notify(&mut self, notice: &str) -> Result<()> {
        if self.notice != notice {
            self.notice = notice.to_owned();
            self.print(notice)?;
        }
        self.paint()
    }

    fn print(&self, text: &str) -> Result<()> {
        if !self.is_terminal && !text.is_empty() {
            writeln!(stdout(), "{}", sanitized(text, usize::MAX, self.look))?;
        }
        Ok(())
    }

    /// Shows the board, at most ten times a second. Calls `rows` only after a change.
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

    /// Paints the board unless the terminal shows exactly this already.
    fn paint(&mut self) -> Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        // `docker exec -t` makes a terminal without a size.
        let (Width(width), Height(height)) = terminal_size().unwrap_or((Width(80), Height(24)));
        let picture = self.board(width.into(), height.into());
        if picture != self.picture {
            // Start in the upper left corner, and clear the rest of each line and the lines below.
            let lines = picture.replace('\n', "\x1b[K\r\n");
            write!(stdout(), "\x1b[H{lines}\x1b[J")?;
            stdout().flush()?;
            self.picture = picture;
        }
        Ok(())
    }

    /// Returns the board for a terminal of this size: the invitation, a title, the heads of the
    /// columns, a page of the rows, the sums and the notice.
    fn board(&self, width: usize, height: usize) -> String {
        let cut = |text: &str| sanitized(text, width, self.look);
        let name = |row: &Row| sanitized(&row.name, NAME_WIDTH, self.look);
        let names = self.rows.iter().map(|row| columns(&name(row))).max().unwrap_or(0);
        let names = names.max("held".len()) + 2;
        let left = names + AGO_WIDTH;
        let cells = (width.saturating_sub(left) / self.columns.len().max(1)).clamp(4, 12);
        let is_short = cells < "broken 99 ".len();

        // In a shell, a backslash at the end of a line continues the line.
        let invitation = sanitized(&self.invitation, usize::MAX, self.look);
        let invitation = wrap(&invitation, width.saturating_sub(" \\".len()));
        let notice = wrap(&sanitized(&self.notice, usize::MAX, self.look), width);
        let others = invitation.lines().count() + notice.lines().count() + 4;
        let rows = height.saturating_sub(others).max(1);
        let pages = self.rows.len().div_ceil(rows).max(1);
        let page = (self.begin.elapsed().as_secs() / PAGE_TIME.as_secs()) as usize % pages;

        let count = |is: fn(&Row) -> bool| self.rows.iter().filter(|row| is(row)).count();
        let students = if self.rows.len() == 1 { "student" } else { "students" };
        let (here, stuck) = (count(|row| row.here), count(Row::is_stuck));
        let mut title =
            format!("{} {students}, {here} here (*), {stuck} stuck (!)", self.rows.len());
        if pages > 1 {
            title += &format!(", page {} of {pages}", page + 1);
        }
        if is_short {
            title += "   + held  x broken  ~ runs";
        }
        let heads = self.columns.iter().map(|head| format!("{:<cells$.1$}", head, cells - 1));
        let heads = format!("{:names$}last  {}", "", heads.collect::<String>());
        let mut board = [
            cut("Type this line, with your own name:"),
            invitation.replace('\n', " \\\n"),
            cut(&title),
            cut(&heads),
        ]
        .join("\n");

        for row in self.rows.iter().skip(page * rows).take(rows) {
            let name = name(row);
            let gap = " ".repeat(names - 1 - columns(&name));
            let here = if row.here { '*' } else { ' ' };
            board += &format!("\n{here}{name}{gap}{}", row.ago());
            for cell in row.cells.iter().take(width.saturating_sub(left) / cells) {
                let (color, text) = cell.display(is_short);
                let text = format!("{text:<0$.1$}", cells, cells - 1);
                board += &match self.look.has_colors {
                    true => format!("\x1b[{color}m{text}\x1b[0m"),
                    false => text,
                };
            }
        }
        let sum = |column: usize| {
            let held = self.rows.iter().filter(|row| row.cells[column].held == Some(true));
            format!("{:<cells$}", held.count())
        };
        let sums: String = (0..self.columns.len()).map(sum).collect();
        board += &format!("\n{}", cut(&format!("{:<left$}{sums}", " held")));
        for line in notice.lines() {
            board += &format!("\n{line}");
        }
        board
    }
}

/// Returns `text`, cut to at most `width` columns, without anything that could disturb a terminal:
/// escape sequences, control characters, and characters of no width, such as those that change the
/// direction.
fn sanitized(text: &str, width: usize, look: Look) -> String {
    let (mut sanitized, mut columns) = (String::new(), 0);
    for char in strip_ansi_escapes::strip_str(text).chars() {
        let char = if look.is_utf8 || char.is_ascii() { char } else { '?' };
        let more = char.width().unwrap_or(0);
        if columns + more > width {
            break;
        }
        if more > 0 {
            columns += more;
            sanitized.push(char);
        }
    }
    sanitized
}

/// Returns how many columns a sanitized text takes.
fn columns(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

#[cfg(test)]
mod tests {
    use exercise::{COURSE, YOUR_NAME};

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
        let invitation = invitation("192.168.100.200:12379", YOUR_NAME, None);
        let screen = Screen::new(&columns, invitation);
        Screen { rows: (1..=students).map(row).collect(), look, ..screen }
    }

    const PLAIN: Look = Look { is_utf8: false, has_colors: false };

    #[test]
    fn a_board_fits_any_terminal() {
        let wide = "\
Type this line, with your own name:
export ETCDCTL_ENDPOINTS=192.168.100.200:12379 EXERCISE_NAME='your-name'
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
    fn the_invitation_breaks_between_words() {
        let mut screen = screen(0, PLAIN);
        screen.invitation = invitation("192.168.100.200:12379", YOUR_NAME, Some("your-password"));
        screen.notice = format!("{}end", "word ".repeat(30));
        let board = screen.board(80, 24);
        let lines: Vec<_> = board.lines().collect();
        let expected = [
            r"export ETCDCTL_ENDPOINTS=192.168.100.200:12379 EXERCISE_NAME='your-name' \",
            "ETCDCTL_USER=your-name:your-password",
        ];
        assert_eq!(lines[1..3], expected.map(|line| line.replace(r"\\", r"\")));
        assert!(lines.iter().all(|line| line.len() <= 80), "{board}");
        assert!(board.ends_with("word end"), "{board}");
    }

    #[test]
    fn names_cannot_inject_escape_sequences() {
        let utf8 = Look { is_utf8: true, has_colors: false };
        for (name, shown) in [
            ("anna\u{1b}[2J\u{7}\n", "anna"),
            ("\u{1b}]0;title\u{7}ben", "ben"),
            ("a\u{202e}b\u{200b}c\u{9b}", "abc"),
            ("a-very-long-name-of-somebody", "a-very-long-name"),
            ("Zoë", "Zoë"),
            ("漢字漢字漢字漢字漢字", "漢字漢字漢字漢字"),
        ] {
            assert_eq!(sanitized(name, NAME_WIDTH, utf8), shown);
        }
        assert_eq!(sanitized("Zoë", NAME_WIDTH, PLAIN), "Zo?");
    }
}
