//! A lock on a primary that the network has cut off.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_server::Proxy;
use exercise::{Symbol, Timeline};
use tokio::time::sleep;

use crate::client::{Client, LIMIT};
use crate::server::Redis;
use crate::{POLL_INTERVAL, seconds, sentence};

const HOLDS: Symbol = Symbol('█', '#', "thinks it has the lock");
const WITHOUT: Symbol = Symbol('·', '.', "has no lock");
const WAIT_SAID_ZERO: Symbol = Symbol('0', '0', "could know better: WAIT says 0");
const WRITES: Symbol = Symbol('─', '-', "accepts writes");
const CUT: Symbol = Symbol('▒', '%', "accepts writes, cut off");
const REFUSES: Symbol = Symbol('╳', 'x', "refuses writes");

/// How long the picture goes on after the last event.
const PICTURE_TAIL: Duration = Duration::from_millis(500);

/// The settings that redis's documentation recommends against lost writes.
const MIN_REPLICAS: &str = "min-replicas-to-write 1\nmin-replicas-max-lag 2";

pub async fn show() -> Result<()> {
    sentence("redis: highly available by replication and sentinel")?;
    let primary = Redis::start(MIN_REPLICAS).await?;
    // The replica and the sentinels reach the primary through this proxy. Client a doesn't need it.
    let network = Proxy::to(primary.address)?;
    let replica = Redis::replica_of(network.address()).await?;
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(Redis::sentinel(network.address()).await?);
    }
    for sentinel in &sentinels {
        sentinel.wait_for_info("slaves=1,sentinels=3").await?; // sentinels discover each other every 2 s
    }
    say!("  a primary, a replica, three sentinels, which call a server down after 1 s")?;
    say!("  the primary has {}", MIN_REPLICAS.replace('\n', ", "))?;
    let mut a = primary.client("a").await?;
    a.expect_reply("INCR token", "(integer) 1").await?;
    a.expect_reply("WAIT 1 1000", "(integer) 1").await?; // one replica has it

    let timeline = Timeline::default();
    timeline.note("a", WITHOUT);
    timeline.note("b", WITHOUT);
    timeline.note("old primary", WRITES);
    network.cut();
    timeline.note("old primary", CUT);
    let cut = Instant::now();
    say!("  the network is cut: the primary and a on one side, all others on the other")?;
    say!("  a locks, unlocks and locks again, and draws a token each time")?;
    a.expect_reply("SET lock a NX PX 60000", "OK").await?;
    a.expect_reply("INCR token", "(integer) 2").await?;
    a.expect_reply("DEL lock", "(integer) 1").await?;
    a.expect_reply("SET lock a NX PX 60000", "OK").await?;
    timeline.note("a", HOLDS);
    a.expect_reply("INCR token", "(integer) 3").await?;
    a.expect_reply("WAIT 1 300", "(integer) 0").await?;
    timeline.mark("a", WAIT_SAID_ZERO);

    let mut probe = primary.client("a").await?;
    let refusal = async {
        while !probe.ask("SET other a").await?.starts_with("(error) NOREPLICAS") {
            ensure!(
                cut.elapsed() < LIMIT,
                "unexpected: the old primary still accepts writes after {LIMIT:?}"
            );
            sleep(POLL_INTERVAL).await;
        }
        timeline.note("old primary", REFUSES);
        Ok(cut.elapsed())
    };
    let failover = async {
        let mut sentinel = sentinels[0].client("").await?;
        let new = format!("1) \"127.0.0.1\" 2) \"{}\"", replica.address.port());
        while sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME lock").await? != new {
            ensure!(cut.elapsed() < 2 * LIMIT, "unexpected: no failover within {:?}", 2 * LIMIT);
            sleep(POLL_INTERVAL).await;
        }
        timeline.note("new primary", WRITES);
        say!(
            "  after {} the sentinels have made the replica the new primary",
            seconds(cut.elapsed())
        )?;
        let mut b = Client::connect("b", replica.address).await?;
        b.expect_reply("SET lock b NX PX 60000", "OK").await?;
        timeline.note("b", HOLDS);
        b.expect_reply("INCR token", "(integer) 2").await?;
        a.expect_reply("GET lock", "\"a\"").await
    };
    let (refused, ()) = tokio::try_join!(refusal, failover)?;
    say!("  the old primary refuses writes after {}", seconds(refused))?;
    sleep(PICTURE_TAIL).await;
    say!("{timeline}")?;
    say!(
        "only if it means the server: the lock has two holders, and the later one has the smaller token",
    )
}
