//! The experiment of the exercise `roster`: students come and go while the board does not look.
//!
//! Fix `yours.rs`, not this file.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, FAULTS_AT_RETURN, SHOW_LIMIT, Scene, Stages, Steps, Verdict, Watcher,
    blocking, broken, held, say, too_slow,
};

type Board = BTreeMap<String, String>;

/// The function that the experiment tries.
pub type Show = for<'a> fn(&'a mut Client, &'a str, Draw) -> BoxFuture<'a, ()>;
pub type Draw = Box<dyn FnMut(&BTreeMap<String, String>)>;

const CLASS: &str = "class/";
/// A key that isn't below `CLASS`, but begins with the same letters. It changes often, so that the
/// revision of the store isn't the revision of a student's key by chance.
const OTHER_KEY: &str = "class-2025/zoe";

/// A student who stays all the time.
const PRESENT: &str = "anna";
/// A student whose number grows with each change.
const WORKING: &str = "ben";
/// Students of whom only one is there at a time. With each change, the next one comes, and then the
/// one before goes.
const VISITORS: [&str; 12] =
    ["carla", "david", "emma", "finn", "gina", "henry", "ida", "jan", "kim", "lena", "max", "nora"];

pub async fn run(scene: Scene, show: Show) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let etcd = Etcd::of(&server).await?;
    // With 3, ben gets his first number of two digits while nothing else happens: as text, "12"
    // comes before "9".
    let mut class = Class { etcd, board: Board::new(), number: 3, visitor: 0 };
    for name in [PRESENT, WORKING, VISITORS[0]] {
        class.put(name).await?;
    }
    class.etcd.put(OTHER_KEY, "0").await?;
    let mut stages = Stages::of(8);

    let mut screen = Watcher::start(server, |mut client, _, drawn| {
        let draw = Box::new(move |board: &Board| drawn(board.clone()));
        async move { show(&mut client, CLASS, draw).await }
    })
    .await?;

    let response = screen.network.response(1).await;
    ensure!(response.is_some(), "show sent no request to etcd, so there is nothing to judge");
    let change = class.change().await?;
    say!("{change} while etcd's first response is on its way")?;
    drop(response);
    screen.network.open();
    let gap = "what happens between your list and the beginning of your watch";
    if let Err(verdict) = class.check(&mut screen, gap).await {
        let mut steps = Steps::default();
        for (index, request) in screen.sent.first(2).iter().enumerate() {
            let is_get = request == "Range";
            steps.add("board", if is_get { "gets the list" } else { "begins to watch" });
            if index == 0 {
                steps.add("class", &*change);
            }
        }
        scene.show(steps);
        // The hint about the gap fits only an answer that sees later changes.
        class.change().await?;
        let newcomer = format!("{CLASS}{}", VISITORS[class.visitor]);
        if !screen.shows(|board| board.contains_key(&newcomer)).await {
            let look = "which keys your watch is about, and what your code does with an event";
            class.check(&mut screen, look).await?;
        }
        return Err(verdict);
    }
    stages.pass()?;

    let change = class.change().await?;
    say!("{change} while nothing else happens")?;
    class.check(&mut screen, "what your code does with an event").await?;
    screen.sent.check_silent(&screen.link).await?;
    stages.pass()?;

    screen = screen.restart(&mut class.etcd).await?;
    let change = class.change().await?;
    say!("the server restarts, {change}, and your next request is lost")?;
    screen.network.lose(1).await?;
    let look = "what your code does when its stream or a request has ended";
    class.check(&mut screen, look).await?;
    stages.pass()?;

    for fault in FAULTS_AT_RETURN {
        screen.disconnect();
        let change = class.change_and_compact().await?;
        say!("the connection is lost, {change}, and the history is compacted")?;
        let again =
            async || class.change_and_compact().await.map(|_| "the same happens again".to_owned());
        screen.come_back(fault, again).await?;
        class.check(&mut screen, "what etcd tells you on a stream, apart from events").await?;
        stages.pass()?;
    }
    // After a compaction, an answer may never find a revision to watch from, and ask in a loop.
    screen.sent.check_quiet().await?;

    class.etcd.delete_all(CLASS).await?;
    class.board.clear();
    say!("the class is over: all its keys are deleted in one request")?;
    class.check(&mut screen, "what your code does with an event").await?;
    stages.pass()?;
    held("the board was always what etcd had")
}

/// The class in etcd.
struct Class {
    etcd: Etcd,
    /// The board as it should be.
    board: Board,
    /// The last number that was put. Each put uses the next one, for whichever student.
    number: usize,
    /// The index of the visitor who is there.
    visitor: usize,
}

impl Class {
    /// Lets the next visitor come, one student work, and the visitor before go. Returns that in
    /// words.
    async fn change(&mut self) -> Result<String> {
        let goes = VISITORS[self.visitor];
        self.visitor += 1;
        let comes = VISITORS[self.visitor];
        self.etcd.put(OTHER_KEY, "0").await?;
        for name in [comes, WORKING, WORKING] {
            self.put(name).await?;
        }
        let key = format!("{CLASS}{goes}");
        self.etcd.delete(&key).await?;
        self.board.remove(&key);
        self.etcd.put(OTHER_KEY, "0").await?;
        Ok(format!("{comes} comes and {goes} goes"))
    }

    /// Changes the class and compacts the history, which then begins with a change of `OTHER_KEY`.
    /// So a watch from the revision after the last change of the class comes too late.
    async fn change_and_compact(&mut self) -> Result<String> {
        let change = self.change().await?;
        self.etcd.compact().await?;
        Ok(change)
    }

    async fn put(&mut self, name: &str) -> Result<()> {
        self.number += 1;
        let (key, number) = (format!("{CLASS}{name}"), self.number.to_string());
        self.etcd.put(&key, &number).await?;
        self.board.insert(key, number);
        Ok(())
    }

    /// Checks that the board soon shows what is in etcd, and that no board until then was wrong.
    async fn check(&self, screen: &mut Watcher<Board>, look: &'static str) -> Result<()> {
        screen.shows(|board| *board == self.board).await; // Differences are found below.
        let boards = screen.shown().await;
        check_order(&boards, self.board.is_empty())?;
        screen.check_running().await?;

        let Some(last) = boards.last() else {
            return too_slow(
                format!("nothing was drawn within {SHOW_LIMIT:?}"),
                "what your code draws",
            );
        };
        let missed = format!("a change was missed: {SHOW_LIMIT:?} later");
        if let Some(key) = self.board.keys().find(|key| !last.contains_key(*key)) {
            return too_slow(format!("{missed} {} is not on the board", name(key)), look);
        }
        if let Some((key, number)) = self.board.iter().find(|(key, now)| last[*key] != **now) {
            return too_slow(
                format!("{missed} {} has {number}, but the board says {}", name(key), last[key]),
                "how many events a response can have, and what your code does with each",
            );
        }
        if let Some(key) = last.keys().find(|key| !self.board.contains_key(*key)) {
            return too_slow(
                format!("{} has gone, but is still on the board {SHOW_LIMIT:?} later", name(key)),
                "what takes a student off your board, and the revision from which you watch",
            );
        }
        Ok(())
    }
}

/// Checks that no board shows less, or something older, than the boards before it.
fn check_order(boards: &[Board], is_over: bool) -> Result<()> {
    let (mut newest, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let mut before = &Board::new();
    for board in boards {
        if !board.contains_key(&format!("{CLASS}{PRESENT}")) && !is_over {
            return broken(
                format!("for a moment {PRESENT} was not on the board, although she was there"),
                "what your code draws while it has no complete list",
            );
        }
        gone.extend(before.keys().filter(|key| !board.contains_key(*key)));
        for (key, number) in board {
            if !key.starts_with(CLASS) {
                let what = format!("{key} is on the board, but is not below {CLASS}");
                return broken(what, "which keys your requests ask for");
            }
            let Ok(number) = number.parse::<usize>() else {
                let what =
                    format!("{} has {number:?} on the board, but nobody put that", name(key));
                return broken(what, "what kinds of events there are, and what your list asks for");
            };
            let look = "in which order your code learns of the changes";
            if gone.contains(key) {
                return broken(format!("{} had gone, but came back", name(key)), look);
            }
            let newest = newest.entry(key).or_insert(number);
            if number < *newest {
                let what = format!("{} had {newest} on the board, and then {number}", name(key));
                return broken(what, look);
            }
            *newest = number;
        }
        before = board;
    }
    Ok(())
}

fn name(key: &str) -> &str {
    key.strip_prefix(CLASS).unwrap_or(key)
}
