use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, connect, within};
use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use exercise::{CLASS, COURSE, Exercise, HERE, RUNNING, YOUR_NAME, is_set};
use tokio::time::{sleep, timeout};

use crate::screen::{Cell, Row, Screen};
use crate::{endpoints, invitation};

/// How often the board looks at the size of the terminal while nothing changes.
const PAUSE: Duration = Duration::from_millis(100);

/// The keys below `class/`, each with its value and version.
type Keys = BTreeMap<String, (String, i64)>;

/// Shows the board of all exercises, or of `only` one, until Ctrl-C. Begins with the text `notice`
/// below it.
pub async fn show(notice: &str, only: Option<Exercise>) -> Result<()> {
    let columns: Vec<&'static str> = match only {
        Some(exercise) => vec![exercise.name],
        None => COURSE.map(|exercise| exercise.name).to_vec(),
    };
    let password = is_set("ETCDCTL_USER").then_some("your-password");
    let invitation = invitation(&endpoints()?, YOUR_NAME, password);
    let mut client = connect().await?;
    let mut screen = Screen::new(&columns, invitation);
    screen.notify(notice)?;
    let mut keys = Keys::new();
    loop {
        // Whatever ended the watch, even a compaction: a new list needs no history.
        let Err(mut error) = follow(&mut client, &mut keys, &mut screen, &columns).await;
        client = loop {
            screen.notify(&format!("{error:#}"))?;
            sleep(PAUSE).await;
            // A new connection logs in again. An old token may have expired by now.
            match connect().await {
                Ok(client) => {
                    screen.notify("")?;
                    break client;
                }
                Err(cause) => error = cause,
            }
        };
    }
}

/// Lists the keys, then shows every change of them until something fails.
async fn follow(
    client: &mut Client,
    keys: &mut Keys,
    screen: &mut Screen,
    columns: &[&str],
) -> Result<Infallible> {
    let below = GetOptions::new().with_prefix();
    let found =
        within(REQUEST_TIMEOUT, client.get(CLASS, Some(below))).await.context("get failed")?;
    // Show what changed since the previous list, if there was one.
    let listed: Keys = found.kvs().iter().filter_map(entry).collect();
    for (key, _) in keys.iter().filter(|(key, _)| !listed.contains_key(*key)) {
        screen.change(&described(key, None))?;
    }
    for (key, now) in listed.iter().filter(|(key, now)| keys.get(*key) != Some(now)) {
        screen.change(&described(key, Some(now)))?;
    }
    *keys = listed;

    // The first revision that the list has not seen, so that no change is missed or comes twice.
    let next = found.header().context("no header")?.revision() + 1;
    let from = WatchOptions::new().with_prefix().with_start_revision(next).with_fragment();
    let mut stream =
        within(REQUEST_TIMEOUT, client.watch(CLASS, Some(from))).await.context("watch failed")?;
    loop {
        screen.draw(|| rows(keys, columns))?;
        let Ok(message) = timeout(PAUSE, within(NO_LIMIT, stream.message())).await else {
            continue;
        };
        let response = message?.context("the watch has ended")?;
        ensure!(!response.canceled(), "watch canceled: {}", response.cancel_reason());
        for event in response.events() {
            let Some((key, now)) = event.kv().and_then(entry) else {
                continue; // not UTF-8, so none of our keys
            };
            if event.event_type() == EventType::Delete {
                screen.change(&described(&key, None))?;
                keys.remove(&key);
            } else {
                screen.change(&described(&key, Some(&now)))?;
                keys.insert(key, now);
            }
        }
    }
}

/// Returns an entry of [`Keys`], unless this is another program's key or the one that marks a
/// class.
pub fn entry(kv: &KeyValue) -> Option<(String, (String, i64))> {
    let (key, value) = (kv.key_str().ok()?, kv.value_str().ok()?);
    (key != CLASS).then_some((key.to_owned(), (value.to_owned(), kv.version())))
}

/// Returns the line for a change of `key`, which has a value `now` or was deleted.
fn described(key: &str, now: Option<&(String, i64)>) -> String {
    let key = key.strip_prefix(CLASS).unwrap_or(key);
    match now {
        // The value of a verdict also has times.
        Some((value, version)) => {
            format!("{key}: {} {version}", value.split(' ').next().unwrap_or_default())
        }
        None => format!("{key}: gone"),
    }
}

/// Returns the board: a row for each student, with a cell for each exercise in `columns`.
pub fn rows(keys: &Keys, columns: &[&str]) -> Vec<Row> {
    // Two students may have the same name, but not the same clone.
    let mut students: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for (key, (value, version)) in keys {
        let path: Vec<&str> = key.split('/').skip(1).collect();
        let [name, clone, what, rest @ ..] = &path[..] else {
            continue;
        };
        let place = columns.iter().position(|exercise| exercise == what);
        let row = students.entry((name, clone)).or_insert_with(|| Row::new(name, columns.len()));
        match (place, rest) {
            (None, []) if *what == HERE => row.here = true,
            (Some(place), &[RUNNING]) => row.cells[place].running = true,
            // Each verdict is a put of the same key, so the key's version counts the verdicts.
            (Some(place), []) => {
                let mut words = value.split(' ');
                let held = words.next().map(|word| word == "held");
                let mut time = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                let cell = &mut row.cells[place];
                *cell = Cell { held, runs: *version, last: time(), since: time(), ..*cell };
            }
            _ => {}
        }
    }
    let names: Vec<&str> = students.keys().map(|(name, _)| *name).collect();
    for ((name, clone), row) in &mut students {
        if names.iter().filter(|other| *other == name).count() > 1 {
            row.name = format!("{name} {clone}");
        }
    }
    students.into_values().collect()
}
