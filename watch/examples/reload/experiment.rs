//! The experiment of the exercise `reload`: a value changes when the program does not look. Other
//! keys change all the time, so that no two revisions are the same by chance.
//!
//! Repair `yours.rs`, not this file.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, FAULTS_AT_RETURN, SHOW_LIMIT, Scene, Stages, Symbol, Timeline, Verdict,
    Watcher, blocking, broken, held, say,
};
use tokio::time::{sleep, timeout};

/// The function that is tried.
pub type Follow = for<'a> fn(&'a mut Client, &'a str, Box<dyn FnMut(&str)>) -> BoxFuture<'a, ()>;

const KEY: &str = "config";
/// Another key, which begins in the same way.
const OTHER: &str = "config.old";

const PUT: Symbol = Symbol('┼', '+', "a new value");
const NETWORK: Symbol = Symbol('─', '-', "connected");
const RESTART: Symbol = Symbol('▲', '^', "the server is restarted");
const LOST: Symbol = Symbol('╳', 'x', "the connection is lost");
const COMPACTED: Symbol = Symbol('▼', 'v', "the history is compacted");
const NEWEST: Symbol = Symbol('█', '#', "has the newest value");
const OLDER: Symbol = Symbol('░', '.', "has an older one");

/// How long the program may take to read what has reached it.
const READING: Duration = Duration::from_millis(50);

pub async fn run(scene: Scene, follow: Follow) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let (address, timeline) = (server.address(), scene.timeline);
    timeline.note("etcd", NETWORK);
    let newest = Rc::new(Cell::new(1));
    let (etcd, version) = (Etcd::of(&server).await?, Rc::clone(&newest));
    let mut store = Store { etcd, version, before: 1, timeline: timeline.clone() };
    let mut stages = Stages::of(10);
    store.etcd.put(OTHER, "other").await?;
    store.etcd.put(KEY, "v1").await?;

    let picture = timeline.clone();
    let mut program = Watcher::start(server, |mut client, sent, show| {
        let apply = Box::new(move |value: &str| {
            let version = value.strip_prefix('v').and_then(|version| version.parse().ok());
            picture.note("program", if version == Some(newest.get()) { NEWEST } else { OLDER });
            let value = value.to_owned();
            show(Applied { value, version, by_event: sent.last_is("Watch") });
        });
        async move { follow(&mut client, KEY, apply).await }
    })
    .await?;

    // The response is on its way while the value changes.
    let response = program.network.response(1).await;
    ensure!(response.is_some(), "follow has asked etcd for nothing, so nothing was tried");
    let two = store.change_twice().await?;
    say!("{two} are put when etcd has responded to the first request")?;
    drop(response);
    program.network.open();
    let is_there = store.arrives(&mut program).await;
    // Nobody else watches anything here.
    let events = |line: &str| line.starts_with("etcd_debugging_mvcc_events_total ");
    let gap = match blocking(move || etcd_server::metric(address, events)).await? {
        0 => "what happens between your get and the beginning of your watch",
        _ => "what your code does with each event that etcd sends",
    };
    store.judge(&mut program, is_there, gap).await?;
    stages.pass()?;
    store.check_live(&mut program).await?;
    program.sent.check_silent(&program.link).await?;
    stages.pass()?;

    timeline.mark("etcd", RESTART);
    program = program.restart(&mut store.etcd).await?;
    let two = store.change_twice().await?;
    say!(
        "the server is restarted, {two} are put before you are back, and your next request is lost"
    )?;
    program.network.lose(1).await?;
    let end = "what happens between the end of your stream and your next watch";
    store.check(&mut program, end).await?;
    stages.pass()?;

    // The connection ends between `created` and the first event of the past. That comes up to 0.1 s
    // later, so one attempt may be too late.
    for _ in 0..3 {
        program.disconnect();
        timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        say!("the connection is lost, {two} are put, and it is lost again after created")?;
        let confirmed = timeout(SHOW_LIMIT, program.network.response_to("Watch")).await;
        program.link.pause_responses();
        drop(confirmed);
        sleep(READING).await;
        program.link.disconnect();
        program.network.open();
        store.check(&mut program, "when your code may go on from a later revision").await?;
        stages.pass()?;
    }

    // Then the history is compacted as well.
    for fault in FAULTS_AT_RETURN {
        store.change().await?;
        let one = store.newest();
        store.arrives(&mut program).await; // as an event, so that it knows where to go on
        program.disconnect();
        timeline.mark("etcd", LOST);
        let two = store.change_twice().await?;
        store.compact().await?;
        timeline.mark("etcd", COMPACTED);
        say!("{one} is put, the connection is lost, {two} are put, and the history is compacted")?;
        let change = async || {
            store.change_at_once().await?;
            Ok(format!("{} is put", store.newest()))
        };
        program.come_back(fault, change).await?;
        let look = "what etcd tells you on a stream, apart from events, and what you do then";
        store.check(&mut program, look).await?;
        stages.pass()?;
    }
    // If it has not found a revision to watch from, it asks again and again.
    program.sent.check_quiet().await?;
    store.check_live(&mut program).await?;
    held("the newest value was applied each time, and nothing twice")
}

/// The value in etcd: v1, v2 and so on.
struct Store {
    etcd: Etcd,
    version: Rc<Cell<usize>>,
    /// The version before the last change or pair of changes.
    before: usize,
    timeline: Timeline,
}

/// What the program has applied.
#[derive(Clone)]
struct Applied {
    value: String,
    /// 2 for v2. Another key has no such values.
    version: Option<usize>,
    /// Whether the last request before it was for a watch, and not for a get.
    by_event: bool,
}

impl Store {
    fn newest(&self) -> String {
        format!("v{}", self.version.get())
    }

    /// Puts the next value. Before and after it, another key changes.
    async fn change(&mut self) -> Result<()> {
        self.etcd.put(OTHER, "other").await?;
        self.change_at_once().await
    }

    /// Puts the next value with the store's next revision. After it, another key changes.
    async fn change_at_once(&mut self) -> Result<()> {
        self.before = self.version.replace(self.version.get() + 1);
        self.timeline.mark("etcd", PUT);
        self.timeline.note("program", OLDER);
        self.etcd.put(KEY, &self.newest()).await?;
        self.etcd.put(OTHER, "other").await?;
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

    /// Compacts all history. It begins then with a change of the other key, and not the first one
    /// after that of the newest value.
    async fn compact(&mut self) -> Result<()> {
        self.etcd.put(OTHER, "other").await?;
        self.etcd.compact().await
    }

    /// Checks that a change is seen while nothing else happens.
    async fn check_live(&mut self, program: &mut Watcher<Applied>) -> Result<()> {
        self.change().await?;
        say!("{} is put while nothing else happens", self.newest())?;
        self.check(program, "what your code does with an event").await
    }

    /// Waits until the newest value is applied. Returns whether it is.
    async fn arrives(&self, program: &mut Watcher<Applied>) -> bool {
        program.shows(|applied| applied.version == Some(self.version.get())).await
    }

    async fn check(&self, program: &mut Watcher<Applied>, look: &'static str) -> Result<()> {
        let is_there = self.arrives(program).await;
        self.judge(program, is_there, look).await
    }

    /// Returns *broken* if the newest value was not applied, or if something was applied that is
    /// not newer than what was there.
    async fn judge(
        &self,
        program: &mut Watcher<Applied>,
        is_there: bool,
        look: &'static str,
    ) -> Result<()> {
        let values = program.shown().await;
        check_order(&values)?;
        program.check_running().await?;
        if is_there {
            return Ok(());
        }
        let last = values.last().and_then(|last| last.version);
        let has = last.map_or("nothing".to_owned(), |version| format!("v{version}"));
        let newest = self.newest();
        broken(
            format!(
                "a change was missed: etcd has had {newest} for {SHOW_LIMIT:?}, the program has {has}"
            ),
            match last > Some(self.before) {
                true => {
                    "how many events a response can have, and which of them your code leaves out"
                }
                false => look,
            },
        )
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
