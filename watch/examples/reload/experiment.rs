//! The experiment of the exercise `reload`: a value changes when the program does not look. Other
//! keys change all the time, so that no two revisions are the same by chance.
//!
//! Repair `yours.rs`, not this file.

use std::cell::Cell;
use std::io::{Write, stdout};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Scene, Sent, Sign, Stages, Timeline, Verdict, blocking, broken, check_running,
    connect_by_wire_to, connect_to, held,
};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// The function that is tried.
pub type Follow = for<'a> fn(&'a mut Client, &'a str, Box<dyn FnMut(&str)>) -> BoxFuture<'a, ()>;

const KEY: &str = "config";
/// Another key, which begins in the same way.
const OTHER: &str = "config.old";

const PUT: Sign = Sign('┼', '+', "a new value");
const NETWORK: Sign = Sign('─', '-', "connected");
const RESTART: Sign = Sign('▲', '^', "the server is restarted");
const LOST: Sign = Sign('╳', 'x', "the connection is lost");
const COMPACTED: Sign = Sign('▼', 'v', "the history is compacted");
const NEWEST: Sign = Sign('█', '#', "has the newest value");
const OLDER: Sign = Sign('░', '.', "has an older one");

/// How long a newer value may wait. An event from the past takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an older value may take to follow a newer one, if the program asks for it.
const WAIT_FOR_OLDER: Duration = Duration::from_millis(300);
/// How long the program may take to read what has reached it.
const READING: Duration = Duration::from_millis(50);

pub async fn run(scene: Scene, follow: Follow) -> Result<Verdict> {
    let mut server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let picture = Picture { timeline: scene.timeline.clone(), newest: Rc::new(Cell::new(1)) };
    picture.timeline.note("etcd", NETWORK);
    let client = connect_to(server.address()).await?;
    let mut store = Store { client, version: 1, before: 1, picture: picture.clone() };
    let mut stages = Stages::of(10);
    store.put(OTHER, "other").await?;
    store.put(KEY, "v1").await?;

    let (mut client, mut wire) = connect_by_wire_to(link.address()).await?;
    let (sent, (applied, values)) = (wire.sent(), watch::channel(Vec::new()));
    let apply = Box::new(move |value: &str| {
        let version = value.strip_prefix('v').and_then(|version| version.parse().ok());
        let by_event = sent.last_is("Watch");
        picture.has(version);
        let value = value.to_owned();
        applied.send_modify(|values| values.push(Applied { value, version, by_event }));
    });
    let task = spawn_local(async move { follow(&mut client, KEY, apply).await });
    let mut follower = Follower { task, values, sent: wire.sent() };

    // The response is on its way while the value changes.
    let response = wire.response(1).await;
    ensure!(response.is_some(), "follow has asked etcd for nothing, so nothing was tried");
    let two = store.change_twice().await?;
    writeln!(stdout(), "{two} are put when etcd has responded to the first request")?;
    drop(response);
    wire.open();
    let arrived = follower.arrives(&store).await;
    // Nobody else watches anything here.
    let (address, sent) = (server.address(), "etcd_debugging_mvcc_events_total ");
    let sent = blocking(move || etcd_server::metric(address, |line| line.starts_with(sent)));
    let (sent, ()) = tokio::join!(sent, sleep(WAIT_FOR_OLDER));
    let gap = match sent? {
        0 => "what happens between your get and the beginning of your watch",
        _ => "what your code does with each event that etcd sends",
    };
    follower.check_arrival(arrived, &store, gap).await?;
    stages.pass()?;
    follower.check_live(&mut store).await?;
    follower.sent.check_silent(&link).await?;
    stages.pass()?;

    server.kill()?;
    scene.timeline.mark("etcd", RESTART);
    follower.sent.check_pauses().await?;
    wire.pause();
    server = blocking(move || server.restart().map(|()| server)).await?;
    // The first request of the old client could use the connection that is gone.
    store.client = connect_to(server.address()).await?;
    let two = store.change_twice().await?;
    writeln!(
        stdout(),
        "the server is restarted, {two} are put before you are back, and your next request is lost"
    )?;
    wire.lose(1).await?;
    let end = "what happens between the end of your stream and your next watch";
    follower.check(&store, end).await?;
    stages.pass()?;

    // The connection ends between `created` and the first event of the past. That comes up to 0.1 s
    // later, so one attempt may be too late.
    for _ in 0..3 {
        wire.pause();
        link.disconnect();
        scene.timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        writeln!(
            stdout(),
            "the connection is lost, {two} are put, and it is lost again after created"
        )?;
        let confirmed = timeout(PATIENCE, wire.response_to("Watch")).await;
        link.pause_responses();
        drop(confirmed);
        sleep(READING).await;
        link.disconnect();
        wire.open();
        follower.check(&store, "when your code may go on from a later revision").await?;
        stages.pass()?;
    }

    // Then the history is compacted as well, and the value changes right after the program's first or second
    // request, or the second one is lost, or nothing else happens.
    for (nth, is_lost) in [(1, false), (2, false), (2, true), (0, false)] {
        store.change().await?;
        let one = store.newest();
        follower.arrives(&store).await; // as an event, so that it knows where to go on
        wire.pause();
        link.disconnect();
        scene.timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        store.compact().await?;
        scene.timeline.mark("etcd", COMPACTED);
        writeln!(
            stdout(),
            "{one} is put, the connection is lost, {two} are put, and the history is compacted"
        )?;
        if is_lost {
            writeln!(stdout(), "your request {nth} after that is lost")?;
            wire.lose(nth).await?;
        } else if nth > 0 {
            // The program may send fewer requests.
            let response = timeout(REQUEST_TIMEOUT, wire.response(nth)).await.ok().flatten();
            if response.is_some() {
                store.change_at_once().await?;
                let one = store.newest();
                writeln!(stdout(), "{one} is put when etcd has responded to your request {nth}")?;
            }
        }
        wire.open();
        let look = "what etcd tells you on a stream, apart from events, and what you do then";
        follower.check(&store, look).await?;
        stages.pass()?;
    }
    // If it has not found a revision to watch from, it asks again and again.
    follower.sent.check_quiet().await?;
    follower.check_live(&mut store).await?;
    held("the newest value was applied each time, and nothing twice")
}

/// The value in etcd: v1, v2 and so on.
struct Store {
    client: Client,
    version: usize,
    /// The version before the last change or pair of changes.
    before: usize,
    picture: Picture,
}

/// Draws whether the program has the newest value.
#[derive(Clone)]
struct Picture {
    timeline: Timeline,
    newest: Rc<Cell<usize>>,
}

impl Picture {
    fn is_put(&self, version: usize) {
        self.newest.set(version);
        self.timeline.mark("etcd", PUT);
        self.timeline.note("program", OLDER);
    }

    fn has(&self, version: Option<usize>) {
        let is_newest = version == Some(self.newest.get());
        self.timeline.note("program", if is_newest { NEWEST } else { OLDER });
    }
}

impl Store {
    fn newest(&self) -> String {
        format!("v{}", self.version)
    }

    /// Puts the next value. Before and after it, another key changes.
    async fn change(&mut self) -> Result<()> {
        self.put(OTHER, "other").await?;
        self.change_at_once().await
    }

    /// Puts the next value with the store's next revision. After it, another key changes.
    async fn change_at_once(&mut self) -> Result<()> {
        self.before = self.version;
        self.version += 1;
        self.picture.is_put(self.version);
        let value = self.newest();
        self.put(KEY, &value).await?;
        self.put(OTHER, "other").await
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        within(REQUEST_TIMEOUT, self.client.put(key, value, None)).await.context("put failed")?;
        Ok(())
    }

    /// Puts the next two values. Returns them as the experiment prints them.
    async fn change_twice(&mut self) -> Result<String> {
        self.change().await?;
        let (first, before) = (self.newest(), self.before);
        self.change().await?;
        self.before = before;
        Ok(format!("{first} and {}", self.newest()))
    }

    /// Compacts all history. It begins then with a change of the other key, and not the first one after
    /// that of the newest value.
    async fn compact(&mut self) -> Result<()> {
        self.put(OTHER, "other").await?;
        let found =
            within(REQUEST_TIMEOUT, self.client.get(KEY, None)).await.context("get failed")?;
        let now = found.header().context("no header")?.revision();
        within(REQUEST_TIMEOUT, self.client.compact(now, None)).await.context("compact failed")?;
        Ok(())
    }
}

/// The answer that is tried, and what it has applied.
struct Follower {
    task: JoinHandle<Result<()>>,
    values: watch::Receiver<Vec<Applied>>,
    sent: Sent,
}

#[derive(Clone)]
struct Applied {
    value: String,
    /// 2 for v2. Another key has no such values.
    version: Option<usize>,
    /// Whether the last request before it was for a watch, and not for a get.
    by_event: bool,
}

impl Follower {
    /// Checks that a change is seen while nothing else happens.
    async fn check_live(&mut self, store: &mut Store) -> Result<()> {
        store.change().await?;
        writeln!(stdout(), "{} is put while nothing else happens", store.newest())?;
        self.check(store, "what your code does with an event").await
    }

    /// Waits until the newest value is applied. Returns whether it is.
    async fn arrives(&mut self, store: &Store) -> bool {
        let newest = Some(store.version);
        let arrives =
            self.values.wait_for(|values| values.last().is_some_and(|last| last.version == newest));
        timeout(PATIENCE, arrives).await.is_ok_and(|found| found.is_ok())
    }

    /// Checks that the newest value is applied. Returns *broken* if it is not, or if something was applied
    /// that is not newer than what was there.
    async fn check(&mut self, store: &Store, look: &'static str) -> Result<()> {
        let arrived = self.arrives(store).await;
        sleep(WAIT_FOR_OLDER).await;
        self.check_arrival(arrived, store, look).await
    }

    async fn check_arrival(
        &mut self,
        arrived: bool,
        store: &Store,
        look: &'static str,
    ) -> Result<()> {
        let values = self.values.borrow().clone();
        check_order(&values)?;
        check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;
        if !arrived {
            let last = values.last().and_then(|last| last.version);
            let look = match last > Some(store.before) {
                true => {
                    "how many events a response can have, and which of them your code leaves out"
                }
                false => look,
            };
            let has = last.map_or("nothing".to_owned(), |version| format!("v{version}"));
            let newest = store.newest();
            let what = format!("etcd has had {newest} for {PATIENCE:?}, the program has {has}");
            return broken(format!("a change was missed: {what}"), look);
        }
        Ok(())
    }
}

fn check_order(values: &[Applied]) -> Result<()> {
    let mut newest = None;
    for Applied { value, version, by_event } in values {
        if version.is_none() {
            let what = format!("{value:?} was applied, which is the value of another key");
            return broken(what, "which keys your requests are about");
        }
        let look = "the revision from which your code goes on";
        if *version < newest {
            let newer = newest.unwrap_or_default();
            return broken(format!("after v{newer}, the older {value} was applied"), look);
        }
        // A get may return what is known already.
        if *version == newest && *by_event {
            return broken(format!("{value} was put once, and applied twice"), look);
        }
        newest = *version;
    }
    Ok(())
}
