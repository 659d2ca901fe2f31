use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect, within};
use etcd_client::{DeleteOptions, GetOptions};
use exercise::{CLASS, COURSE};

use crate::board::{entry, rows};
use crate::endpoints;

/// Prints the last verdicts of all students as CSV, with the times in UTC.
pub async fn csv() -> Result<()> {
    endpoints()?;
    let below = GetOptions::new().with_prefix();
    let mut client = connect().await?;
    let found =
        within(REQUEST_TIMEOUT, client.get(CLASS, Some(below))).await.context("get failed")?;
    let columns = COURSE.map(|exercise| exercise.name);
    let mut out = stdout();
    writeln!(out, "student,exercise,verdict,runs,last,since")?;
    for row in rows(&found.kvs().iter().filter_map(entry).collect(), &columns) {
        let name: String = row.name.chars().filter(|char| !char.is_control()).collect();
        // A spreadsheet would run such a name as a formula.
        let text = if name.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        let name = format!("\"{text}{}\"", name.replace('"', "\"\""));
        for (exercise, cell) in columns.iter().zip(row.cells) {
            if let Some(held) = cell.held {
                let (verdict, runs) = (if held { "held" } else { "broken" }, cell.runs);
                let [last, since] = [cell.last, cell.since].map(utc);
                writeln!(out, "{name},{exercise},{verdict},{runs},{last},{since}")?;
            }
        }
    }
    Ok(())
}

/// Removes the rows of the student `name`, or only the row of one `clone`.
pub async fn remove(name: &str, clone: Option<&str>) -> Result<()> {
    endpoints()?;
    let row = clone.map_or(name.to_owned(), |clone| format!("{name}/{clone}"));
    let below = DeleteOptions::new().with_prefix();
    let mut client = connect().await?;
    let removed = within(REQUEST_TIMEOUT, client.delete(format!("{CLASS}{row}/"), Some(below)))
        .await
        .with_context(|| format!("cannot remove {row}"))?;
    ensure!(removed.deleted() > 0, "cannot remove {row}: no such row; see `cargo board`");
    writeln!(stdout(), "removed {row} from the board")?;
    Ok(())
}

/// Returns a time in seconds since 1970 as a date and time of day, or an empty text for 0.
fn utc(time: u64) -> String {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    // The number of days from 1970 to the beginning of a year.
    let days = |year: u64| 365 * (year - 1970) + leaps(year - 1) - leaps(1969);
    let Some(year) = (1970..=9999).rfind(|year| time > 0 && days(*year) <= time / 86400) else {
        return String::new();
    };
    let february = days(year + 1) - days(year) - 365 + 28;
    let (mut month, mut day) = (1, time / 86400 - days(year) + 1);
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day <= length {
            break;
        }
        (month, day) = (month + 1, day - length);
    }
    let (hour, minute, second) = (time / 3600 % 24, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
