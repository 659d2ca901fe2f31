//! The cost of a write in a cluster of one, three and five members.

use std::time::Instant;

use anyhow::{Result, ensure};
use common::{REQUEST_TIMEOUT, connect_to, within};
use etcd_server::{Cluster, Server, metric};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::client::LIMIT;
use crate::{POLL_INTERVAL, sentence};

/// The number of puts, sent one after the other.
const PUTS: u32 = 200;

pub async fn show() -> Result<()> {
    sentence("etcd: every node handles many reads and writes; nodes can be added to scale")?;
    say!("  {PUTS} puts to a member that does not lead, if there is one")?;
    say!("           for each put, each member     for each put, the leader")?;
    say!("  members  applies    writes to disk     sends the others")?;
    for members in [1, 3, 5] {
        let cluster = start(members).await?;
        let mut client = connect_to([cluster.members[members - 1].endpoint()]).await?;
        within(10 * REQUEST_TIMEOUT, client.put("key", "value", None)).await?;
        let before = counts(&cluster)?;
        for _ in 0..PUTS {
            within(10 * REQUEST_TIMEOUT, client.put("key", "value", None)).await?;
        }
        // The other members apply the last put a moment later.
        let (begin, due) = (Instant::now(), f64::from(PUTS));
        let counted = loop {
            let after = counts(&cluster)?;
            let counted: Vec<_> = after.iter().zip(&before).map(|(a, b)| a.since(b)).collect();
            if counted.iter().all(|count| count.applied >= due) {
                break counted;
            }
            ensure!(
                begin.elapsed() < LIMIT,
                "unexpected: a member has not applied all puts after {LIMIT:?}"
            );
            sleep(POLL_INTERVAL).await;
        };
        let least = |of: fn(&Counts) -> f64| {
            counted.iter().map(of).fold(f64::MAX, f64::min) / f64::from(PUTS)
        };
        let (applied, synced) = (least(|c| c.applied), least(|c| c.synced));
        let sent = counted[0].sent / f64::from(PUTS) / 1000.0;
        say!("  {members}        {applied:.1}        {synced:.1}                {sent:.1} kB")?;
        // Less than 1 is normal: a member that is behind writes several puts at once.
        ensure!(synced > 0.1, "unexpected: most puts were not written to disk");
    }
    say!("only if it means to accept them: every member carries out every write")
}

/// Starts a cluster; the first of its members leads.
pub async fn start(members: usize) -> Result<Cluster> {
    let mut cluster = spawn_blocking(move || Cluster::start_of(members)).await??;
    let leader = cluster.leader().await?;
    cluster.members.swap(0, leader);
    Ok(cluster)
}

struct Counts {
    applied: f64,
    synced: f64,
    sent: f64,
}

impl Counts {
    fn read(member: &Server) -> Result<Counts> {
        let count = |name: &'static str| {
            Ok::<_, anyhow::Error>(metric(member.address(), |line| line.starts_with(name))? as f64)
        };
        Ok(Counts {
            applied: count("etcd_server_proposals_applied_total ")?,
            synced: count("etcd_disk_wal_fsync_duration_seconds_count ")?,
            sent: count("etcd_network_peer_sent_bytes_total{")?,
        })
    }

    fn since(&self, before: &Counts) -> Counts {
        Counts {
            applied: self.applied - before.applied,
            synced: self.synced - before.synced,
            sent: self.sent - before.sent,
        }
    }
}

fn counts(cluster: &Cluster) -> Result<Vec<Counts>> {
    cluster.members.iter().map(Counts::read).collect()
}
