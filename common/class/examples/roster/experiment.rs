//! The experiment of the exercise `roster`: students come and go while the board does not look.
//! Other keys change too, so that no two revisions are the same by chance.
//!
//! Repair `yours.rs`, not this file.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, FAULTS_AT_RETURN, SHOW_LIMIT, Scene, Stages, Steps, Verdict, Watcher,
    blocking, broken, held, say,
};

type Board = BTreeMap<String, String>;

/// The function that is tried.
pub type Show = for<'a> fn(&'a mut Client, &'a str, Draw) -> BoxFuture<'a, ()>;
pub type Draw = Box<dyn FnMut(&BTreeMap<String, String>)>;

const CLASS: &str = "class/";
/// Below a name that begins in the same way.
const OTHER: &str = "class-2025/zoe";

/// She stays all the time.
const STAYS: &str = "anna";
/// His number grows with each change.
const WORKS: &str = "ben";
/// With each change, the next one comes and the one before goes.
const COME_AND_GO: [&str; 12] =
    ["carla", "david", "emma", "finn", "gina", "henry", "ida", "jan", "kim", "lena", "max", "nora"];

pub async fn run(scene: Scene, show: Show) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let etcd = Etcd::of(&server).await?;
    // With 3 the first number of two digits comes while nothing else happens. As text, 12 comes
    // before 9.
    let mut class = Class { etcd, board: Board::new(), number: 3, came: 0 };
    for name in [STAYS, WORKS, COME_AND_GO[0]] {
        class.put(name).await?;
    }
    class.etcd.put(OTHER, "0").await?;
    let mut stages = Stages::of(8);

    let mut screen = Watcher::start(server, |mut client, _, drawn| {
        let draw = Box::new(move |board: &Board| drawn(board.clone()));
        async move { show(&mut client, CLASS, draw).await }
    })
    .await?;

    // The response is on its way while the class changes.
    let response = screen.network.response(1).await;
    ensure!(response.is_some(), "show has asked etcd for nothing, so nothing was tried");
    let change = class.change().await?;
    say!("{change}, when etcd has responded to the first request")?;
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
        // Or does it miss every change?
        class.change().await?;
        let newcomer = format!("{CLASS}{}", COME_AND_GO[class.came]);
        if !screen.shows(|board| board.contains_key(&newcomer)).await {
            let look = "which keys your watch is about, and what it does with an event";
            class.check(&mut screen, look).await?;
        }
        return Err(verdict);
    }
    stages.pass()?;

    let change = class.change().await?;
    say!("{change}, while nothing else happens")?;
    class.check(&mut screen, "what your code does with an event").await?;
    screen.sent.check_silent(&screen.link).await?;
    stages.pass()?;

    screen = screen.restart(&mut class.etcd).await?;
    let change = class.change().await?;
    say!("the server is restarted; {change} before you are back, and your next request is lost")?;
    screen.network.lose(1).await?;
    let look = "what your code does when its stream or a request has ended";
    class.check(&mut screen, look).await?;
    stages.pass()?;

    // The history is compacted as well, and after another change once more.
    for fault in FAULTS_AT_RETURN {
        screen.disconnect();
        let change = class.change_and_compact().await?;
        say!("the connection is lost, {change}, and the history is compacted")?;
        let again =
            async || Ok(format!("{}, and it is compacted,", class.change_and_compact().await?));
        screen.come_back(fault, again).await?;
        class.check(&mut screen, "what etcd tells you on a stream, apart from events").await?;
        stages.pass()?;
    }
    // If it has not found a revision to watch from, it asks again and again.
    screen.sent.check_quiet().await?;

    class.etcd.delete_all(CLASS).await?;
    class.board.clear();
    say!("the class is over: all its keys are deleted in one request")?;
    class.check(&mut screen, "what your code does with an event").await?;
    stages.pass()?;
    held("the board was always what etcd had")
}

/// The class in etcd, and the board as it should be.
struct Class {
    etcd: Etcd,
    board: Board,
    /// The last number of somebody. All numbers grow.
    number: usize,
    /// How often somebody has come.
    came: usize,
}

impl Class {
    /// One comes, one works, one goes. Returns that as the experiment prints it.
    async fn change(&mut self) -> Result<String> {
        let goes = COME_AND_GO[self.came];
        self.came += 1;
        let comes = COME_AND_GO[self.came];
        self.etcd.put(OTHER, "0").await?;
        for name in [comes, WORKS, WORKS] {
            self.put(name).await?;
        }
        let key = format!("{CLASS}{goes}");
        self.etcd.delete(&key).await?;
        self.board.remove(&key);
        self.etcd.put(OTHER, "0").await?;
        Ok(format!("{comes} comes, {goes} goes"))
    }

    /// The history begins then with a change of another key, and not the first one after the last
    /// change of the class.
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

    /// Checks that the board is soon what etcd has, and that each board before was one of etcd's,
    /// too.
    async fn check(&self, screen: &mut Watcher<Board>, look: &'static str) -> Result<()> {
        screen.shows(|board| *board == self.board).await; // what has not come is found below
        let boards = screen.shown().await;
        check_order(&boards, self.board.is_empty())?;
        screen.check_running().await?;

        let Some(last) = boards.last() else {
            return broken(
                format!("nothing was drawn within {SHOW_LIMIT:?}"),
                "what your code draws",
            );
        };
        let missed = format!("a change was missed: {SHOW_LIMIT:?} later");
        if let Some(key) = self.board.keys().find(|key| !last.contains_key(*key)) {
            return broken(format!("{missed} {} is not on the board", name(key)), look);
        }
        if let Some((key, number)) = self.board.iter().find(|(key, now)| last[*key] != **now) {
            let what = format!("{missed} {} has {number}, the board has {}", name(key), last[key]);
            return broken(
                what,
                "how many events a response can have, and what your code does with each",
            );
        }
        if let Some(key) = last.keys().find(|key| !self.board.contains_key(*key)) {
            let what = format!("{} has gone, and is on the board {SHOW_LIMIT:?} later", name(key));
            return broken(
                what,
                "what takes somebody off your board, and the revision from which you watch",
            );
        }
        Ok(())
    }
}

/// Checks that from each board to the next one nothing becomes older.
fn check_order(boards: &[Board], is_over: bool) -> Result<()> {
    let (mut newest, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let mut before = &Board::new();
    for board in boards {
        if !board.contains_key(&format!("{CLASS}{STAYS}")) && !is_over {
            return broken(
                format!("for a moment {STAYS} was not on the board, and she had not gone"),
                "what your code draws before it has a whole list, or without one",
            );
        }
        gone.extend(before.keys().filter(|key| !board.contains_key(*key)));
        for (key, number) in board {
            if !key.starts_with(CLASS) {
                let what = format!("{key} is on the board, which is not below {CLASS}");
                return broken(what, "which keys your requests are about");
            }
            let Ok(number) = number.parse::<usize>() else {
                let what =
                    format!("{} has {number:?} on the board, which nobody has put", name(key));
                return broken(what, "what kinds of events there are, and what your list asks for");
            };
            let look = "in which order your code learns of the changes";
            if gone.contains(key) {
                return broken(format!("{} had gone, and came back", name(key)), look);
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
