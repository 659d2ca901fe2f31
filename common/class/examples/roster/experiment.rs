//! The experiment of the exercise `roster`: students come and go while the board does not look. Other
//! keys change too, so that no two revisions are the same by chance.
//!
//! Repair `yours.rs`, not this file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, DeleteOptions};
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Scene, Sent, Stages, Steps, Verdict, blocking, broken, check_running,
    connect_by_wire_to, connect_to, held,
};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

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

/// How long a change may take until it is on the board. An event from the past takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long something older may take to follow what is new.
const WAIT_FOR_OLDER: Duration = Duration::from_millis(300);

pub async fn run(scene: Scene, show: Show) -> Result<Verdict> {
    let mut server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let client = connect_to(server.address()).await?;
    // With 3 the first number of two digits comes while nothing else happens. As text, 12 comes before 9.
    let mut class = Class { client, board: Board::new(), number: 3, came: 0 };
    for name in [STAYS, WORKS, COME_AND_GO[0]] {
        class.put(name).await?;
    }
    class.put_other().await?;
    let mut stages = Stages::of(8);

    let (mut client, mut wire) = connect_by_wire_to(link.address()).await?;
    let (drawn, boards) = watch::channel(Vec::new());
    let draw =
        Box::new(move |board: &Board| drawn.send_modify(|boards| boards.push(board.clone())));
    let task = spawn_local(async move { show(&mut client, CLASS, draw).await });
    let mut screen = Screen { task, boards, sent: wire.sent() };

    // The response is on its way while the class changes.
    let response = wire.response(1).await;
    ensure!(response.is_some(), "show has asked etcd for nothing, so nothing was tried");
    let change = class.change().await?;
    writeln!(stdout(), "{change}, when etcd has responded to the first request")?;
    drop(response);
    wire.open();
    let gap = "what happens between your list and the beginning of your watch";
    if let Err(verdict) = screen.check(&class, gap).await {
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
        if !screen.shows_newcomer(&class).await {
            let look = "which keys your watch is about, and what it does with an event";
            screen.check(&class, look).await?;
        }
        return Err(verdict);
    }
    stages.pass()?;

    let change = class.change().await?;
    writeln!(stdout(), "{change}, while nothing else happens")?;
    screen.check(&class, "what your code does with an event").await?;
    screen.sent.check_silent(&link).await?;
    stages.pass()?;

    server.kill()?;
    screen.sent.check_pauses().await?;
    wire.pause();
    server = blocking(move || server.restart().map(|()| server)).await?;
    // The first request of the old client could use the connection that is gone.
    class.client = connect_to(server.address()).await?;
    let change = class.change().await?;
    writeln!(
        stdout(),
        "the server is restarted; {change} before you are back, and your next request is lost"
    )?;
    wire.lose(1).await?;
    screen.check(&class, "what your code does when its stream or a request has ended").await?;
    stages.pass()?;

    // The history is compacted as well, and then once more right after the first or second request, or the
    // second one is lost, or nothing else happens.
    for (nth, is_lost) in [(1, false), (2, false), (2, true), (0, false)] {
        wire.pause();
        link.disconnect();
        let change = class.change().await?;
        class.compact().await?;
        writeln!(stdout(), "the connection is lost, {change}, and the history is compacted")?;
        if is_lost {
            writeln!(stdout(), "your request {nth} after that is lost")?;
            wire.lose(nth).await?;
        } else if nth > 0 {
            // The board may send fewer requests.
            let response = timeout(REQUEST_TIMEOUT, wire.response(nth)).await.ok().flatten();
            if response.is_some() {
                let change = class.change().await?;
                class.compact().await?;
                let when = format!("when etcd has responded to your request {nth}");
                writeln!(stdout(), "{change}, and it is compacted, {when}")?;
            }
        }
        wire.open();
        screen.check(&class, "what etcd tells you on a stream, apart from events").await?;
        stages.pass()?;
    }
    // If it has not found a revision to watch from, it asks again and again.
    screen.sent.check_quiet().await?;

    class.end().await?;
    writeln!(stdout(), "the class is over: all its keys are deleted in one request")?;
    screen.check(&class, "what your code does with an event").await?;
    stages.pass()?;
    held("the board was always what etcd had")
}

/// The class in etcd, and the board as it should be.
struct Class {
    client: Client,
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
        self.put_other().await?;
        self.put(comes).await?;
        self.put(WORKS).await?;
        self.put(WORKS).await?;
        let key = format!("{CLASS}{goes}");
        within(REQUEST_TIMEOUT, self.client.delete(&*key, None)).await.context("delete failed")?;
        self.board.remove(&key);
        self.put_other().await?;
        Ok(format!("{comes} comes, {goes} goes"))
    }

    async fn put(&mut self, name: &str) -> Result<()> {
        self.number += 1;
        let (key, number) = (format!("{CLASS}{name}"), self.number.to_string());
        within(REQUEST_TIMEOUT, self.client.put(&*key, &*number, None))
            .await
            .context("put failed")?;
        self.board.insert(key, number);
        Ok(())
    }

    async fn put_other(&mut self) -> Result<()> {
        within(REQUEST_TIMEOUT, self.client.put(OTHER, "0", None)).await.context("put failed")?;
        Ok(())
    }

    /// Compacts all history. It begins then with a change of another key, and not the first one after the
    /// last change of the class.
    async fn compact(&mut self) -> Result<()> {
        let found =
            within(REQUEST_TIMEOUT, self.client.get(OTHER, None)).await.context("get failed")?;
        let now = found.header().context("no header")?.revision();
        within(REQUEST_TIMEOUT, self.client.compact(now, None)).await.context("compact failed")?;
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        let all = DeleteOptions::new().with_prefix();
        let delete = self.client.delete(CLASS, Some(all));
        within(REQUEST_TIMEOUT, delete).await.context("delete failed")?;
        self.board.clear();
        Ok(())
    }
}

/// The answer that is tried, and all boards that it has drawn.
struct Screen {
    task: JoinHandle<Result<()>>,
    boards: watch::Receiver<Vec<Board>>,
    sent: Sent,
}

impl Screen {
    /// Waits until who came last is on the board. Returns whether that is so.
    async fn shows_newcomer(&mut self, class: &Class) -> bool {
        let key = format!("{CLASS}{}", COME_AND_GO[class.came]);
        let last_has_it = |boards: &Vec<Board>| boards.last().is_some_and(|b| b.contains_key(&key));
        timeout(PATIENCE, self.boards.wait_for(last_has_it)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Checks that the board is soon what etcd has, and that each board before was one of etcd's, too.
    async fn check(&mut self, class: &Class, look: &'static str) -> Result<()> {
        let arrives = self.boards.wait_for(|boards| boards.last() == Some(&class.board));
        let _ = timeout(PATIENCE, arrives).await; // what has not come is found below
        sleep(WAIT_FOR_OLDER).await;
        let boards = self.boards.borrow().clone();
        check_order(&boards, class.board.is_empty())?;
        check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;

        let Some(last) = boards.last() else {
            return broken(
                format!("nothing was drawn within {PATIENCE:?}"),
                "what your code draws",
            );
        };
        let missed = format!("a change was missed: {PATIENCE:?} later");
        if let Some(key) = class.board.keys().find(|key| !last.contains_key(*key)) {
            return broken(format!("{missed} {} is not on the board", name(key)), look);
        }
        if let Some((key, number)) = class.board.iter().find(|(key, now)| last[*key] != **now) {
            let what = format!("{missed} {} has {number}, the board has {}", name(key), last[key]);
            return broken(
                what,
                "how many events a response can have, and what your code does with each",
            );
        }
        if let Some(key) = last.keys().find(|key| !class.board.contains_key(*key)) {
            let what = format!("{} has gone, and is on the board {PATIENCE:?} later", name(key));
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
