//! The answers to the exercise `registry`, and the verdict on each.

mod edits;
#[path = "../../../lease/examples/registry/experiment.rs"]
mod experiment;
mod mistake;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: 3 services have ended, and no others have lost their entries";
    let patient = "broken: what the network has lost is still waited for after 5s";
    let moment = "broken: 3 entries of services that live were gone for a moment";
    answers! {
        [register(client, key, address, ttl), update(client, entry, address)];
        solution: held,
        mistake: "broken: 3 services have ended, 3 of their entries are still there",
        right_get: held,
        right_ignore: held,
        right_txn: held,
        wrong_back: "broken: its lease has run out, and its entry is back",
        wrong_behind: "broken: its lease has run out, and update says that all is well",
        wrong_create: "broken: an entry is on the lease of the run before, which nobody renews",
        wrong_delete: moment,
        wrong_found: "broken: an entry is on the lease of the run before, which nobody renews",
        wrong_grant: patient,
        wrong_hope: "broken: a request was lost, and update says that all is well",
        wrong_id: "broken: an Entry names a lease that etcd does not know",
        wrong_lease: "broken: 6 entries are on leases that no Entry names, and nobody renews those",
        wrong_number: "broken: a service registers again before its first lease has run out: grant failed: \
                 etcdserver: lease already exists",
        wrong_one: "broken: two services have the same lease: each of them keeps the entry of the \
                 other",
        wrong_patient: patient,
        wrong_renews: "broken: a service has ended, and 8s later its lease of 3 s is still there",
        wrong_revoke: moment,
        wrong_silent: "broken: its lease has run out, and update says that all is well",
        wrong_spawn: "broken: a request was lost, and register says that all is well, before etcd has \
                 responded",
        wrong_swallow: "broken: a request was lost, and register says that all is well",
        wrong_ttl: "broken: etcd has granted a lease of 10 s, and the service wants 3 s",
        wrong_twice: "broken: 6 entries were on no lease for a moment",
        wrong_unread: "broken: 3 entries have an old address",
    }
}
