//! The experiment of the exercise `pages`: parcels are moved while they are listed.
//!
//! Repair `yours.rs`, not this file.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn, TxnOp};
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, Fault, Scene, Steps, Verdict, blocking, broken, connect_intercepted, held,
    retry_if_slow, returned_error, say,
};

/// The function that is tried.
pub type Read = for<'a> fn(&'a mut Client, &'a str, i64) -> BoxFuture<'a, Vec<String>>;

const SHELVES: &str = "shelves/";
/// Eleven full pages; with pages of eleven it is one less, which shows.
const PARCELS: usize = 110;
const LIMIT: usize = 10;
const PAGES: usize = PARCELS / LIMIT;
/// How many requests an answer may add, to learn the revision or that no other page follows.
const MORE: usize = 3;
/// How long an answer may wait for a page, or ask for it.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(scene: Scene, read: Read) -> Result<Verdict> {
    // A private etcd, so that nobody else makes revisions.
    let server = blocking(Server::start).await?;
    say!("{PARCELS} parcels lie on shelves, {LIMIT} are to be read at a time")?;
    say!("after each page two of them change places, one at the front and one at the back")?;
    let mut store = retry_if_slow(async |_| {
        let etcd = Etcd::of(&server).await?;
        let mut store = Store::fill(&scene, read, server.address(), etcd).await?;
        store.read_while_others_move().await?;
        // Now the last change is one of the front. A revision that is wrong by 1 shows.
        store.exchange(LIMIT - 1).await?;
        store.read_while_others_move().await?;
        Ok(store)
    })
    .await?;
    say!("the network loses a page, and four parcels change places")?;
    store.read_with_loss().await?;
    say!("two parcels change places, and etcd forgets what was before")?;
    for nth in 1..=3 {
        store.read_with_compaction(nth).await?;
    }
    held(format!("all {PARCELS} parcels, each once, as they lay at one moment"))
}

/// What lies on the shelves.
struct Store {
    scene: Scene,
    read: Read,
    address: SocketAddr,
    etcd: Etcd,
    /// The keys in use, in their order.
    keys: Vec<String>,
    /// The parcels on them, at each moment.
    states: Vec<Vec<String>>,
}

impl Store {
    /// Puts all parcels on shelves, and then moves one, so that no shelf that is left has the last
    /// change of the store.
    async fn fill(scene: &Scene, read: Read, address: SocketAddr, mut etcd: Etcd) -> Result<Store> {
        etcd.delete_all("shelves").await?;
        // Some names begin with the name before.
        let shelf = |place: usize| format!("{SHELVES}{:03}{}", place / 2, ["", "+"][place % 2]);
        let mut keys: Vec<String> = (0..PARCELS).map(shelf).collect();
        let mut parcels: Vec<String> =
            (0..PARCELS).map(|number| format!("parcel {number}")).collect();
        let put = |(key, parcel): (&String, &String)| TxnOp::put(&**key, &**parcel, None);
        write(&mut etcd, keys.iter().zip(&parcels).map(put).collect()).await?;
        etcd.put("shelves", "no parcel").await?;

        let (from, moved) = (keys.remove(4), parcels.remove(4));
        keys.push(shelf(PARCELS));
        parcels.push(moved);
        let to = TxnOp::put(&*keys[PARCELS - 1], &*parcels[PARCELS - 1], None);
        write(&mut etcd, vec![TxnOp::delete(from, None), to]).await?;
        for neighbour in ["shelves-old/1", "shelves2/1"] {
            etcd.put(neighbour, "no parcel").await?;
        }
        Ok(Store { scene: scene.clone(), read, address, etcd, keys, states: vec![parcels] })
    }

    /// Exchanges the parcel at this place, counted from 0, with the one that is as far from the
    /// end. Returns the revision.
    async fn exchange(&mut self, place: usize) -> Result<i64> {
        let mut parcels = self.states.last().context("no state")?.clone();
        let back = PARCELS - 1 - place;
        parcels.swap(place, back);
        let puts = [place, back].map(|at| TxnOp::put(&*self.keys[at], &*parcels[at], None));
        self.states.push(parcels);
        write(&mut self.etcd, puts.to_vec()).await
    }

    /// Two parcels change places after each response, as long as responses come.
    async fn read_while_others_move(&mut self) -> Result<()> {
        let (mut reader, mut network) = connect_intercepted(self.address).await?;
        let (read, before) = (self.read, self.states.len() - 1);
        let reading =
            async move { read(&mut reader, SHELVES, LIMIT as i64).await.or_else(returned_error) };
        let move_parcels = async |response| {
            self.exchange((response - 1) % (PARCELS / 2)).await?;
            if response > PAGES + MORE {
                return broken(
                    format!(
                        "{PARCELS} parcels take {PAGES} responses, etcd gave {response}, and you \
                         ask for more"
                    ),
                    "what each response brings, and what your code reads again",
                );
            }
            Ok(())
        };
        let (list, responses) = network.overtake_each(reading, move_parcels).await?;
        ensure!(responses > 0, "read has asked etcd for nothing, so nothing was tried");
        self.judge(&list, before, responses)
    }

    /// The response to the second request never arrives. A parcel of the first page and one of the
    /// second change places with others.
    async fn read_with_loss(&mut self) -> Result<()> {
        let before = self.states.len() - 1;
        let others = async |store: &mut Store| {
            store.exchange(2).await?;
            store.exchange(LIMIT + 2).await?;
            Ok(())
        };
        let look = "what your code does with an error";
        match self.play(Fault::ResponseLost, 2, others).await? {
            None => broken(
                format!(
                    "the page that the network has lost is still waited for after {PATIENCE:?}"
                ),
                "which of your requests has no limit",
            ),
            Some(Ok(list)) if list.len() < PARCELS => too_short("lost", list.len(), look),
            Some(Ok(list)) => self.judge(&list, before, PAGES),
            Some(Err(_)) => Ok(()), // it says so
        }
    }

    /// While the response to this request is on its way, two parcels change places, and the history
    /// before that is compacted.
    async fn read_with_compaction(&mut self, nth: usize) -> Result<()> {
        let before = self.states.len() - 1;
        let others = async |store: &mut Store| {
            let now = store.exchange(2).await?;
            within(REQUEST_TIMEOUT, store.etcd.0.compact(now, None)).await?;
            Ok(())
        };
        let look = "what your code does when etcd refuses a request";
        match self.play(Fault::Overtaken, nth, others).await? {
            None => broken(
                format!("for {PATIENCE:?} it asks for a revision that etcd has forgotten"),
                "which errors go away when your code tries again, and which ones do not",
            ),
            Some(Ok(list)) if list.len() < PARCELS => too_short("refused", list.len(), look),
            Some(Ok(list)) if !self.states[before..].contains(&list) => {
                broken("a page was refused, and the list has pages of two moments", look)
            }
            _ => Ok(()), // one that gives up says so
        }
    }

    /// Reads with a fault at this request. Returns what `read` says; `None` if it takes too long.
    async fn play(
        &mut self,
        fault: Fault,
        nth: usize,
        others: impl AsyncFnOnce(&mut Store) -> Result<()>,
    ) -> Result<Option<Result<Vec<String>>>> {
        let (mut reader, mut network) = connect_intercepted(self.address).await?;
        let read = self.read;
        let reading = async move { read(&mut reader, SHELVES, LIMIT as i64).await };
        Ok(network.play_for(PATIENCE, fault, nth, reading, async || others(self).await).await?.said)
    }

    /// Judges a list for which `read` got this number of responses. `before` is the first state
    /// that it may have.
    fn judge(&self, list: &[String], before: usize, responses: usize) -> Result<()> {
        let parcels = &self.states[0];
        if let Some(other) = list.iter().find(|parcel| !parcels.contains(parcel)) {
            return broken(
                format!("the list has {other:?}, which lies on no shelf"),
                "where the keys that your code asks for begin, and where they end",
            );
        }
        let times = |parcel: &String| list.iter().filter(|other| *other == parcel).count();
        let missing = parcels.iter().filter(|parcel| times(parcel) == 0).count();
        let twice = parcels.iter().filter(|parcel| times(parcel) > 1).count();
        if missing + twice > 0 {
            // Whether what is there lay so at one moment.
            let mut rest = list.to_vec();
            rest.dedup();
            let is_ordered =
                |state: &Vec<String>| state.iter().filter(|parcel| times(parcel) > 0).eq(&rest);
            let ordered = self.states.iter().any(is_ordered);
            if !ordered {
                self.show_twice(list);
            }
            let last = self.states.last().context("no state")?;
            let is_moved = |(parcel, now): (&String, &String)| parcel != now || times(parcel) > 0;
            let missing_are_moved = self.states[before].iter().zip(last).all(is_moved);
            return broken(
                format!(
                    "{PARCELS} parcels were there at every moment, {missing} of them are missing in \
                     the list and {twice} are in it more than once"
                ),
                match missing {
                    0 => "the key with which each page begins",
                    _ if list.is_empty() => {
                        "which keys your first request asks for, and at which revision"
                    }
                    _ if !ordered => "the moment at which each page is read",
                    _ if responses < PAGES => {
                        "which keys your second request asks for, and when you stop"
                    }
                    2.. if missing_are_moved => {
                        "what your pages have of the parcels that others have moved meanwhile"
                    }
                    _ => "the key with which each page begins, and the moment at which it is read",
                },
            );
        }
        if responses < PAGES {
            return broken(
                format!("{PARCELS} parcels take {PAGES} responses, etcd gave {responses}"),
                "the limit of your request",
            );
        }
        if !self.states[before..].iter().any(|state| state == list) {
            return broken(
                "while you read, the parcels never lay in this order",
                "the order of the shelves, and the moment at which each page is read",
            );
        }
        Ok(())
    }

    /// Shows how the first parcel that is in the list twice came to be there.
    fn show_twice(&self, list: &[String]) {
        let again = |(first, parcel): (usize, &String)| {
            let next = list[first + 1..].iter().position(|other| other == parcel)?;
            Some((first, first + 1 + next))
        };
        if let Some((first, second)) = list.iter().enumerate().find_map(again) {
            let page = |place: usize| format!("page {} has {:?}", place / LIMIT + 1, list[place]);
            let mut steps = Steps::default();
            steps.add("you", page(first));
            steps.add("others", "move it");
            steps.add("you", page(second));
            self.scene.show(steps);
        }
    }
}

/// Makes these changes in one transaction. Returns the revision.
async fn write(etcd: &mut Etcd, writes: Vec<TxnOp>) -> Result<i64> {
    let write = within(REQUEST_TIMEOUT, etcd.0.txn(Txn::new().and_then(writes))).await;
    Ok(write.context("txn failed")?.header().context("no header")?.revision())
}

fn too_short(page: &str, count: usize, look: &'static str) -> Result<()> {
    broken(format!("a page was {page}: the list has {count} parcels, and there is no error"), look)
}
