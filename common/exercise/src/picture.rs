use std::cell::RefCell;
use std::env;
use std::fmt::{self, Display, Formatter};
use std::io::{IsTerminal, stdout};
use std::rc::Rc;
use std::time::Duration;

use terminal_size::{Width, terminal_size};
use tokio::time::Instant;

/// The width of a picture in columns, if the width of the terminal is not known.
const WIDTH: usize = 80;

/// One symbol of a picture: on a terminal, in plain ASCII, and its meaning in the legend.
#[derive(Clone, Copy, PartialEq)]
pub struct Symbol(pub char, pub char, pub &'static str);

/// From now on, the row is empty.
pub const NOTHING: Symbol = Symbol(' ', ' ', "");

/// A picture of what happened when, with a row for each participant. Clones share one picture.
/// [`Display`] draws it up to now. It is in plain ASCII if stdout is not a terminal, if `NO_COLOR`
/// is set, or if the locale is not UTF-8. With `CLICOLOR_FORCE`, stdout counts as a terminal.
///
/// ```
/// use exercise::{NOTHING, Symbol, Timeline};
///
/// const HAS: Symbol = Symbol('█', '#', "has the lock");
/// const DEAD: Symbol = Symbol('†', 'x', "dies");
///
/// let timeline = Timeline::default();
/// timeline.note("first", HAS);
/// timeline.mark("first", DEAD);
/// timeline.note("first", NOTHING);
/// timeline.note("second", HAS);
/// print!("{timeline}");
/// ```
#[derive(Clone, Default)]
pub struct Timeline(Rc<RefCell<Rows>>);

#[derive(Default)]
struct Rows {
    /// The time of the first note.
    start: Option<Instant>,
    /// The names of the rows, in the order of their first notes, with their notes.
    rows: Vec<(String, Vec<Note>)>,
}

struct Note {
    at: Duration,
    symbol: Symbol,
    /// Whether it is for one column only.
    once: bool,
}

impl Timeline {
    /// Shows this symbol in the row from now on.
    pub fn note(&self, row: &str, symbol: Symbol) {
        self.add(row, symbol, false);
    }

    /// Shows this symbol in the row at this moment. Then the row goes on as before.
    pub fn mark(&self, row: &str, symbol: Symbol) {
        self.add(row, symbol, true);
    }

    fn add(&self, row: &str, symbol: Symbol, once: bool) {
        let Rows { start, rows } = &mut *self.0.borrow_mut();
        let at = start.get_or_insert_with(Instant::now).elapsed();
        let known = rows.iter().position(|(name, _)| name == row);
        let index = known.unwrap_or_else(|| {
            rows.push((row.to_owned(), Vec::new()));
            rows.len() - 1
        });
        let notes = &mut rows[index].1;
        let now = notes.iter().rfind(|note| !note.once).map_or(NOTHING, |note| note.symbol);
        if once || symbol != now {
            notes.push(Note { at, symbol, once });
        }
    }
}

impl Display for Timeline {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let rows = self.0.borrow();
        let Some(start) = rows.start else {
            return Ok(());
        };
        let width = terminal_size().map_or(WIDTH, |(Width(width), _)| width.into());
        f.write_str(&rows.draw(start.elapsed(), is_plain(), width))
    }
}

impl Rows {
    fn draw(&self, end: Duration, is_plain: bool, width: usize) -> String {
        let names = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 2;
        let scale = Scale::of(end, width.saturating_sub(names + "9 s".len()));
        let mut picture = String::new();
        let mut used = Vec::new();
        for (name, notes) in &self.rows {
            let symbols = row(notes, &scale, end);
            let shown = |symbol: &Symbol| if is_plain { symbol.1 } else { symbol.0 };
            let line: String = symbols.iter().map(shown).collect();
            picture += format!("{name:<names$}{line}").trim_end();
            picture += "\n";
            used.extend(symbols);
        }
        picture += &format!("{:names$}{} s\n", "", scale.labels(end));
        let mut known = Vec::new();
        let mut column = 0;
        for symbol in used {
            if known.contains(&symbol) || symbol == NOTHING {
                continue;
            }
            let entry = format!("{} {}", if is_plain { symbol.1 } else { symbol.0 }, symbol.2);
            let length = entry.chars().count();
            let gap = match column {
                0 => "",
                _ if column + 2 + length > width => "\n",
                _ => "  ",
            };
            column = if gap == "  " { column + 2 } else { 0 } + length;
            picture += gap;
            picture += &entry;
            known.push(symbol);
        }
        picture + "\n"
    }
}

/// Returns the symbol of each column.
fn row(notes: &[Note], scale: &Scale, end: Duration) -> Vec<Symbol> {
    let (mut symbols, mut now) = (Vec::new(), NOTHING);
    for note in notes {
        // A state that lasted for less than a column still gets a column.
        symbols.resize(scale.column(note.at).max(symbols.len()), now);
        symbols.push(note.symbol);
        if !note.once {
            now = note.symbol;
        }
    }
    symbols.resize((scale.column(end) + 1).max(symbols.len()), now);
    symbols
}

/// The time that a column stands for.
#[derive(Clone, Copy)]
struct Scale(Duration);

impl Scale {
    /// Returns the finest scale at which `end` fits into `width` columns.
    fn of(end: Duration, width: usize) -> Scale {
        let steps =
            [100, 200, 250, 500, 1000, 2000, 5000, 10_000].map(Duration::from_millis).map(Scale);
        let [.., longest] = steps;
        steps.into_iter().find(|scale| scale.column(end) < width).unwrap_or(longest)
    }

    fn column(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.0.as_nanos()).unwrap_or(usize::MAX)
    }

    /// Returns the line that shows the seconds.
    fn labels(&self, end: Duration) -> String {
        let column = |second| self.column(Duration::from_secs(second));
        // A number, and a space before the next one.
        let room = end.as_secs().to_string().len() + 1;
        let step = [1, 2, 5, 10, 20, 50].into_iter().find(|step| column(*step) >= room);
        let mut labels = String::new();
        for second in (0..=end.as_secs()).step_by(step.unwrap_or(100) as usize) {
            labels = format!("{labels:<width$}{second}", width = column(second));
        }
        labels
    }
}

/// A picture of an order, with a row for each participant and a column for each step.
///
/// ```
/// let mut steps = exercise::Steps::default();
/// steps.add("client 1", "get 0");
/// steps.add("client 2", "get 0");
/// steps.add("client 1", "put 1");
/// let picture = "\
/// client 1  get 0         put 1
/// client 2         get 0
/// ";
/// assert_eq!(steps.to_string(), picture);
/// ```
#[derive(Clone, Default)]
pub struct Steps(Vec<(String, String)>);

impl Steps {
    /// Adds the next step: who does what.
    pub fn add(&mut self, who: impl Into<String>, what: impl Into<String>) {
        self.0.push((who.into(), what.into()));
    }
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let mut rows: Vec<(&str, String)> = Vec::new();
        for (who, _) in &self.0 {
            if rows.iter().all(|(name, _)| name != who) {
                rows.push((who, String::new()));
            }
        }
        let mut column = 0;
        for (who, what) in &self.0 {
            for (_, row) in rows.iter_mut().filter(|(name, _)| name == who) {
                *row = format!("{row:<column$}{what}");
            }
            column += what.chars().count() + 2;
        }
        let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 2;
        rows.iter().try_for_each(|(name, row)| writeln!(f, "{name:<names$}{row}"))
    }
}

/// Whether pictures must be in plain ASCII.
pub fn is_plain() -> bool {
    let is_terminal = stdout().is_terminal() || is_set("CLICOLOR_FORCE");
    !is_terminal || !is_utf8() || is_set("NO_COLOR")
}

/// Whether the locale is UTF-8.
pub fn is_utf8() -> bool {
    // The first of these that is set decides.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let locale = locale.and_then(|name| env::var(name).ok()).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether a variable is set and not empty.
pub fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADS: Symbol = Symbol('█', '#', "says that it leads");
    const NOT: Symbol = Symbol('─', '-', "does not");
    const DEAD: Symbol = Symbol('†', 'x', "dies");

    fn rows() -> Rows {
        let note = |at, symbol| Note { at: Duration::from_millis(at), symbol, once: false };
        let mark = |at, symbol| Note { at: Duration::from_millis(at), symbol, once: true };
        let first = vec![note(0, LEADS), mark(1000, DEAD), note(1000, NOTHING)];
        // 10 ms are less than a column.
        let second = vec![note(20, NOT), note(2500, LEADS), note(2510, NOT)];
        Rows { start: None, rows: vec![("first".to_owned(), first), ("second".to_owned(), second)] }
    }

    #[test]
    fn a_picture_is_as_wide_as_the_terminal_at_most() {
        let end = Duration::from_millis(3300);
        let wide = "\
first   ██████████†
second  ─────────────────────────█────────
        0         1         2         3 s
█ says that it leads  † dies  ─ does not
";
        assert_eq!(rows().draw(end, false, 80), wide);
        let narrow = "\
first   ##x
second  -----#-
        0 1 2 3 s
# says that it leads
x dies  - does not
";
        assert_eq!(rows().draw(end, true, 22), narrow);
        for width in 0..100 {
            let picture = rows().draw(Duration::from_secs(70), true, width);
            let longest = picture.lines().map(str::len).max();
            assert!(longest <= Some(width.max(31)), "{width}: {longest:?}\n{picture}");
        }
    }
}
