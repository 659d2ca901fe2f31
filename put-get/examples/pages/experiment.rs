//! The experiment of the exercise `pages`: parcels are moved while they are listed.
//!
//! Repair `yours.rs`, not this file.

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, DeleteOptions, Txn, TxnOp};
use etcd_server::Server;
use exercise::{
    BoxFuture, Scene, Steps, Verdict, blocking, broken, connect_by_wire_to, connect_to, gave_up,
    held, round,
};
use tokio::time::timeout;

/// The function that is tried.
pub type Read = for<'a> fn(&'a mut Client, &'a str, i64) -> BoxFuture<'a, Vec<String>>;

/// Eleven full pages; with pages of eleven it is one less, which shows.
const PARCELS: usize = 110;
const LIMIT: usize = 10;
const PAGES: usize = PARCELS / LIMIT;
/// So many requests more are enough to learn the revision, or that there is no other page.
const MORE: usize = 3;

pub async fn run(scene: Scene, read: Read) -> Result<Verdict> {
    // Of its own: nobody else may give it a revision.
    let server = blocking(Server::start).await?;
    writeln!(stdout(), "{PARCELS} parcels lie on shelves, {LIMIT} are to be read at a time")?;
    writeln!(
        stdout(),
        "after each page two of them change places, one at the front and one at the back"
    )?;
    let mut store = round(async |_| {
        let mut store = Store::fill(&scene, read, server.address()).await?;
        read_while_others_move(&mut store).await?;
        // Now the last change is one of the front. A revision that is wrong by 1 shows.
        store.exchange(LIMIT - 1).await?;
        read_while_others_move(&mut store).await?;
        Ok(store)
    })
    .await?;
    writeln!(stdout(), "the network loses a page, and four parcels change places")?;
    read_with_loss(&mut store).await?;
    writeln!(stdout(), "two parcels change places, and etcd forgets what was before")?;
    for nth in 1..=3 {
        read_with_compaction(&mut store, nth).await?;
    }
    held(format!("all {PARCELS} parcels, each once, as they lay at one moment"))
}

/// Two parcels change places after each response, as long as responses come.
async fn read_while_others_move(store: &mut Store) -> Result<()> {
    let (mut reader, mut wire) = connect_by_wire_to(store.address).await?;
    let (read, shelves) = (store.read, store.shelves.clone());
    // The client is dropped with the task. Then the wire returns `None`.
    let reading = async move { read(&mut reader, &shelves, LIMIT as i64).await.or_else(gave_up) };
    let before = store.states.len() - 1;
    let mut responses = 0;
    let move_parcels = async {
        // The page is on its way while this happens.
        while let Some(_response) = wire.response(1).await {
            store.exchange(responses % (PARCELS / 2)).await?;
            responses += 1;
            if responses > PAGES + MORE {
                return broken(
                    format!(
                        "{PARCELS} parcels take {PAGES} responses, etcd gave {responses}, and you \
                         ask for more"
                    ),
                    "what each response brings, and what your code reads again",
                );
            }
        }
        Ok(())
    };
    let (list, ()) = tokio::try_join!(reading, move_parcels)?;
    ensure!(responses > 0, "read has asked etcd for nothing, so nothing was tried");
    store.judge(&list, before, responses)
}

/// The response to the second request never arrives. A parcel of the first page and one of the second
/// change places with others.
async fn read_with_loss(store: &mut Store) -> Result<()> {
    let (mut reader, mut wire) = connect_by_wire_to(store.address).await?;
    let limit = 5 * REQUEST_TIMEOUT;
    let (read, shelves) = (store.read, store.shelves.clone());
    let reading = async move { timeout(limit, read(&mut reader, &shelves, LIMIT as i64)).await };
    let before = store.states.len() - 1;
    let lose = async {
        let lost = wire.response(2).await;
        store.exchange(2).await?;
        store.exchange(LIMIT + 2).await?;
        wire.open();
        anyhow::Ok(lost)
    };
    // The page stays in the experiment's hands until the reader has come to an end.
    let (list, lost) = tokio::join!(reading, lose);
    let _lost = lost?;
    match list {
        Err(_) => broken(
            format!("the page that the network has lost is still waited for after {limit:?}"),
            "which of your requests has no limit",
        ),
        Ok(Ok(list)) if list.len() < PARCELS => broken(
            format!("a page was lost: the list has {} parcels, and there is no error", list.len()),
            "what your code does with an error",
        ),
        Ok(Ok(list)) => store.judge(&list, before, PAGES),
        Ok(Err(_)) => Ok(()), // it says so
    }
}

/// While the response to this request is on its way, two parcels change places, and the history before
/// that is compacted.
async fn read_with_compaction(store: &mut Store, nth: usize) -> Result<()> {
    let (mut reader, mut wire) = connect_by_wire_to(store.address).await?;
    let limit = 5 * REQUEST_TIMEOUT;
    let (read, shelves) = (store.read, store.shelves.clone());
    let reading = async move { timeout(limit, read(&mut reader, &shelves, LIMIT as i64)).await };
    let before = store.states.len() - 1;
    let compact = async {
        let response = wire.response(nth).await;
        store.exchange(2).await?;
        store.compact().await?;
        wire.open();
        drop(response);
        anyhow::Ok(())
    };
    let (list, compacted) = tokio::join!(reading, compact);
    compacted?;
    let look = "what your code does when etcd refuses a request";
    match list {
        Err(_) => broken(
            format!("for {limit:?} it asks for a revision that etcd has forgotten"),
            "which errors go away when your code tries again, and which ones do not",
        ),
        Ok(Ok(list)) if list.len() < PARCELS => broken(
            format!(
                "a page was refused: the list has {} parcels, and there is no error",
                list.len()
            ),
            look,
        ),
        Ok(Ok(list)) if !store.states[before..].contains(&list) => {
            broken("a page was refused, and the list has pages of two moments", look)
        }
        _ => Ok(()), // one that gives up says so
    }
}

/// What lies on the shelves.
struct Store {
    scene: Scene,
    read: Read,
    address: SocketAddr,
    client: Client,
    shelves: String,
    /// The keys in use, in their order.
    keys: Vec<String>,
    /// The parcels on them, at each moment.
    states: Vec<Vec<String>>,
}

impl Store {
    /// Puts all parcels on shelves, and then moves one, so that no shelf that is left has the last
    /// change of the store.
    async fn fill(scene: &Scene, read: Read, address: SocketAddr) -> Result<Store> {
        let mut client = connect_to(address).await?;
        let all = DeleteOptions::new().with_prefix();
        within(REQUEST_TIMEOUT, client.delete("shelves", Some(all)))
            .await
            .context("delete failed")?;
        let shelves = "shelves/".to_owned();
        // Some names begin with the name before.
        let shelf = |place: usize| format!("{shelves}{:03}{}", place / 2, ["", "+"][place % 2]);
        let mut keys: Vec<String> = (0..PARCELS).map(shelf).collect();
        let mut parcels: Vec<String> =
            (0..PARCELS).map(|number| format!("parcel {number}")).collect();
        let put = |(key, parcel): (&String, &String)| TxnOp::put(&**key, &**parcel, None);
        let puts: Vec<TxnOp> = keys.iter().zip(&parcels).map(put).collect();
        let neighbours = ["shelves", "shelves-old/1", "shelves2/1"]
            .map(|name| TxnOp::put(name, "no parcel", None));

        let (from, to) = (keys.remove(4), shelf(PARCELS));
        let moved = parcels.remove(4);
        let move_one = vec![TxnOp::delete(from, None), TxnOp::put(&*to, &*moved, None)];
        keys.push(to);
        parcels.push(moved);
        for writes in [puts, neighbours[..1].to_vec(), move_one, neighbours[1..].to_vec()] {
            let write = client.txn(Txn::new().and_then(writes));
            within(REQUEST_TIMEOUT, write).await.context("txn failed")?;
        }
        Ok(Store {
            scene: scene.clone(),
            read,
            address,
            client,
            shelves,
            keys,
            states: vec![parcels],
        })
    }

    /// Exchanges the parcel at this place, counted from 0, with the one that is as far from the end.
    async fn exchange(&mut self, place: usize) -> Result<()> {
        let mut parcels = self.states.last().context("no state")?.clone();
        let back = PARCELS - 1 - place;
        parcels.swap(place, back);
        let puts = [place, back].map(|at| TxnOp::put(&*self.keys[at], &*parcels[at], None));
        let puts = self.client.txn(Txn::new().and_then(puts));
        within(REQUEST_TIMEOUT, puts).await.context("txn failed")?;
        self.states.push(parcels);
        Ok(())
    }

    /// Makes etcd forget all revisions but the newest one.
    async fn compact(&mut self) -> Result<()> {
        let found = within(REQUEST_TIMEOUT, self.client.get(&*self.shelves, None)).await;
        let found = found.context("get failed")?;
        let now = found.header().context("no header")?.revision();
        within(REQUEST_TIMEOUT, self.client.compact(now, None)).await.context("compact failed")?;
        Ok(())
    }

    /// Judges a list that was made of so many responses. `before` is the state when they began.
    fn judge(&self, list: &[String], before: usize, responses: usize) -> Result<()> {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for parcel in list {
            *times.entry(parcel).or_default() += 1;
        }
        let parcels = &self.states[0];
        if let Some(other) = list.iter().find(|parcel| !parcels.contains(parcel)) {
            return broken(
                format!("the list has {other:?}, which lies on no shelf"),
                "where the keys that your code asks for begin, and where they end",
            );
        }
        let missing = parcels.iter().filter(|parcel| !times.contains_key(&***parcel)).count();
        let twice = times.values().filter(|times| **times > 1).count();
        if missing + twice > 0 {
            // Whether what is there lay so at one moment.
            let ordered = self.states.iter().any(|state| {
                let mut rest = list.to_vec();
                rest.dedup();
                state.iter().filter(|parcel| times.contains_key(&***parcel)).eq(&rest)
            });
            if let (false, Some((first, second))) = (ordered, first_twice(list)) {
                let page =
                    |place: usize| format!("page {} has {:?}", place / LIMIT + 1, list[place]);
                let mut steps = Steps::default();
                steps.add("you", page(first));
                steps.add("others", "move it");
                steps.add("you", page(second));
                self.scene.show(steps);
            }
            let last = self.states.last().context("no state")?;
            let is_moved =
                |(parcel, now): (&String, &String)| parcel != now || times.contains_key(&**parcel);
            let missing_are_moved = self.states[before].iter().zip(last).all(is_moved);
            let look = match missing {
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
            };
            return broken(
                format!(
                    "{PARCELS} parcels were there at every moment, {missing} of them are missing in \
                     the list and {twice} are in it more than once"
                ),
                look,
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
}

/// Returns the places of the first parcel that is in the list twice.
fn first_twice(list: &[String]) -> Option<(usize, usize)> {
    let again = |(place, parcel): (usize, &String)| {
        let next = list[place + 1..].iter().position(|other| other == parcel)?;
        Some((place, place + 1 + next))
    };
    list.iter().enumerate().find_map(again)
}
