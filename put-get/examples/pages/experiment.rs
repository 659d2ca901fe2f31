//! The experiment of the exercise `pages`: parcels move while `read` lists them.
//!
//! There is nothing to fix in this file; edit `yours.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn, TxnOp};
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, Fault, Scene, Steps, Verdict, blocking, broken, connect_intercepted, held,
    retry_if_slow, returned_error, say, too_slow,
};

/// The function that the experiment tries.
pub type Read = for<'a> fn(&'a mut Client, &'a str, i64) -> BoxFuture<'a, Vec<String>>;

const SHELVES: &str = "shelves/";
/// Eleven full pages. Pages of eleven parcels would be one page less, which shows.
const PARCELS: usize = 110;
const LIMIT: usize = 10;
const PAGES: usize = PARCELS / LIMIT;
/// Three more than the pages: an answer may ask for the revision first, or read an empty page at
/// the end. It may not start over, nor read each page twice.
const MAX_RESPONSES: usize = PAGES + 3;
/// How long an answer may take when a response is lost, or a revision forgotten.
const MAX_TIME: Duration = Duration::from_secs(5);

pub async fn run(scene: Scene, read: Read) -> Result<Verdict> {
    // A private etcd, so that nobody else makes revisions.
    let server = blocking(Server::start).await?;
    say!("{PARCELS} parcels lie on shelves; read lists {LIMIT} per page")?;
    say!("after each page, a parcel at the front and one at the back swap places")?;
    let mut store = retry_if_slow(async |_| {
        let etcd = Etcd::of(&server).await?;
        let mut store = Store::fill(&scene, read, server.address(), etcd).await?;
        store.read_while_others_swap().await?;
        // Now the newest revision is that of a parcel on the first page. An answer that reads at a
        // revision that is wrong by 1 has this parcel at another place.
        store.swap(LIMIT - 1).await?;
        store.read_while_others_swap().await?;
        Ok(store)
    })
    .await?;
    say!("the network loses the response to your request 2, and four parcels swap places")?;
    store.read_with_loss().await?;
    say!("while you read, two parcels swap places, and etcd forgets what was before")?;
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
    /// The parcels on them, after each change.
    states: Vec<Vec<String>>,
}

impl Store {
    /// Puts all parcels on shelves, and then moves one from the first page to the last shelf. No
    /// key that is left on the first page tells of this move.
    async fn fill(scene: &Scene, read: Read, address: SocketAddr, mut etcd: Etcd) -> Result<Store> {
        etcd.delete_all("shelves").await?;
        // The names of some shelves begin with another shelf's name.
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
        for neighbor in ["shelves-old/1", "shelves2/1"] {
            etcd.put(neighbor, "no parcel").await?;
        }
        Ok(Store { scene: scene.clone(), read, address, etcd, keys, states: vec![parcels] })
    }

    /// Swaps the parcel at `place`, counted from 0, with the one at the same distance from the end.
    /// Returns the revision.
    async fn swap(&mut self, place: usize) -> Result<i64> {
        let mut parcels = self.states.last().context("no state")?.clone();
        let back = PARCELS - 1 - place;
        parcels.swap(place, back);
        let puts = [place, back].map(|at| TxnOp::put(&*self.keys[at], &*parcels[at], None));
        self.states.push(parcels);
        write(&mut self.etcd, puts.to_vec()).await
    }

    /// Two parcels swap places after each response.
    async fn read_while_others_swap(&mut self) -> Result<()> {
        let (mut reader, mut network) = connect_intercepted(self.address).await?;
        let (read, before) = (self.read, self.states.len() - 1);
        let reading =
            async move { read(&mut reader, SHELVES, LIMIT as i64).await.or_else(returned_error) };
        let swap = async |response| {
            self.swap((response - 1) % (PARCELS / 2)).await?;
            if response > MAX_RESPONSES {
                return broken(
                    format!(
                        "{PARCELS} parcels fit into {PAGES} responses, but read took more than \
                         {MAX_RESPONSES}"
                    ),
                    "how many parcels each response has, and what your code reads again",
                );
            }
            Ok(())
        };
        let (list, responses) = network.overtake_each(reading, swap).await?;
        ensure!(responses > 0, "read sent no request to etcd, so there is nothing to judge");
        self.judge(&list, before, responses)
    }

    /// The response to the second request never arrives. A parcel of the first page and one of the
    /// second swap places with others.
    async fn read_with_loss(&mut self) -> Result<()> {
        let before = self.states.len() - 1;
        let others = async |store: &mut Store| {
            store.swap(2).await?;
            store.swap(LIMIT + 2).await?;
            Ok(())
        };
        let hint = "what your code does with an error";
        match self.play(Fault::ResponseLost, 2, others).await? {
            None => too_slow(
                format!("after {MAX_TIME:?}, read still waits for a page that was lost"),
                "which of your requests has no limit",
            ),
            Some(Ok(list)) if list.len() < PARCELS => too_short("lost", list.len(), hint),
            Some(Ok(list)) => self.judge(&list, before, PAGES),
            Some(Err(_)) => Ok(()),
        }
    }

    /// While the response to the `nth` request is on its way, two parcels swap places, and etcd
    /// forgets the revisions before that.
    async fn read_with_compaction(&mut self, nth: usize) -> Result<()> {
        let before = self.states.len() - 1;
        let others = async |store: &mut Store| {
            let now = store.swap(2).await?;
            within(REQUEST_TIMEOUT, store.etcd.0.compact(now, None)).await?;
            Ok(())
        };
        let hint = "what your code does when etcd refuses a request";
        match self.play(Fault::Overtaken, nth, others).await? {
            None => too_slow(
                format!("etcd forgot a revision, and {MAX_TIME:?} later read had not returned"),
                "which errors go away when your code tries again, and which ones don't",
            ),
            Some(Ok(list)) if list.len() < PARCELS => too_short("refused", list.len(), hint),
            Some(Ok(list)) if !self.states[before..].contains(&list) => {
                broken("a page was refused, and the list mixes pages of two moments", hint)
            }
            _ => Ok(()),
        }
    }

    /// Reads with a fault at the `nth` request. Returns the result of `read`, or `None` if it takes
    /// too long.
    async fn play(
        &mut self,
        fault: Fault,
        nth: usize,
        others: impl AsyncFnOnce(&mut Store) -> Result<()>,
    ) -> Result<Option<Result<Vec<String>>>> {
        let (mut reader, mut network) = connect_intercepted(self.address).await?;
        let read = self.read;
        let reading = async move { read(&mut reader, SHELVES, LIMIT as i64).await };
        Ok(network.play_for(MAX_TIME, fault, nth, reading, async || others(self).await).await?.said)
    }

    /// Judges a list for which `read` got so many responses: it must be one of the states from
    /// `first` on.
    fn judge(&self, list: &[String], first: usize, responses: usize) -> Result<()> {
        let parcels = &self.states[0];
        if let Some(other) = list.iter().find(|parcel| !parcels.contains(parcel)) {
            return broken(
                format!("the list has {other:?}, which lies on no shelf"),
                "where the keys that your code asks for begin, and where they end",
            );
        }
        let times = |parcel: &String| list.iter().filter(|other| *other == parcel).count();
        let missing = parcels.iter().filter(|parcel| times(parcel) == 0).count();
        let repeated = parcels.iter().filter(|parcel| times(parcel) > 1).count();
        if missing + repeated > 0 {
            // Without the repetitions, is the list a part of one state?
            let mut once = list.to_vec();
            once.dedup();
            let is_part =
                |state: &Vec<String>| state.iter().filter(|parcel| times(parcel) > 0).eq(&once);
            let is_of_one_moment = self.states.iter().any(is_part);
            if !is_of_one_moment {
                self.show_repetition(list);
            }
            let last = self.states.last().context("no state")?;
            let moved_or_there =
                |(parcel, now): (&String, &String)| parcel != now || times(parcel) > 0;
            let only_moved_are_missing = self.states[first].iter().zip(last).all(moved_or_there);
            return broken(
                format!(
                    "{PARCELS} parcels were always there, but the list misses {missing} and \
                     repeats {repeated}"
                ),
                match missing {
                    0 => "the key with which each page begins",
                    _ if list.is_empty() => {
                        "which keys your first request asks for, and at which revision"
                    }
                    _ if !is_of_one_moment => "when each page is read",
                    _ if responses < PAGES => {
                        "which keys your second request asks for, and when your code stops"
                    }
                    2.. if only_moved_are_missing => {
                        "what your pages have of the parcels that others moved while you read"
                    }
                    _ => "the key with which each page begins, and when the page is read",
                },
            );
        }
        if responses < PAGES {
            return broken(
                format!(
                    "{PARCELS} parcels take {PAGES} responses of {LIMIT}, but read took {responses}"
                ),
                "the limit of your requests",
            );
        }
        if !self.states[first..].contains(&list.to_vec()) {
            return broken(
                "while you read, the parcels never lay in the order of the list",
                "the order of the shelves, and when each page is read",
            );
        }
        Ok(())
    }

    /// Shows how the first parcel that the list repeats came to be there twice.
    fn show_repetition(&self, list: &[String]) {
        let repetition = |(first, parcel): (usize, &String)| {
            let next = list[first + 1..].iter().position(|other| other == parcel)?;
            Some((first, first + 1 + next))
        };
        if let Some((first, second)) = list.iter().enumerate().find_map(repetition) {
            let page = |place: usize| format!("page {} has {:?}", place / LIMIT + 1, list[place]);
            let mut steps = Steps::default();
            steps.add("you", page(first));
            steps.add("others", "move it");
            steps.add("you", page(second));
            self.scene.show(steps);
        }
    }
}

/// Makes several changes in one transaction. Returns the revision.
async fn write(etcd: &mut Etcd, writes: Vec<TxnOp>) -> Result<i64> {
    let write = within(REQUEST_TIMEOUT, etcd.0.txn(Txn::new().and_then(writes))).await;
    Ok(write.context("txn failed")?.header().context("no header")?.revision())
}

fn too_short(page: &str, count: usize, hint: &'static str) -> Result<()> {
    broken(
        format!(
            "a page was {page}, and read returned {count} of {PARCELS} parcels without an error"
        ),
        hint,
    )
}
