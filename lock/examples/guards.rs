//! Shows that a lock only makes conflicts rare. To rule them out, the resource has to check the
//! token on every read and write.
//!
//! ```text
//! cargo run -p lock --example guards
//! ```
//!
//! Two holders of a lock read a number and write the number plus one. The first holder is frozen
//! between its read and its write until its lease has expired, so the second one gets the lock.
//! Four resources go through this, each with a different protection.

use std::io::{Write, stdout};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, no_argument, within};
use etcd_client::{Client, Txn, TxnOp};
use etcd_server::Server;
use exercise::{NOTHING, Symbol, Timeline};
use lock::{Guard, Mutex, Session};
use tokio::runtime::Builder;
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(2);
/// The time between two events, so that the picture shows their order.
const PAUSE: Duration = Duration::from_millis(200);

const WAITS: Symbol = Symbol('─', '-', "waits for the lock");
const HAS: Symbol = Symbol('█', '#', "has the lock and has read");
const FROZEN: Symbol = Symbol('▒', '%', "is frozen");
const WRITES: Symbol = Symbol('W', 'W', "writes");

fn main() -> Result<()> {
    no_argument(include_str!("guards.rs"));
    let etcd = Server::start()?;
    let mut resources = [
        Resource::new("no protection", ""),
        Resource::new("token on writes", "w"),
        Resource::new("token on reads and writes", "rw"),
        Resource::new("etcd transaction", ""), // checked by etcd itself
    ];
    let one = Builder::new_current_thread().enable_all().build()?;
    let two = Builder::new_current_thread().enable_all().build()?;

    let timeline = Timeline::default();
    timeline.note("first", WAITS);
    let mut first = one.block_on(Holder::acquire_and_read(&etcd, &mut resources))?;
    timeline.note("first", HAS);
    timeline.note("first", FROZEN);
    // The first holder and its renewals run on runtime `one`, which is now frozen until the next
    // `block_on`, like a process that was stopped.

    timeline.note("second", WAITS);
    let mut second = two.block_on(Holder::acquire_and_read(&etcd, &mut resources))?;
    timeline.note("second", HAS);

    // The first holder doesn't know that its lease has expired.
    sleep(PAUSE);
    timeline.mark("first", WRITES);
    timeline.note("first", NOTHING);
    one.block_on(first.write(&mut resources))?;
    sleep(PAUSE);
    timeline.mark("second", WRITES);
    timeline.note("second", NOTHING);
    two.block_on(second.write(&mut resources))?;
    writeln!(stdout(), "{timeline}")?;

    resources[3].number = two.block_on(number(&mut second.client))?;
    let mut counts = Vec::new();
    for resource in resources {
        let lost = resource.updates - resource.number;
        match lost {
            0 => writeln!(stdout(), "{}: held", resource.protection)?,
            _ => writeln!(stdout(), "{}: broken, {lost} update lost", resource.protection)?,
        }
        counts.push((resource.updates, lost));
    }
    // One of the two updates is either lost or refused.
    let expected = counts == [(2, 1), (2, 1), (1, 0), (1, 0)];
    ensure!(
        expected,
        "cannot show lost updates: the first holder was not frozen long enough; run this again"
    );
    Ok(())
}

/// A number with a protection, and how many updates it has accepted.
#[derive(Default)]
struct Resource {
    protection: &'static str,
    /// The accesses that need a token: `r` and `w`.
    checks: &'static str,
    largest: i64,
    number: u64,
    updates: u64,
}

impl Resource {
    fn new(protection: &'static str, checks: &'static str) -> Resource {
        Resource { protection, checks, ..Resource::default() }
    }

    fn read(&mut self, token: i64) -> Option<u64> {
        self.allows('r', token).then_some(self.number)
    }

    fn write(&mut self, token: i64, number: u64) {
        if self.allows('w', token) {
            self.number = number;
            self.updates += 1;
        }
    }

    /// Returns whether an access with this token is allowed. A checked access needs the largest
    /// token so far.
    fn allows(&mut self, access: char, token: i64) -> bool {
        if !self.checks.contains(access) {
            return true;
        }
        self.largest = self.largest.max(token);
        token == self.largest
    }
}

struct Holder {
    client: Client,
    guard: Guard, // keeps the session alive
    read: Vec<u64>,
}

impl Holder {
    /// Connects, takes the lock and reads all numbers.
    async fn acquire_and_read(etcd: &Server, resources: &mut [Resource; 4]) -> Result<Holder> {
        let mut client = Client::connect([etcd.address().to_string()], None).await?;
        let session = Session::open(&client, TTL).await?;
        let mutex = Mutex::new(&session, "guards");
        let acquired = timeout(5 * TTL, mutex.lock()).await;
        let guard = acquired
            .context("cannot take the lock: the first holder still has it; run this again")??;

        let read = resources.iter_mut().map(|r| r.read(guard.token()));
        let mut read = read.collect::<Option<Vec<_>>>().context("a read was refused")?;
        read[3] = number(&mut client).await?;
        ensure!(session.is_alive(), "the session is lost");
        Ok(Holder { client, guard, read })
    }

    /// Writes each number plus one.
    async fn write(&mut self, resources: &mut [Resource; 4]) -> Result<()> {
        let (token, in_etcd) = (self.guard.token(), self.read[3] + 1);
        let [outside @ .., etcd] = resources;
        for (resource, number) in outside.iter_mut().zip(&self.read) {
            resource.write(token, number + 1);
        }
        let put = TxnOp::put("number", in_etcd.to_string(), None);
        let txn = Txn::new().when([self.guard.is_owner()]).and_then([put]);
        if within(REQUEST_TIMEOUT, self.client.txn(txn)).await?.succeeded() {
            etcd.write(token, in_etcd);
        }
        Ok(())
    }
}

/// Reads the number in etcd.
async fn number(client: &mut Client) -> Result<u64> {
    let response = within(REQUEST_TIMEOUT, client.get("number", None)).await?;
    match response.kvs().first() {
        Some(kv) => Ok(kv.value_str()?.parse()?),
        None => Ok(0),
    }
}
