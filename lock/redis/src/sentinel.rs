//! A lock on a primary that the network has cut off.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_server::Proxy;
use exercise::{Symbol, Timeline};
use tokio::time::sleep;

use crate::client::{Client, LIMIT};
use crate::server::Redis;
use crate::{LOOK, seconds, sentence};

const HOLDS: Symbol = Symbol('█', '#', "believes to hold the lock");
const WITHOUT: Symbol = Symbol('·', '.', "has no lock");
const TOLD: Symbol = Symbol('0', '0', "could know: WAIT says 0");
const WRITES: Symbol = Symbol('─', '-', "takes writes");
const CUT: Symbol = Symbol('▒', '%', "the same, cut off");
const REFUSES: Symbol = Symbol('╳', 'x', "refuses writes");

/// So that the picture shows the end.
const SHOWN: Duration = Duration::from_millis(500);

/// What redis's documentation names against writes that are lost.
const CAREFUL: &str = "min-replicas-to-write 1\nmin-replicas-max-lag 2";

pub async fn show() -> Result<()> {
    sentence("redis: highly available by replication and sentinel")?;
    let primary = Redis::start(CAREFUL).await?;
    // The replica and the sentinels reach the primary through this. Client a is at the primary's side.
    let network = Proxy::to(primary.address)?;
    let replica = Redis::replica_of(network.address()).await?;
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(Redis::sentinel(network.address()).await?);
    }
    for sentinel in &sentinels {
        sentinel.until("slaves=1,sentinels=3").await?; // they look for each other every 2 s
    }
    say!("  a primary, a replica, three sentinels; a server is down after 1 s for them")?;
    say!("  the primary has {}", CAREFUL.replace('\n', ", "))?;
    let mut a = primary.client("a").await?;
    a.hears("INCR token", "(integer) 1").await?;
    a.hears("WAIT 1 1000", "(integer) 1").await?; // so many replicas have it

    let timeline = Timeline::default();
    timeline.note("a", WITHOUT);
    timeline.note("b", WITHOUT);
    timeline.note("old primary", WRITES);
    network.cut();
    timeline.note("old primary", CUT);
    let cut = Instant::now();
    say!("  the network is cut, between the primary and a on one side, and all others")?;
    say!("  a locks, unlocks and locks again, and draws a token each time")?;
    a.hears("SET lock a NX PX 60000", "OK").await?;
    a.hears("INCR token", "(integer) 2").await?;
    a.hears("DEL lock", "(integer) 1").await?;
    a.hears("SET lock a NX PX 60000", "OK").await?;
    timeline.note("a", HOLDS);
    a.hears("INCR token", "(integer) 3").await?;
    a.hears("WAIT 1 300", "(integer) 0").await?;
    timeline.mark("a", TOLD);

    let mut probe = primary.client("a").await?;
    let refusal = async {
        while !probe.ask("SET other a").await?.starts_with("(error) NOREPLICAS") {
            ensure!(cut.elapsed() < LIMIT, "the primary takes writes for {LIMIT:?}");
            sleep(LOOK).await;
        }
        timeline.note("old primary", REFUSES);
        Ok(cut.elapsed())
    };
    let failover = async {
        let mut sentinel = sentinels[0].client("").await?;
        let new = format!("1) \"127.0.0.1\" 2) \"{}\"", replica.address.port());
        while sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME lock").await? != new {
            ensure!(cut.elapsed() < 2 * LIMIT, "no failover within {:?}", 2 * LIMIT);
            sleep(LOOK).await;
        }
        timeline.note("new primary", WRITES);
        say!("  after {} the sentinels name the replica", seconds(cut.elapsed()))?;
        let mut b = Client::connect("b", replica.address).await?;
        b.hears("SET lock b NX PX 60000", "OK").await?;
        timeline.note("b", HOLDS);
        b.hears("INCR token", "(integer) 2").await?;
        a.hears("GET lock", "\"a\"").await
    };
    let (refused, ()) = tokio::try_join!(refusal, failover)?;
    say!("  the old primary refuses writes after {}", seconds(refused))?;
    sleep(SHOWN).await;
    say!("{timeline}")?;
    say!(
        "only if you mean the server: the lock has two holders, and the later one has the smaller token",
    )
}
