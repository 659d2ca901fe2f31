use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, connect, within};
use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use exercise::{CLASS, COURSE, Exercise, HERE, RUNNING, is_set};
use tokio::time::{sleep, timeout};

use crate::screen::{Cell, Row, Screen};
use crate::{endpoints, invitation};

/// How long nothing may happen until the board looks at the size of the terminal.
const PAUSE: Duration = Duration::from_millis(100);

/// What etcd has below `class/`: the value of each key, and its version.
type Keys = BTreeMap<String, (String, i64)>;

/// Shows the board until Ctrl-C, of all exercises or `only` one, with a text about it at first.
pub async fn show(about: &str, only: Option<Exercise>) -> Result<()> {
    let columns: Vec<&'static str> = match only {
        Some(exercise) => vec![exercise.name],
        None => COURSE.map(|exercise| exercise.name).to_vec(),
    };
    let password = is_set("ETCDCTL_USER").then_some("your-password");
    let invitation = invitation(&endpoints()?, "your-name", password);
    let mut client = connect().await?;
    let mut screen = Screen::new(&columns, invitation);
    screen.say(about)?;
    let mut keys = Keys::new();
    loop {
        // Whatever has ended the watch, even a compaction: a new list needs no history.
        let Err(mut error) = follow(&mut client, &mut keys, &mut screen, &columns).await;
        client = loop {
            screen.say(&format!("{error:#}"))?;
            sleep(PAUSE).await;
            // Logs in again, too: a token of etcd lives for minutes only.
            match connect().await {
                Ok(client) => {
                    screen.say("")?;
                    break client;
                }
                Err(cause) => error = cause,
            }
        };
    }
}

/// Lists the keys and shows each change of them, until something fails.
async fn follow(
    client: &mut Client,
    keys: &mut Keys,
    screen: &mut Screen,
    columns: &[&str],
) -> Result<Infallible> {
    let below = GetOptions::new().with_prefix();
    let found =
        within(REQUEST_TIMEOUT, client.get(CLASS, Some(below))).await.context("get failed")?;
    // What has changed since the list before, if there was one.
    let listed: Keys = found.kvs().iter().filter_map(entry).collect();
    for (key, _) in keys.iter().filter(|(key, _)| !listed.contains_key(*key)) {
        screen.line(&described(key, None))?;
    }
    for (key, now) in listed.iter().filter(|(key, now)| keys.get(*key) != Some(now)) {
        screen.line(&described(key, Some(now)))?;
    }
    *keys = listed;

    // The first revision that the list has not seen: so no change is missed, and none comes twice.
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
        ensure!(!response.canceled(), "watch cancelled: {}", response.cancel_reason());
        for event in response.events() {
            let Some((key, now)) = event.kv().and_then(entry) else {
                continue; // no text, so nothing of ours
            };
            if event.event_type() == EventType::Delete {
                screen.line(&described(&key, None))?;
                keys.remove(&key);
            } else {
                screen.line(&described(&key, Some(&now)))?;
                keys.insert(key, now);
            }
        }
    }
}

pub fn entry(kv: &KeyValue) -> Option<(String, (String, i64))> {
    let (key, value) = (kv.key_str().ok()?, kv.value_str().ok()?);
    (key != CLASS).then_some((key.to_owned(), (value.to_owned(), kv.version())))
}

/// Returns a key of the class and what it is now as a line of text.
fn described(key: &str, now: Option<&(String, i64)>) -> String {
    let key = key.strip_prefix(CLASS).unwrap_or(key);
    match now {
        // Without the times of a verdict.
        Some((value, version)) => {
            format!("{key}: {} {version}", value.split(' ').next().unwrap_or_default())
        }
        None => format!("{key}: gone"),
    }
}

/// Returns the board: a row for each student, with a cell for each of these exercises.
pub fn rows(keys: &Keys, columns: &[&str]) -> Vec<Row> {
    // Two may have the same name, but not the same clone.
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
            // Each verdict is a put of the same key. So etcd counts the runs: that is the version.
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
